"""The outer loop: rounds of asking, reward model and PPO, and the promotion of a checkpoint.

The only package that joins collecting, training and auditing.
"""
