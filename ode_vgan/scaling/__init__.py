"""What a run costs: multiply-accumulates, counted while the networks run."""
