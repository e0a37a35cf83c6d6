"""Reward models as functions of text: raw scores as the model gives them, and normalised ones.

The normalisation (mean 0, standard deviation 1 on samples of the reference policy) is kept beside
the model, in `reward_normalisation.json`, and never folded into the weights: the folder gives
everybody the same raw score.
"""

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
from assent.errors import NotAModel, RewardError
from assent.models.loading import load_reward_model, load_tokenizer, score_head
from assent.models.scoring import autocast, chunks
from assent.models.tokens import Rows, rows_of
from assent.objectives.masks import last_index, position_ids
from assent.types import RewardFunction

NORMALISATION_FILE = "reward_normalisation.json"


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


def raw_scores(
    model: PreTrainedModel, rows: Rows, precision: str = "float32"
) -> Float[Tensor, " batch"]:
    """Scores read at the last real token of each row, found by the mask, never by a token id."""
    with autocast(model.device, precision):
        output = model.base_model(
            input_ids=rows.tokens,
            attention_mask=rows.mask.long(),
            position_ids=position_ids(rows.mask),
            use_cache=False,
        )
        hidden = output.last_hidden_state
        last = hidden[torch.arange(len(hidden), device=hidden.device), last_index(rows.mask)]
    scores: Tensor = last.float() @ score_head(model).weight.float().T
    return scores.squeeze(1)


class TextReward:
    """A reward model on text. Every response is taken to have ended, so eos is appended to each."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        normalisation: Normalisation | None = None,
        *,
        batch_size: int = 256,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.normalisation = normalisation or Normalisation()
        self.batch_size = batch_size

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | None = None) -> "TextReward":
        """A reward model folder with its tokenizer and normalisation.

        Raises:
            NotAModel: the folder or its normalisation file does not load.
            TokenizerUnfit: pad or eos is missing, or they are one token.
        """
        file = Path(folder) / NORMALISATION_FILE
        normalisation = Normalisation.read(file) if file.is_file() else Normalisation()
        return cls(load_reward_model(folder, device), load_tokenizer(folder), normalisation)

    @torch.no_grad()
    def raw(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """Scores as the model gives them."""
        scores: list[float] = []
        for part in chunks(len(prompts), self.batch_size):
            rows = rows_of(self.tokenizer, prompts[part], responses[part]).to(self.model.device)
            scores += raw_scores(self.model, rows).tolist()
        return scores

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """Normalised scores."""
        gain, bias = self.normalisation.gain, self.normalisation.bias
        return [gain * score + bias for score in self.raw(prompts, responses)]


def save_normalisation(folder: Path, normalisation: Normalisation) -> None:
    """Write the normalisation beside a model."""
    write_file(folder / NORMALISATION_FILE, json.dumps(asdict(normalisation), indent=2) + "\n")


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
