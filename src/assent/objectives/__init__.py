"""The mathematics of the loop: pure functions on tensors, which take numbers and never settings."""
