"""Span records of a run, their local copy and their way out by OTLP."""
