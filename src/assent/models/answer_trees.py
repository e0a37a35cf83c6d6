"""Answers as a trie, cut into rows; each node stands once and sees its own ancestors only."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

MOST_NODES = 40
"""Of a row, but that the end of an answer that no other shares is not cut."""


class _Node(NamedTuple):
    token: int
    parent: int


@dataclass(frozen=True)
class AnswerTree:
    """Answers as rows of packed subtrees; made once and used for every prompt they may answer.

    The nodes above a row's own that stand in other rows are its first columns: with them it is
    complete, and a reader that can look at other rows computes its own nodes alone.
    """

    tokens: Tensor
    """[row, node] token ids; 0 where a row is shorter."""
    above: Tensor
    """[row, above, 2] row and node of what stands above each row, nearest last; -1 where less."""
    parents: Tensor
    """[row, above + node] column of the token before each; -1 after the prompt."""
    ends: Tensor
    """[answer, 2] row and node of each answer's last token."""

    @classmethod
    def build(cls, answers: Sequence[Sequence[int]], most_nodes: int = MOST_NODES) -> "AnswerTree":
        """Pack token sequences, each ended by eos.

        Raises:
            ValueError: there is no answer, one is empty, or two are equal.
        """
        nodes, ends = _trie(answers)
        rows = _cut(nodes, most_nodes)
        above = [_above(row, nodes) for row in rows]
        back, width = max(map(len, above)), max(map(len, rows))
        place = {
            node: (number, at) for number, row in enumerate(rows) for at, node in enumerate(row)
        }
        tokens = torch.zeros(len(rows), width, dtype=torch.long)
        places = torch.full((len(rows), back, 2), -1, dtype=torch.long)
        parents = torch.full((len(rows), back + width), -1, dtype=torch.long)
        for number, (far, row) in enumerate(zip(above, rows, strict=True)):
            first = back - len(far)
            column = {node: first + at for at, node in enumerate([*far, *row])}
            for node, at in column.items():
                parents[number, at] = column.get(nodes[node].parent, -1)
            tokens[number, : len(row)] = torch.tensor([nodes[node].token for node in row])
            if far:
                places[number, first:] = torch.tensor([place[node] for node in far])
        return cls(tokens, places, parents, torch.tensor([place[node] for node in ends]))

    @cached_property
    def ancestors(self) -> Tensor:
        """[row, above + node, above + node] whether the second is the first or stands above it."""
        rows, width = self.parents.shape
        result = torch.zeros(rows, width, width, dtype=torch.bool)
        every = torch.arange(rows)
        real = torch.ones(rows, width, dtype=torch.bool)
        real[:, : self.above.shape[1]] = self.above[:, :, 0] >= 0
        for at in range(width):
            parent = self.parents[:, at]
            higher = result[every, parent.clamp(min=0)] & (parent >= 0)[:, None]
            result[:, at] = higher
            result[:, at, at] = real[:, at]
        return result

    @cached_property
    def depths(self) -> Tensor:
        """[row, above + node] how many tokens stand between the prompt and the node."""
        return (self.ancestors.sum(-1) - 1).clamp(min=0)


def _trie(answers: Sequence[Sequence[int]]) -> tuple[list[_Node], list[int]]:
    nodes: list[_Node] = []
    children: dict[tuple[int, int], int] = {}
    ends: list[int] = []
    for number, answer in enumerate(answers):
        at = -1
        for token in answer:
            if (at, token) not in children:
                children[at, token] = len(nodes)
                nodes.append(_Node(token, at))
            at = children[at, token]
        if at in ends or at == -1:
            message = f"answer {number} is {'empty' if at == -1 else 'there twice'}"
            raise ValueError(message)
        ends.append(at)
    if not ends:
        message = "there is no answer to enumerate"
        raise ValueError(message)
    return nodes, ends


