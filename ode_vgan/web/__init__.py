"""Pages served from this machine, without a build step: the explorer of a dataset."""
