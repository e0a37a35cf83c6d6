"""What group baselines and averages do to the weight of a token: the tables of policy-gradients.md.

    python benchmarks/group_baselines.py

Nothing is sampled: the functions that training calls are given scores and lengths. A test holds the
page to what this prints.
"""

import sys

import torch
from torch import Tensor

from assent.objectives.group_advantages import GroupBaseline, group_advantages
from assent.objectives.policy_losses import Aggregation, response_weights

LENGTHS, SCORES = (4, 16, 4, 16), (1.0, 1.0, 0.0, 0.0)
LENGTH_ROWS: tuple[tuple[str, GroupBaseline, Aggregation], ...] = (
    ("RLOO", "rloo", "constant"),
    ("Dr. GRPO", "dr_grpo", "constant"),
    ("GRPO, token mean (DAPO)", "grpo", "token"),
    ("GRPO", "grpo", "sequence"),
)
GROUPS: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("1 of 8 right", (1,) + 7 * (0,)),
    ("2 of 8 right", 2 * (1,) + 6 * (0,)),
    ("4 of 8 right", 4 * (1,) + 4 * (0,)),
    ("7 of 8 right", 7 * (1,) + (0,)),
    ("one .1 better", (0.1,) + 7 * (0,)),
    ("one .001 better", (0.001,) + 7 * (0,)),
    ("all alike", 8 * (0.1,)),
)


def length_table() -> list[str]:
    """The weight of one token of each response, in units of 1 / 64: four responses, two right."""
    mask = torch.arange(max(LENGTHS))[None, :] < torch.tensor(LENGTHS)[:, None]
    lines = [
        "| | right, 4 tokens | right, 16 | wrong, 4 | wrong, 16 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, baseline, aggregation in LENGTH_ROWS:
        returns = torch.tensor(SCORES, dtype=torch.float64)[:, None].expand(mask.shape)
        advantages = group_advantages(returns, mask, samples=4, baseline=baseline)[:, 0]
        weights = response_weights(mask, aggregation, length=16)
        cells = " | ".join(f"{value:+.2f}" for value in (64 * advantages * weights).tolist())
        lines.append(f"| {name} | {cells} |")
    return lines


def spread_table() -> list[str]:
    """The mean size of the advantages in a group of eight, by how its scores spread."""
    lines = [
        "| scores of a prompt's 8 responses | RLOO | Dr. GRPO | GRPO |",
        "| --- | --- | --- | --- |",
    ]
    for name, scores in GROUPS:
        cells = " | ".join(f"{_size(scores, one):.4f}" for one in ("rloo", "dr_grpo", "grpo"))
        lines.append(f"| {name} | {cells} |")
    return lines


def _size(scores: tuple[float, ...], baseline: GroupBaseline) -> float:
    returns = torch.tensor(scores, dtype=torch.float64)[:, None]
    mask: Tensor = torch.ones_like(returns, dtype=torch.bool)
    found = group_advantages(returns, mask, samples=len(scores), baseline=baseline)
    return float(found.abs().mean())


if __name__ == "__main__":
    sys.stdout.write("\n".join([*length_table(), "", *spread_table(), ""]))