def _cut(nodes: Sequence[_Node], most_nodes: int) -> list[list[int]]:
    """Rows of node numbers, each in one row, with little room to spare.

    Rows become as wide as the widest, so what is left free in one costs as much as a node.
    """
    below: dict[int, list[int]] = {}
    sizes, heights = [1] * len(nodes), [1] * len(nodes)
    for number in range(len(nodes) - 1, -1, -1):
        parent = nodes[number].parent
        below.setdefault(parent, []).append(number)
        if parent >= 0:
            sizes[parent] += sizes[number]
            heights[parent] = max(heights[parent], heights[number] + 1)
    is_chain = [size == height for size, height in zip(sizes, heights, strict=True)]
    tried = []
    for limit in range(most_nodes, most_nodes // 2, -1):
        whole = [one or size <= limit for one, size in zip(is_chain, sizes, strict=True)]
        rows = _subtrees(below, whole, limit)
        tried.append(_side_by_side(rows, nodes, max(limit, *map(len, rows))))
    return min(tried, key=lambda rows: len(rows) * max(map(len, rows)))


def _subtrees(below: dict[int, list[int]], whole: Sequence[bool], limit: int) -> list[list[int]]:
    """The largest subtrees that stay whole, and by as many as the limit what stands above them."""
    tops: list[int] = []
    rows: list[list[int]] = []
    left = list(below[-1])
    while left:
        node = left.pop()
        if whole[node]:
            rows.append(_subtree(node, below))
        else:
            tops.append(node)
            left += below[node]
    return rows + [tops[start : start + limit] for start in range(0, len(tops), limit)]


def _side_by_side(
    rows: Sequence[Sequence[int]], nodes: Sequence[_Node], room: int
) -> list[list[int]]:
    """Rows in one as long as there is room, long ones first, those with most above in common."""
    found: list[tuple[set[int], set[int]]] = []
    for row in sorted(rows, key=len, reverse=True):
        far = set(_above(row, nodes))
        fitting = [
            (len(above | far) - len(above), number)
            for number, (own, above) in enumerate(found)
            if len(own) + len(row) <= room and len(above | far) <= room
        ]
        if fitting:
            own, above = found[min(fitting)[1]]
            own.update(row)
            above.update(far)
            above -= own
        else:
            found.append((set(row), far))
    return [sorted(own) for own, _ in found]  # a parent's number is the smaller one


def _above(row: Sequence[int], nodes: Sequence[_Node]) -> list[int]:
    """The ancestors of a row's nodes that are not of the row, parents first."""
    own, found = set(row), set()
    for node in row:
        parent = nodes[node].parent
        while parent >= 0 and parent not in found:
            if parent not in own:
                found.add(parent)
            parent = nodes[parent].parent
    return sorted(found)


def _subtree(node: int, below: dict[int, list[int]]) -> list[int]:
    found, left = [], [node]
    while left:
        found.append(left.pop())
        left += below.get(found[-1], [])
    return sorted(found)


class Stacked(NamedTuple):
    """The rows of several trees, padded to one width."""

    tokens: Tensor
    """[row, node]"""
    above: Tensor
    """[row, above] number of each in `tokens`, flat; 0 where there is less."""
    parents: Tensor
    """[row, above + node]"""
    ancestors: Tensor
    """[row, above + node, above + node]"""
    depths: Tensor
    """[row, above + node]"""


def stack(trees: Sequence[AnswerTree]) -> Stacked:
    """Rows of all trees, one tree after the other."""
    width = max(tree.tokens.shape[1] for tree in trees)
    back = max(tree.above.shape[1] for tree in trees)
    tokens, above, parents, ancestors, depths = [], [], [], [], []
    first = 0
    for tree in trees:
        gap = (back - tree.above.shape[1], width - tree.tokens.shape[1])
        place = (first + tree.above[:, :, 0]) * width + tree.above[:, :, 1]
        place = place.masked_fill(tree.above[:, :, 0] < 0, 0)
        shifted = torch.where(tree.parents >= 0, tree.parents + gap[0], -1)
        tokens.append(pad(tree.tokens, (0, gap[1])))
        above.append(pad(place, (gap[0], 0)))
        parents.append(pad(shifted, gap, value=-1))
        ancestors.append(pad(tree.ancestors, gap * 2))
        depths.append(pad(tree.depths, gap))
        first += len(tree.tokens)
    return Stacked(*map(torch.cat, (tokens, above, parents, ancestors, depths)))
