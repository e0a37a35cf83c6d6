"""Answers as a trie, cut into rows of nodes that see the prompt and their own ancestors only."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

MOST_NODES = 40


class _Node(NamedTuple):
    token: int
    parent: int


@dataclass(frozen=True)
class AnswerTree:
    """Answers as rows of packed subtrees; made once and used for every prompt they may answer."""

    tokens: Tensor
    """[row, node] token ids; column 0 is the first token of an answer, 0 where a row is shorter."""
    parents: Tensor
    """[row, node] column of the token before each node in its row; -1 after the prompt."""
    ends: Tensor
    """[answer, 2] row and column of each answer's last token."""

    @classmethod
    def build(cls, answers: Sequence[Sequence[int]], most_nodes: int = MOST_NODES) -> "AnswerTree":
        """Pack token sequences, each ended by eos.

        Raises:
            ValueError: there is no answer, one is empty, or two are equal.
        """
        nodes, ends = _trie(answers)
        rows = _cut(nodes, most_nodes)
        width = max(len(row) for row in rows)
        tokens = torch.zeros(len(rows), width, dtype=torch.long)
        parents = torch.full((len(rows), width), -1, dtype=torch.long)
        place: dict[int, tuple[int, int]] = {}
        for number, row in enumerate(rows):
            column = {node: at for at, node in enumerate(row)}
            for node, at in column.items():
                tokens[number, at] = nodes[node].token
                parents[number, at] = column.get(nodes[node].parent, -1)
                place[node] = (number, at)
        return cls(tokens, parents, torch.tensor([place[node] for node in ends]))

    @cached_property
    def ancestors(self) -> Tensor:
        """[row, node, node] True where the second node is the first or stands above it."""
        rows, width = self.tokens.shape
        result = torch.zeros(rows, width, width, dtype=torch.bool)
        every = torch.arange(rows)
        for at in range(width):
            parent = self.parents[:, at]
            above = result[every, parent.clamp(min=0)] & (parent >= 0)[:, None]
            result[:, at] = above
            result[:, at, at] = True
        return result

    @cached_property
    def depths(self) -> Tensor:
        """[row, node] how many tokens stand between the prompt and the node."""
        return self.ancestors.sum(-1) - 1


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
    """Rows of node numbers, parents before children: the path to a subtree, and the subtree."""
    below: dict[int, list[int]] = {}
    sizes = [1] * len(nodes)
    for number in range(len(nodes) - 1, -1, -1):
        parent = nodes[number].parent
        below.setdefault(parent, []).append(number)
        if parent >= 0:
            sizes[parent] += sizes[number]
    rows: list[list[int]] = []

    def descend(node: int, path: list[int]) -> None:
        inside = sizes[node] if node >= 0 else len(nodes)
        if inside <= most_nodes or not below.get(node):
            rows.append([*path, *_subtree(node, below)])
            return
        onward = [*path, node] if node >= 0 else path
        # Light branches share a row; a heavy one is cut further.
        light = [child for child in below[node] if sizes[child] <= most_nodes // 4]
        packed = list(onward)
        for child in light:
            packed += _subtree(child, below)
        if light:
            rows.append(packed)
        for child in below[node]:
            if child not in light:
                descend(child, onward)

    descend(-1, [])
    return _side_by_side(rows, most_nodes)


def _side_by_side(rows: Sequence[Sequence[int]], most_nodes: int) -> list[list[int]]:
    """Rows in one as long as there is room, long ones first; a node that both have stands once.

    Rows become as wide as the widest, so what is left free in one costs as much as a node.
    """
    room = max(most_nodes, *map(len, rows))
    found: list[set[int]] = []
    for row in sorted(rows, key=len, reverse=True):
        added = [(len(one.union(row)) - len(one), one) for one in found]
        fitting = [(more, one) for more, one in added if len(one) + more <= room]
        if fitting:
            min(fitting, key=lambda pair: pair[0])[1].update(row)
        else:
            found.append(set(row))
    return [sorted(one) for one in found]  # a parent's number is the smaller one


def _subtree(node: int, below: dict[int, list[int]]) -> list[int]:
    found = [node] if node >= 0 else []
    for child in sorted(below.get(node, [])):
        found += _subtree(child, below)
    return found


class Stacked(NamedTuple):
    """The rows of several trees, padded to one width."""

    tokens: Tensor
    parents: Tensor
    ancestors: Tensor
    depths: Tensor


def stack(trees: Sequence[AnswerTree]) -> Stacked:
    """Rows of all trees, one tree after the other."""
    width = max(tree.tokens.shape[1] for tree in trees)

    def widen(tensor: Tensor, fill: int, dims: int) -> Tensor:
        gap = width - tensor.shape[1]
        return torch.nn.functional.pad(tensor, (0, gap) * dims, value=fill) if gap else tensor

    return Stacked(
        torch.cat([widen(tree.tokens, 0, 1) for tree in trees]),
        torch.cat([widen(tree.parents, -1, 1) for tree in trees]),
        torch.cat([widen(tree.ancestors, 0, 2) for tree in trees]),
        torch.cat([widen(tree.depths, 0, 1) for tree in trees]),
    )
