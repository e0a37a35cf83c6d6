"""One point of benchmarks/growth.py: steps of one stage with one size of model, batch and response.

Llama models from scratch, random weights, float32; six layers whose width sets the size, and one
vocabulary. A word is a token, so that texts have exactly the length that was asked for.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import processes
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from assent.config.optimiser import OptimiserSettings
from assent.config.ppo import PpoSettings, SamplingSettings
from assent.config.reward import RewardSettings
from assent.config.sft import SftSettings
from assent.models.rewards import TextReward
from assent.models.sampling import sample
from assent.training.ppo import train_ppo
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import Demonstration, PreferencePair

VOCABULARY, LAYERS, HEAD_WIDTH = 4096, 6, 32
PAD, EOS = 0, 1
SPECIAL = ("<pad>", "<eos>")
PROMPT = 32
NEVER = 10**9
OPTIMISER = OptimiserSettings(lr=1e-6, schedule="constant")
"""So small a rate that the model stays what it was and every step does the same work."""


class Steps:
    """A progress bar that takes the processor time of each step; the first warms up."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began: float | None = None

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator["Steps"]:
        """All bars are this one."""
        del name, total, done
        yield self

    def advance(self, steps: int = 1, note: str = "") -> None:
        """A step is done."""
        del steps, note
        now = time.process_time()
        if self._began is not None:
            self.seconds.append(now - self._began)
        self._began = time.process_time()


def measure(
    *, job: str, width: int, batch: int, length: int, repeats: int, seed: int
) -> dict[str, Any]:
    """Processor seconds of each step after the first, and the most memory beside the imports.

    A model of next to nothing does the same before, so that what is imported at first use is held
    by then.
    """
    torch.set_num_threads(1)
    _run(job, Shape(HEAD_WIDTH, 2, 4), repeats=1, seed=seed)
    held = processes.forget_peak()
    parameters, seconds = _run(job, Shape(width, batch, length), repeats=repeats, seed=seed)
    return {
        "parameters": parameters,
        "processor_seconds": seconds,
        "memory_mb": processes.peak_mb() - held,
        "imports_mb": held,
    }


def _run(job: str, shape: "Shape", *, repeats: int, seed: int) -> tuple[int, list[float]]:
    folder = Path(tempfile.mkdtemp(prefix="assent-growth-"))
    steps = Steps()
    try:
        parameters = JOBS[job](Work(shape, repeats, seed, RunFolder(folder / "run"), steps))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert len(steps.seconds) == repeats, "a step and only a step advances the bar"
    return parameters, steps.seconds


class Shape(NamedTuple):
    """What is varied."""

    width: int
    batch: int
    length: int


class Work:
    """Everything a stage needs, drawn from the seed."""

    def __init__(
        self, shape: Shape, repeats: int, seed: int, folder: RunFolder, steps: Steps
    ) -> None:
        self.width, self.batch, self.length = shape
        self.repeats, self.seed, self.folder, self.steps = repeats, seed, folder, steps
        self.tokenizer = word_tokenizer()
        self.rng = np.random.default_rng(seed)

    def config(self) -> LlamaConfig:
        """The size is that of the width."""
        heads = self.width // HEAD_WIDTH
        return LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=self.width, num_hidden_layers=LAYERS,
            intermediate_size=16 * round(self.width / 6), num_attention_heads=heads,
            num_key_value_heads=heads, max_position_embeddings=512, tie_word_embeddings=True,
            pad_token_id=PAD, eos_token_id=EOS, bos_token_id=None, num_labels=1,
        )  # fmt: skip

    def policy(self) -> LlamaForCausalLM:
        """The same weights each time."""
        torch.manual_seed(self.seed)
        return LlamaForCausalLM(self.config()).train(mode=False)

    def reward_model(self) -> LlamaForSequenceClassification:
        """Other weights."""
        torch.manual_seed(self.seed + 1)
        return LlamaForSequenceClassification(self.config()).train(mode=False)

    def words(self, count: int, length: int) -> list[list[int]]:
        """Texts as token ids, all different."""
        return self.rng.integers(EOS + 1, VOCABULARY, size=(count, length)).tolist()

    def texts(self, count: int, length: int) -> list[str]:
        """Texts of so many tokens."""
        return [" ".join(map(_word, ids)) for ids in self.words(count, length)]


