"""The API: the signed hook, and what can be asked about runs and health."""
