"""Images of any size: the plan of blocks, their store, and the run."""
