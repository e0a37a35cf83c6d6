"""The objectives of a reward model: from the scores of a batch to its loss and its figures."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assent.config.reward import RewardSettings
from assent.errors import DataError
from assent.objectives.judgement_losses import (
    davidson_loss,
    ordinal_loss,
    ratings_loss,
    thresholds,
)
from assent.objectives.preference_losses import bradley_terry_loss
from assent.objectives.ranking_losses import (
    all_pairs_loss,
    centring,
    pair_figures,
    pick_best_loss,
    plackett_luce_loss,
)
from assent.training.reward_data import Element, Material

FIRST_LOG_STEP = -1.0
"""Where the learned thresholds and the tie weight begin, as logarithms."""
UNSAID = -1
FIGURES = (
    "reward_model/accuracy",
    "reward_model/margin_mean",
    "reward_model/chosen_mean",
    "reward_model/rejected_mean",
)


class Scale(NamedTuple):
    """What a rating on an axis is measured in: (rating - mean) / deviation."""

    mean: float
    deviation: float


class RewardObjective(nn.Module):
    """The loss of an objective; its parameters are what it learns beside the model.

    Args:
        settings: the objective and what belongs to it.
        material: of which elements are trained on; strengths, ties and scales are read off these.
        learned: numbers of those elements.

    Raises:
        DataError: nothing varies that the objective could learn.
    """

    def __init__(
        self, settings: RewardSettings, material: Material, learned: Sequence[int]
    ) -> None:
        super().__init__()
        self.name, self.settings = settings.objective, settings
        elements = [material.elements[number] for number in learned]
        self.has_ties = any(not one.decided for one in elements)
        said = {one.strength for one in elements if one.decided and one.strength is not None}
        self.strengths = sorted(said)
        self.scales = _scales(elements, material.axes)
        self.learned = nn.Parameter(
            torch.full((self._learned_numbers(),), FIRST_LOG_STEP), requires_grad=True
        )

    def _learned_numbers(self) -> int:
        if self.name == "davidson":
            return 1
        if self.name != "ordinal":
            return 0
        if not self.strengths and not self.has_ties:
            message = (
                "no judgement is a tie or says how clearly a side won, so there is nothing ordinal "
                "to learn; set reward.objective = 'bradley_terry'"
            )
            raise DataError(message)
        return max(len(self.strengths), 1)

    def loss(
        self, outputs: Float[Tensor, "read output"], elements: Sequence[Element], whole: "Count"
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of some elements of a batch, with gradient, and what to log.

        Args:
            outputs: of the elements' reads, in the order of `read_order`.
            elements: those of a forward pass.
            whole: how many the whole batch has, which both are divided by.
        """
        if self.name == "ratings":
            targets = self._standard(elements, outputs)
            loss = ratings_loss(outputs, targets, ~targets.isnan(), normaliser=whole.elements)
            return loss, {}
        scores, ranks, mask = _padded(outputs[:, 0], elements)
        loss = self._comparison_loss(scores, ranks, mask, elements, whole.elements)
        if self.settings.centre_coef and self.name != "bradley_terry":
            around = centring(scores, mask, normaliser=whole.elements)
            loss = loss + self.settings.centre_coef * around
        figures = pair_figures(scores, ranks, mask, normaliser=max(whole.decided, 1))
        return loss, dict(zip(FIGURES, map(float, figures), strict=True))

    def _comparison_loss(
        self,
        scores: Float[Tensor, "element response"],
        ranks: Int[Tensor, "element response"],
        mask: Bool[Tensor, "element response"],
        elements: Sequence[Element],
        count: int,
    ) -> Tensor:
        if self.name == "bradley_terry":
            return bradley_terry_loss(
                scores[:, 0],
                scores[:, 1],
                margin=self._margins(elements, scores),
                centre_coef=self.settings.centre_coef,
                probability=_probabilities(elements, scores),
                normaliser=count,
            ).loss
        if self.name == "davidson":
            tied = ranks[:, 0] == ranks[:, 1]
            ahead = scores[:, 0] - scores[:, 1]
            return davidson_loss(ahead, tied, self.learned[0], normaliser=count)
        if self.name == "ordinal":
            levels = torch.tensor([self._level(one) for one in elements], device=scores.device)
            bounds = thresholds(self.learned, has_ties=self.has_ties)
            return ordinal_loss(scores[:, 0] - scores[:, 1], levels, bounds, normaliser=count)
        kinds = {
            "rankings": all_pairs_loss,
            "plackett_luce": plackett_luce_loss,
            "pick_best": pick_best_loss,
        }
        return kinds[self.name](scores, ranks, mask, normaliser=count)

    def _margins(self, elements: Sequence[Element], like: Tensor) -> Tensor | None:
        if self.settings.margins is None:
            return None
        margins = (0.0, *self.settings.margins)
        found = [margins[one.strength or 0] for one in elements]
        return torch.tensor(found, dtype=like.dtype, device=like.device)

    def _level(self, element: Element) -> int:
        if not element.decided:
            return 0
        if element.strength is None:
            return UNSAID
        # A strength that only appears among the looked-at ones counts as the nearest below.
        return max(sum(one <= element.strength for one in self.strengths), 1)

    def _standard(self, elements: Sequence[Element], like: Tensor) -> Float[Tensor, "read output"]:
        rows = [
            [(rating - scale.mean) / scale.deviation for rating, scale in zip(
                one.ratings, self.scales, strict=True)]
            for one in elements
        ]  # fmt: skip
        return torch.tensor(rows, dtype=like.dtype, device=like.device)

    def said(self) -> dict[str, Any]:
        """What was learned beside the model, for the file that is written with it."""
        if self.name == "davidson":
            return {"objective": self.name, "tie_weight": float(self.learned.detach().exp())}
        if self.name == "ordinal":
            bounds = thresholds(self.learned.detach(), has_ties=self.has_ties)
            return {
                "objective": self.name,
                "thresholds": bounds.tolist(),
                "strengths": self.strengths,
                "ties": self.has_ties,
            }
        return {}


