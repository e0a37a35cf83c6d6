"""Models behind an API: a reward model that other projects, or a PPO run elsewhere, can ask."""