def sft(work: Work) -> int:
    """Steps of supervised fine-tuning: an epoch is one batch."""
    prompts, responses = work.texts(work.batch, PROMPT), work.texts(work.batch, work.length - 1)
    shown = [
        Demonstration(prompt=prompt, response=response)
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    settings = SftSettings(
        epochs=work.repeats + 1, batch_size=work.batch, max_tokens=PROMPT + work.length,
        checkpoint_every=NEVER, optimiser=OPTIMISER,
    )  # fmt: skip
    model = work.policy()
    train_sft(
        model, work.tokenizer, shown, settings, work.folder, seed=work.seed, progress=work.steps
    )
    return model.num_parameters()


def reward(work: Work) -> int:
    """Steps of a reward model on pairs: a batch has twice as many responses."""
    prompts = work.texts(work.batch, PROMPT)
    sides = [work.texts(work.batch, work.length - 1) for _ in range(2)]
    pairs = [
        PreferencePair(prompt=prompt, chosen=chosen, rejected=rejected)
        for prompt, chosen, rejected in zip(prompts, *sides, strict=True)
    ]
    settings = RewardSettings(
        epochs=work.repeats + 1, batch_size=work.batch, max_tokens=PROMPT + work.length,
        checkpoint_every=NEVER, optimiser=OPTIMISER,
    )  # fmt: skip
    model = work.reward_model()
    train_reward(
        model, work.tokenizer, pairs, None, settings, work.folder, seed=work.seed,
        progress=work.steps,
    )  # fmt: skip
    return model.num_parameters()


def ppo(work: Work) -> int:
    """PPO updates as the settings have them: two epochs of two minibatches, a shared value head."""
    settings = PpoSettings(
        updates=work.repeats + 1, rollouts_per_update=work.batch, optimiser=OPTIMISER,
        sampling=SamplingSettings(max_new_tokens=work.length),
    )  # fmt: skip
    policy = work.policy()
    train_ppo(
        policy, work.policy(), work.tokenizer,
        work.texts(work.batch * (work.repeats + 1), PROMPT),
        TextReward(work.reward_model(), work.tokenizer), settings, work.folder, seed=work.seed,
        progress=work.steps,
    )  # fmt: skip
    return policy.num_parameters()


def generation(work: Work) -> int:
    """Responses of full length to prompts that all differ."""
    model, prompts = work.policy(), work.words(work.batch, PROMPT)
    drawing = torch.Generator().manual_seed(work.seed)
    for _ in range(work.repeats + 2):  # one to begin with, and one that warms up
        work.steps.advance()
        sample(
            model, prompts, pad_id=PAD, eos_id=-1, max_new_tokens=work.length, temperature=1.0,
            generator=drawing,
        )  # fmt: skip
    del work.steps.seconds[0]
    return model.num_parameters()


JOBS: dict[str, Callable[[Work], int]] = {
    "generation": generation,
    "sft": sft,
    "reward": reward,
    "ppo": ppo,
}


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    words = dict(zip(SPECIAL, (PAD, EOS), strict=True))
    words |= {_word(id_): id_ for id_ in range(EOS + 1, VOCABULARY)}
    plain = Tokenizer(models.WordLevel(words, unk_token=_word(EOS + 1)))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=plain, **dict(zip(("pad_token", "eos_token"), SPECIAL, strict=True))
    )
    made.padding_side = "left"
    return made


def _word(id_: int) -> str:
    return f"w{id_}"
