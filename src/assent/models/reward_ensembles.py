"""Ensembles of reward models: several folders and a manifest, read as one reward.

    reward_ensemble.json    the members' folders, and how their rewards become one
    member-0/ …             ordinary reward model folders, each with a normalisation of its own

Members are normalised before they are combined, so that a worst case or a variance is one of equal
units. An ensemble lessens what a reward model errs by chance; what all members were taught wrong,
it keeps.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from assent.config.files import write_file
from assent.config.optimiser import Precision
from assent.errors import NotAModel
from assent.models.candidates import Candidates
from assent.models.reading import Read, Reading
from assent.models.rewards import ENSEMBLE_FILE, Normalisation, TextReward
from assent.objectives.aggregation import aggregate, disagreement
from assent.types import Aggregate

MEMBER = "member-{}"
"""What the folder of a member is called, by its number."""


class RewardEnsemble:
    """Several reward models on text, as one.

    Args:
        members: two or more; their normalised rewards are combined.
        how: mean, worst case, or mean less what they disagree by.
        coef: how much of the disagreement is taken off.
    """

    def __init__(
        self, members: Sequence[TextReward], how: Aggregate = "mean", coef: float = 0.0
    ) -> None:
        self.members, self.how, self.coef = tuple(members), how, coef

    def at_precision(self, precision: Precision) -> "RewardEnsemble":
        """The same members, read in another precision."""
        members = [member.at_precision(precision) for member in self.members]
        return RewardEnsemble(members, self.how, self.coef)

    @property
    def reading(self) -> Reading:
        """How the members read."""
        return self.members[0].reading

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The members'."""
        return self.members[0].tokenizer

    @property
    def normalisation(self) -> Normalisation:
        """Between rewards and `raw`: the mean gain and the mean bias of the members."""
        gains = [one.normalisation.gain for one in self.members]
        biases = [one.normalisation.bias for one in self.members]
        return Normalisation(
            gain=sum(gains) / len(gains),
            bias=sum(biases) / len(biases),
            samples=min(one.normalisation.samples for one in self.members),
        )

    def by_member(
        self, prompts: Sequence[str], responses: Sequence[str]
    ) -> Float[Tensor, "member response"]:
        """Normalised rewards of each member; float64."""
        rows = [member(prompts, responses) for member in self.members]
        return torch.tensor(rows, dtype=torch.float64)

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """One reward a response."""
        found = aggregate(self.by_member(prompts, responses), self.how, self.coef)
        return [float(value) for value in found]

    def fits(self, prompts: Sequence[str], responses: Sequence[str]) -> list[bool]:
        """Whether every member has positions for each prompt with its response, whole."""
        rows = [member.fits(prompts, responses) for member in self.members]
        return [all(column) for column in zip(*rows, strict=True)]

    def of_reads(self, reads: Sequence[Read]) -> list[float]:
        """Rewards of texts as tokens of the members' one tokenizer."""
        rows = torch.tensor([member.of_reads(reads) for member in self.members])
        return [float(value) for value in aggregate(rows.double(), self.how, self.coef)]

    def disagreement(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """How far the members are apart: the standard deviation of their rewards."""
        found = disagreement(self.by_member(prompts, responses))
        return [float(value) for value in found]

    def raw(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """The rewards in the members' own units, logits of a comparison: (reward - bias) / gain."""
        scale = self.normalisation
        return [(one - scale.bias) / scale.gain for one in self(prompts, responses)]

    def over(self, candidates: Candidates) -> Float[Tensor, "prompt answer"]:
        """One reward of each enumerated answer, by models on decoder trunks; float64."""
        rows = torch.stack([member.over(candidates) for member in self.members])
        return aggregate(rows, self.how, self.coef)


LearnedReward = TextReward | RewardEnsemble
"""What a reward stage leaves behind."""


def load_reward(
    folder: str | Path,
    device: torch.device | None = None,
    *,
    reading: str = "auto",
    batch_size: int = 256,
    how: Aggregate | None = None,
    coef: float | None = None,
) -> LearnedReward:
    """A reward model folder, or the folder of an ensemble.

    Args:
        folder: of a reward stage, any sequence classifier with one output, or a hub id.
        device: where it runs.
        reading: how it reads; see `models.reading`.
        batch_size: responses a forward pass.
        how: how an ensemble's rewards become one; as its manifest says if left out.
        coef: how much of the disagreement is taken off; likewise.

    Raises:
        NotAModel: the folder, a member of it or its manifest does not load.
        TokenizerUnfit: as `TextReward.load`.
    """
    file = Path(folder) / ENSEMBLE_FILE
    if not file.is_file():
        return TextReward.load(folder, device, reading=reading, batch_size=batch_size)
    names, own, own_coef = _read(file)
    members = [
        TextReward.load(Path(folder) / name, device, reading=reading, batch_size=batch_size)
        for name in names
    ]
    return RewardEnsemble(members, how or own, own_coef if coef is None else coef)


def save_manifest(folder: Path, count: int, how: Aggregate, coef: float) -> None:
    """Write which folders are members, and how their rewards become one."""
    said = {
        "members": [MEMBER.format(number) for number in range(count)],
        "aggregate": how,
        "uncertainty_coef": coef,
    }
    write_file(folder / ENSEMBLE_FILE, json.dumps(said, indent=2) + "\n")


def _read(file: Path) -> tuple[list[str], Aggregate, float]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        names = [str(name) for name in said["members"]]
        how, coef = said["aggregate"], float(said["uncertainty_coef"])
    except KeyError as error:
        message = f"{file} is no manifest of an ensemble: it holds no {error}"
        raise NotAModel(message) from error
    except (OSError, ValueError, TypeError, OverflowError) as error:
        message = f"{file} is no manifest of an ensemble: {error}"
        raise NotAModel(message) from error
    expected = [MEMBER.format(number) for number in range(len(names))]
    if not names or names != expected:
        message = f"{file} is no manifest of an ensemble: its members are member-0, member-1 …"
        raise NotAModel(message)
    if how not in get_args(Aggregate) or not 0 <= coef < math.inf:
        message = f"{file}: aggregate {how!r} with coefficient {coef} is none of ours"
        raise NotAModel(message)
    return names, how, coef
