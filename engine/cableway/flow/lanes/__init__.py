"""Where a unit runs: one file per lane."""