class Count(NamedTuple):
    """Elements of a batch, and those among them with a decided pair."""

    elements: int
    decided: int

    @classmethod
    def of(cls, elements: Sequence[Element]) -> "Count":
        """Of these elements."""
        return cls(len(elements), sum(one.decided for one in elements))


def read_order(elements: Sequence[Element]) -> Iterator[tuple[int, int]]:
    """Element and place of each response in a forward pass: first ones first, then second ones."""
    for place in range(max((len(one.responses) for one in elements), default=0)):
        for row, one in enumerate(elements):
            if place < len(one.responses):
                yield row, place


def _probabilities(elements: Sequence[Element], like: Tensor) -> Tensor | None:
    """How likely each winner is the better one; None where every judgement is taken as certain."""
    if all(one.probability is None for one in elements):
        return None
    found = [1.0 if one.probability is None else one.probability for one in elements]
    return torch.tensor(found, dtype=like.dtype, device=like.device)


def _padded(
    scores: Float[Tensor, " read"], elements: Sequence[Element]
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, ranks and mask, an element a row."""
    rows, places = zip(*read_order(elements), strict=True)
    at = (torch.tensor(rows, device=scores.device), torch.tensor(places, device=scores.device))
    shape = (len(elements), max(places) + 1)
    found = scores.new_zeros(shape).index_put(at, scores)
    ranks = torch.zeros(shape, dtype=torch.long, device=scores.device)
    ranks = ranks.index_put(
        at,
        torch.tensor(
            [elements[row].ranks[place] for row, place in zip(rows, places, strict=True)],
            device=scores.device,
        ),
    )
    mask = torch.zeros(shape, dtype=torch.bool, device=scores.device)
    return found, ranks, mask.index_put(at, torch.ones_like(at[0], dtype=torch.bool))


def _scales(elements: Sequence[Element], axes: Sequence[str]) -> tuple[Scale, ...]:
    """Mean and deviation of the ratings on each axis.

    Raises:
        DataError: an axis has no rating among these, or all are equal.
    """
    found = []
    for place, name in enumerate(axes):
        given = [one.ratings[place] for one in elements if not math.isnan(one.ratings[place])]
        if not given:
            message = (
                f"no rating on axis {name!r} can be learned from: its prompts are held out or too "
                "long; collect more, or leave the axis out of reward.axes"
            )
            raise DataError(message)
        mean = math.fsum(given) / len(given)
        deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in given) / len(given))
        if not deviation > 0:
            message = (
                f"all {len(given)} ratings on axis {name!r} are {given[0]:g}: there is nothing to "
                "learn; collect ratings that differ, or leave the axis out of reward.axes"
            )
            raise DataError(message)
        found.append(Scale(mean, deviation))
    return tuple(found)
