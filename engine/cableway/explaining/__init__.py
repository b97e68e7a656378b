"""Why a run took as long as it did, and what would change it: the recorded stages as a network of queues."""
