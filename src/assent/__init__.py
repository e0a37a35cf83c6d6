"""Assent: reinforcement learning from human feedback, the whole loop in one package."""

__version__ = "0.1.0"
