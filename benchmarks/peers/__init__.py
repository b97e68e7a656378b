"""What each peer is and how it is run: requirements, and scripts for its own interpreter."""
