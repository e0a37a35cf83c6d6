"""Collecting feedback: which comparisons to ask, and asking whoever judges."""
