"""The concurrent stage engine. It knows no Postgres, no HTTP and no environment."""
