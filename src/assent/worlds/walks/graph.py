"""The graph of the walks, the walks to clone, and what a walk is worth.

Nodes are lower-case letters, the goal is `a`. A prompt is the letter of a start, a response the
letters of the nodes after it. The graph and the walks are those of trlX's randomwalks for the same
seed: the draws are made in the same order from the same generator.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

GOAL = 0


@dataclass(frozen=True, slots=True)
class Arrival:
    """One way from a start to the goal."""

    prompt: str
    response: str
    """The nodes after the start, the goal last."""
    optimality: float


@dataclass(frozen=True)
class WalksWorld:
    """A directed graph with one goal; the same settings are the same world."""

    nodes: int = 21
    """At most 26: a letter each."""
    max_length: int = 10
    """Nodes of a walk, start and goal among them."""
    edge_chance: float = 0.1
    """That one node leads to another."""
    walk_count: int = 1000
    seed: int = 1002

    def __post_init__(self) -> None:
        """Refuse settings of which no world can be made.

        Raises:
            ValueError: says which and why.
        """
        if not 2 <= self.nodes <= len(ascii_lowercase):
            message = f"nodes is {self.nodes}; there is a letter for 2 to {len(ascii_lowercase)}"
            raise ValueError(message)
        if self.max_length < 3:
            message = f"max_length is {self.max_length}; walks of 2 nodes leave nothing to choose"
            raise ValueError(message)
        if not 0 < self.edge_chance <= 1:
            message = f"edge_chance is {self.edge_chance}; it lies above 0 and is at most 1"
            raise ValueError(message)

    @property
    def letters(self) -> str:
        """One of each node, in order; the first is the goal's."""
        return ascii_lowercase[: self.nodes]

    @cached_property
    def edges(self) -> NDArray[np.bool_]:
        """(nodes, nodes): whether the row's node leads to the column's; the goal to none."""
        return self._drawn[0]

    @cached_property
    def walks(self) -> list[str]:
        """Random walks from random starts, each ended by the goal or by its length."""
        return self._drawn[1]

    @cached_property
    def _drawn(self) -> tuple[NDArray[np.bool_], list[str]]:
        # trlX draws from this generator, in this order; numpy keeps its stream as it is for good.
        random = np.random.RandomState(self.seed)
        while True:
            edges = random.rand(self.nodes, self.nodes) > 1 - self.edge_chance
            np.fill_diagonal(edges, val=False)
            if edges.any(axis=1).all():  # every node leads somewhere
                break
        edges[GOAL] = False
        walks = []
        for _ in range(self.walk_count):
            node = GOAL
            while node == GOAL:
                node = int(random.randint(self.nodes))
            walk = [node]
            while len(walk) < self.max_length and node != GOAL:
                node = int(random.choice(np.flatnonzero(edges[node])))
                walk.append(node)
            walks.append("".join(self.letters[one] for one in walk))
        return edges, walks

    @cached_property
    def shortest(self) -> dict[str, int]:
        """Nodes on the shortest way from each start, both ends counted; starts without one lack."""
        found, queue = {GOAL: 1}, deque([GOAL])
        while queue:
            node = queue.popleft()
            for before in np.flatnonzero(self.edges[:, node]).tolist():
                if before not in found:
                    found[before] = found[node] + 1
                    queue.append(before)
        return {self.letters[node]: length for node, length in sorted(found.items()) if node}

    @property
    def prompts(self) -> list[str]:
        """The starts from which the goal is reached in fewer than `max_length` nodes.

        From the others every walk is worth nothing, so there is nothing to learn.
        """
        return [start for start, length in self.shortest.items() if length < self.max_length]

    def optimality(self, prompt: str, response: str) -> float:
        r"""How near a walk is to the shortest, in [0, 1].

        .. math:: \frac{M - n}{M - n^*}

        with M = `max_length`, n the nodes up to the first goal and n* those of the shortest way. A
        walk that takes an edge that is not there, or does not arrive within M nodes, is worth 0.

        Raises:
            ValueError: the prompt is none of `prompts`.
        """
        best = self.shortest.get(prompt, self.max_length)
        if best >= self.max_length:
            message = f"no walk starts at {prompt[:20]!r}; the starts are {', '.join(self.prompts)}"
            raise ValueError(message)
        taken = self._nodes_to_goal(prompt + response)
        return 0.0 if taken is None else (self.max_length - taken) / (self.max_length - best)

    def reward(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """The optimality of each response: a reward function of texts."""
        pairs = zip(prompts, responses, strict=True)
        return [self.optimality(prompt, response) for prompt, response in pairs]

    @cached_property
    def arrivals(self) -> list[Arrival]:
        """Every way to the goal that is worth something.

        The expected optimality of a policy is the sum over these of its probability of writing the
        response, whatever it writes after it, times the optimality.
        """
        found = []
        for start in self.prompts:
            open_: list[str] = [start]
            while open_:
                walk = open_.pop()
                for node in np.flatnonzero(self.edges[self.letters.index(walk[-1])]).tolist():
                    longer = walk + self.letters[node]
                    if node == GOAL:
                        worth = self.optimality(start, longer[1:])
                        found.append(Arrival(start, longer[1:], worth))
                    elif len(longer) + 1 < self.max_length:
                        open_.append(longer)
        return [one for one in found if one.optimality > 0]

    def _nodes_to_goal(self, walk: str) -> int | None:
        """Nodes up to the first goal; None for a walk that breaks off or arrives too late."""
        node = self.letters.find(walk[0])
        for place, letter in enumerate(walk[1 : self.max_length], start=2):
            next_node = self.letters.find(letter)
            if next_node < 0 or not self.edges[node, next_node]:
                return None
            if next_node == GOAL:
                return place
            node = next_node
        return None
