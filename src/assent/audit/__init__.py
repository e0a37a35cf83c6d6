"""Audits: measure whether approval still means quality."""
