"""What the API has an address for, one file each. All of them ask the same `Desk`."""
