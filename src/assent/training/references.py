"""What learning from pairs and from marked responses shares: examples, and the reference's view.

The log-probabilities of the reference are those of a frozen model, so they are computed once,
before the first step, and kept beside the run with a hash of the examples and of its weights.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.files import whole_folder, write_file
from assent.errors import ModelError
from assent.models.checkpoints import weights_hash
from assent.models.lora import Adapter
from assent.models.scoring import chunks, score
from assent.models.tokens import encode_prompts, encode_responses, join
from assent.training.run_folder import fingerprint

FOLDER, LOGPROBS, INPUTS = "reference", "logprobs.safetensors", "inputs.json"


class Example(NamedTuple):
    """Tokens of a prompt and of a response to it, its end token included."""

    prompt: list[int]
    response: list[int]

    @property
    def length(self) -> int:
        """In tokens."""
        return len(self.prompt) + len(self.response)

    @property
    def is_learnable(self) -> bool:
        """Whether something is asked and something is said."""
        return bool(self.prompt and self.response)


def encode_examples(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], responses: Sequence[str]
) -> list[Example]:
    """Texts as tokens, whole responses with their end."""
    return [
        Example(prompt, response)
        for prompt, response in zip(
            encode_prompts(tokenizer, prompts),
            encode_responses(tokenizer, responses, prompts=prompts),
            strict=True,
        )
    ]


class Summed(NamedTuple):
    """One number a response, prompts left out."""

    logprobs: Float[Tensor, " response"]
    """Summed over its tokens, in nats."""
    tokens: Int[Tensor, " response"]
    """How many those are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How responses are read: the same way by policy and reference."""

    pad_id: int
    temperature: float
    precision: str

    def read(self, model: PreTrainedModel, examples: Sequence[Example]) -> Summed:
        """Log-probabilities of whole responses; the caller decides on gradients."""
        rows = join(
            [one.prompt for one in examples], [one.response for one in examples], self.pad_id
        ).to(model.device)
        scored = score(model, rows, temperature=self.temperature, precision=self.precision)
        return Summed(scored.logprobs.sum(dim=1), rows.response_mask.sum(dim=1))


class Reference:
    """A frozen model: one of its own, or the policy with its adapter switched off."""

    def __init__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel | None,
        adapter: Adapter | None,
        stage: str,
    ) -> None:
        """Freeze it.

        Raises:
            ModelError: policy and reference are one object, or there is neither a reference nor an
                adapter.
        """
        if policy is reference:
            message = "policy and reference must be two models; copy the policy first"
            raise ModelError(message)
        if reference is None and adapter is None:
            message = f"without an adapter ({stage}.lora) {stage} needs a reference: a second model"
            raise ModelError(message)
        if reference is not None:
            reference.requires_grad_(requires_grad=False).train(mode=False)
        self._model = policy if reference is None else reference
        self._off = adapter if reference is None else None

    @torch.no_grad()
    def logprobs(
        self, folder: Path, reader: Reader, examples: Sequence[Example], size: int | None
    ) -> Tensor:
        """Of every response, summed over its tokens; those kept in `folder` where they still fit.

        Args:
            folder: of the run.
            reader: how responses are read.
            examples: in order.
            size: responses a forward pass; all at once if None.

        Returns:
            One number a response, in nats, on the model's device.
        """
        off: AbstractContextManager[None] = self._off.off() if self._off else nullcontext()
        with off:
            given = self._inputs(reader, examples)
            found = _kept(folder / FOLDER, given)
            if found is None or len(found) != len(examples):
                # Long and short apart, so that little is padded.
                order = sorted(range(len(examples)), key=lambda number: examples[number].length)
                found = torch.zeros(len(examples))
                for part in chunks(len(examples), size):
                    read = reader.read(self._model, [examples[n] for n in order[part]])
                    found[order[part]] = read.logprobs.cpu()
                with whole_folder(folder / FOLDER) as aside:
                    save_file({"logprobs": found}, aside / LOGPROBS)
                    write_file(aside / INPUTS, json.dumps({"sha256": given}) + "\n")
        return found.to(self._model.device)

    def _inputs(self, reader: Reader, examples: Sequence[Example]) -> str:
        tokens = fingerprint(
            (one.prompt for one in examples),
            (one.response for one in examples),
            [str(reader)],
        )
        return hashlib.sha256(
            f"{tokens} {weights_hash(self._model, adapter=False)}".encode()
        ).hexdigest()


def _kept(folder: Path, given: str) -> Tensor | None:
    """What an earlier process computed, if it was of the same; anything else is computed again."""
    try:
        inputs = json.loads((folder / INPUTS).read_text(encoding="utf-8"))
        if inputs["sha256"] != given:
            return None
        return load_file(folder / LOGPROBS)["logprobs"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
