"""Walks: the shortest way through a small directed graph, learned from random walks.

The task that trlX calls randomwalks, at its settings: 21 nodes, walks of at most ten. A model
cloned from random walks reaches the goal by detours; reinforcement learning should find the
shortest ways, and how near it comes is exact. It takes seconds a method, so it is a good place to
try one.
"""

from assent.worlds.walks.graph import Arrival, WalksWorld
from assent.worlds.walks.tokenizer import build_tokenizer

__all__ = ["Arrival", "WalksWorld", "build_tokenizer"]
