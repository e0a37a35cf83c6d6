"""Reward models as functions of text: raw scores as the model gives them, and normalised ones.

The normalisation (mean 0, standard deviation 1 on samples of the reference policy) is kept beside
the model, in `reward_normalisation.json`, and never folded into the weights: the folder gives
everybody the same raw score.
"""

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.files import write_file
from assent.config.optimiser import Precision
from assent.errors import NotAModel, RewardError
from assent.models.candidates import Candidates
from assent.models.loading import (
    load_reward_model,
    max_positions,
    open_tokenizer,
    require_match,
)
from assent.models.reading import Read, Reading, ResponseEnd, reading_of, with_room
from assent.models.reward_axes import Axis, combine_outputs, read_axes
from assent.models.scoring import chunks
from assent.types import RewardFunction

NORMALISATION_FILE = "reward_normalisation.json"
ENSEMBLE_FILE = "reward_ensemble.json"
READING_FILE = "reward_reading.json"
"""Holds the suffix that a reward model was trained to be read after, where it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """normalised = gain * raw + bias."""

    gain: float = 1.0
    bias: float = 0.0
    samples: int = 0
    """How many samples of the reference it was fitted on; 0 leaves raw scores as they are."""

    @classmethod
    def read(cls, file: Path) -> "Normalisation":
        """What `save_normalisation` wrote.

        Raises:
            NotAModel: the file does not hold a finite gain above 0, a finite bias and a count.
        """
        try:
            given = json.loads(file.read_text(encoding="utf-8"))
            found = cls(
                gain=float(given["gain"]),
                bias=float(given["bias"]),
                samples=int(given["samples"]),
            )
        except KeyError as error:
            message = f"{file} is not a normalisation: it holds no {error}"
            raise NotAModel(message) from error
        except (OSError, ValueError, TypeError, OverflowError) as error:
            message = f"{file} is not a normalisation: {error}"
            raise NotAModel(message) from error
        if not (math.isfinite(found.gain) and found.gain > 0 and math.isfinite(found.bias)):
            message = f"{file} is not a normalisation: gain {found.gain}, bias {found.bias}"
            raise NotAModel(message)
        return found

    @classmethod
    def fit(cls, raw: Sequence[float]) -> "Normalisation":
        """Mean 0 and standard deviation 1 on these raw scores.

        Raises:
            RewardError: the scores are all equal, so nothing was learned.
        """
        values = torch.tensor(raw, dtype=torch.float64)
        deviation = float(values.std(unbiased=False))
        if not deviation > 1e-8:  # NaN must fail too
            message = (
                f"the reward model gives all {len(raw)} reference samples the same score; "
                "train it longer or on more judgements"
            )
            raise RewardError(message)
        gain = 1 / deviation
        return cls(gain=gain, bias=-gain * float(values.mean()), samples=len(raw))


class TextReward:
    """A reward model on text. Every response is taken to have ended.

    Args:
        model: a sequence classifier.
        tokenizer: its own.
        normalisation: of its scores; they stay as they are if left out.
        reading: how it reads; as `reading_of` finds if left out.
        batch_size: responses a forward pass.
        precision: "bfloat16" computes products in it, whenever texts are scored. Enumerated answers
            (`over`) are always read in float32.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        normalisation: Normalisation | None = None,
        *,
        reading: Reading | None = None,
        batch_size: int = 256,
        precision: Precision = "float32",
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.normalisation = normalisation or Normalisation()
        self.reading = reading or reading_of(model, tokenizer)
        self.batch_size, self.precision = batch_size, precision

    def at_precision(self, precision: Precision) -> "TextReward":
        """The same model, read in another precision."""
        changed = copy.copy(self)
        changed.precision = precision
        return changed

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: torch.device | None = None,
        *,
        reading: str = "auto",
        batch_size: int = 256,
        axis: str | None = None,
    ) -> "TextReward":
        """A reward model folder with its own tokenizer, and its normalisation if it has one.

        Args:
            folder: any sequence classifier with one output: a Hugging Face folder or a hub id; or
                one of several axes that Assent trained, whose combination is the reward.
            device: where it runs.
            reading: how it reads; see `models.reading`.
            batch_size: responses a forward pass.
            axis: the name of one axis, in place of the combination: the rating it predicts, in the
                units of the ratings.

        Raises:
            NotAModel: the folder, its normalisation or its axes do not load; it holds no such axis.
            TokenizerUnfit: pad or eos is missing, or they are one token, and the model reads at
                the response's end token; or the tokenizer has more tokens than the model.
        """
        if (Path(folder) / ENSEMBLE_FILE).is_file():
            message = (
                f"{folder} is an ensemble of reward models; name one of them: {folder}/member-0"
            )
            raise NotAModel(message)
        file = Path(folder) / NORMALISATION_FILE
        is_ours = file.is_file()
        normalisation = Normalisation.read(file) if is_ours else Normalisation()
        axes = read_axes(folder)
        outputs = max(len(axes), 1)
        model = load_reward_model(folder, device, outputs=outputs)
        tokenizer = open_tokenizer(folder)
        require_match(model, tokenizer)
        if axis is not None:
            only = _axis(axes, axis, str(folder))
            normalisation = Normalisation(gain=only.scale, bias=only.mean)
            combine_outputs(model, [float(one == only) for one in axes])
        elif axes:
            combine_outputs(model, [one.weight for one in axes])
        if model.config.pad_token_id is None:
            # Left to itself, transformers scores a batch only where it knows the padding.
            model.config.pad_token_id = tokenizer.pad_token_id
        suffix = read_suffix(Path(folder))
        chosen = reading_of(model, tokenizer, reading, is_ours=is_ours, suffix=suffix)
        return cls(model, tokenizer, normalisation, reading=chosen, batch_size=batch_size)

    @torch.no_grad()
    def raw(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """Scores as the model gives them; a few responses may be shortened, see `with_room`.

        Raises:
            RewardError: prompts with their responses are longer than the model has positions.
        """
        return self._scores(with_room(self.model, self.reading.encode(prompts, responses)))

    def fits(self, prompts: Sequence[str], responses: Sequence[str]) -> list[bool]:
        """Whether the model has positions for each prompt with its response, whole."""
        most = max_positions(self.model)
        reads = self.reading.encode(prompts, responses)
        return [most is None or one.length <= most for one in reads]

    @torch.no_grad()
    def of_reads(self, reads: Sequence[Read]) -> list[float]:
        """Normalised scores of texts as tokens."""
        return [self._normalised(score) for score in self._scores(reads)]

    def _scores(self, reads: Sequence[Read]) -> list[float]:
        scores: list[float] = []
        for part in chunks(len(reads), self.batch_size):
            scores += self.reading.scores(self.model, reads[part], self.precision).tolist()
        return scores

    def _normalised(self, score: float) -> float:
        return self.normalisation.gain * score + self.normalisation.bias

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """Normalised scores."""
        return [self._normalised(score) for score in self.raw(prompts, responses)]

    def over(self, candidates: Candidates) -> Float[Tensor, "prompt answer"]:
        """Normalised scores of enumerated answers, by a model on a decoder trunk; float64."""
        suffix = self.reading.suffix if isinstance(self.reading, ResponseEnd) else []
        raw = candidates.rewards(self.model, suffix)
        return self.normalisation.gain * raw + self.normalisation.bias


def _axis(axes: Sequence[Axis], name: str, folder: str) -> Axis:
    found = next((one for one in axes if one.name == name), None)
    if found is None:
        known = ", ".join(one.name for one in axes) or "none"
        message = f"{folder} has no axis {name!r}; it has {known}"
        raise NotAModel(message)
    return found


def save_suffix(folder: Path, suffix: str) -> None:
    """Write beside a model what is to stand between a response and its end token."""
    text = json.dumps({"suffix": suffix}, indent=2, ensure_ascii=False)
    write_file(folder / READING_FILE, text + "\n")


def read_suffix(folder: Path) -> str:
    """What `save_suffix` wrote, or nothing.

    Raises:
        NotAModel: the file holds no suffix.
    """
    file = folder / READING_FILE
    if not file.is_file():
        return ""
    try:
        suffix = json.loads(file.read_text(encoding="utf-8"))["suffix"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{file} names no suffix: {error}"
        raise NotAModel(message) from error
    if not isinstance(suffix, str):
        message = f"{file} names no suffix but {suffix!r}"
        raise NotAModel(message)
    return suffix


def save_normalisation(folder: Path, normalisation: Normalisation) -> None:
    """Write the normalisation beside a model."""
    write_file(folder / NORMALISATION_FILE, json.dumps(asdict(normalisation), indent=2) + "\n")


def at_precision(reward: RewardFunction, precision: Precision) -> RewardFunction:
    """A reward whose models are read in a precision; any other function as it is."""
    change = getattr(reward, "at_precision", None)
    if change is None:
        return reward
    changed: RewardFunction = change(precision)
    return changed


def checked_rewards(
    reward: RewardFunction | Callable[[Sequence[str], Sequence[str]], Sequence[float]],
    prompts: Sequence[str],
    responses: Sequence[str],
) -> list[float]:
    """Call a reward function and make sure of what it returns.

    Raises:
        RewardError: another count than was asked for, or a value that is not a finite number.
    """
    name = getattr(reward, "__name__", type(reward).__name__)
    returned = reward(prompts, responses)
    try:
        values = [_number(value) for value in returned]
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        message = f"the reward {name} must return one number a response: {reason}"
        raise RewardError(message) from error
    if len(values) != len(responses):
        message = f"the reward {name} returned {len(values)} values for {len(responses)} responses"
        raise RewardError(message)
    for number, value in enumerate(values):
        if not math.isfinite(value):
            message = (
                f"the reward {name} returned {value} for response {number}: "
                f"{responses[number][:80]!r}"
            )
            raise RewardError(message)
    return values


def _number(value: object) -> float:
    if isinstance(value, str | bytes):  # float("1") is a number, and text from a model is not
        message = f"{value[:80]!r} is text"
        raise TypeError(message)
    return float(value)  # type: ignore[arg-type]
