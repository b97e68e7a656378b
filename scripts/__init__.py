"""What `make` calls to check and to generate."""
