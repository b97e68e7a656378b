"""The main example: real flights joined with real weather, in Postgres."""
