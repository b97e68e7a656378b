"""Cableway's handlers: they hear that a run is due, record it and start its container."""
