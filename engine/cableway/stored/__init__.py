"""How definitions are changed in Postgres: as steps for either executor, each to be driven inside one transaction."""
