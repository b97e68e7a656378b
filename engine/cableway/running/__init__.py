"""What the job is made of: how a version becomes a flow, and how a run is ended, counted and told."""
