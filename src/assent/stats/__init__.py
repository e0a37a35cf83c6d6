"""Statistics in plain numpy: how sure a figure is, and which of two is better."""
