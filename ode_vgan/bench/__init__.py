"""What things cost, each beside a named alternative in the same run."""
