"""Embedded worlds: small tasks whose truth is known, so that claims about RLHF can be checked."""
