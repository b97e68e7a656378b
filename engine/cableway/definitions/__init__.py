"""What the checks are made of: documents read, unfolded and judged, and bloc configs by their own models."""
