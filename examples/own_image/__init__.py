"""Somebody's own image on Cableway's: their blocs, what these need, and a pipeline."""
