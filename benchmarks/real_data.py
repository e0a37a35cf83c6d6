"""The loop on real data: other projects' files, a language model from books, rewards, PPO.

    python benchmarks/real_data.py OUT.json [--quick] [--baselines] [--data DIR] [--work DIR]

1. A Llama-type LM of five million parameters is pretrained on `text/stories_train`.
2. `assent init` makes a project around it, every file of `preferences/`, `demos/` and `feedback/`
   is imported, and SFT learns demonstrations.
3. Reward models on hh-rlhf and on OASST pairs, five folds grouped by prompt: from that LM and from
   the pretrained encoder of the extra [encoder] (frozen, a linear head), beside length, a bag of
   words and shuffled labels, on the same rows; accuracy with a bootstrap interval over groups.
4. PPO of that LM on real prompts against the reward model of four folds; ten checkpoints, gold by a
   reward model that saw the fifth fold only.

`--baselines` does of this only what needs no language model of ours: the rows, and on them length,
bag of words and encoder, in a few minutes. Everything is kept in the work folder, part by part:
with `--work DIR` a run that was broken off goes on, and a finished one is only written again.

Pretraining, SFT and reward models run in bfloat16 where the processor multiplies it, twice as fast;
every figure is measured in float32, and PPO runs in it.

A small model on a thousand pairs lies near the baselines: that is the result, not a fault of it.
"""

import argparse
import gzip
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_rewards import SEED, Parts, Rows, compared, fold_model, reward_model, rows_of, say
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from assent.audit.reward_accuracy import reward_accuracy
from assent.audit.sampled import MeasuredPrompt, SampledMeasure
from assent.collect.importing import import_file
from assent.collect.importing_splits import default_group
from assent.config.files import write_file
from assent.config.optimiser import OptimiserSettings, Precision
from assent.config.ppo import FixedKl, PpoSettings, SamplingSettings
from assent.config.pretraining import ModelShape, PretrainSettings
from assent.config.sft import SftSettings
from assent.models.bfloat16 import faster_on_cpu
from assent.models.loading import load_causal_lm, load_tokenizer
from assent.models.rewards import Normalisation
from assent.models.tokens import encode_prompts, encode_responses
from assent.objectives.seeds import permutation
from assent.rounds.starting import init_project
from assent.rounds.trajectory import point_steps
from assent.stats.intervals import bootstrap_mean
from assent.store import Project
from assent.training.ppo import train_ppo
from assent.training.pretrain import train_base
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import Demonstration

GOLD_FOLD = 0
"""Gold has seen this fold only, the reward that PPO raises the other four."""
DATA_SETS = {
    "hh-rlhf": "hh_harmless_base_test.jsonl.gz",
    "oasst": "oasst1_en_validation_pairs.jsonl.gz",
}


@dataclass(frozen=True, slots=True, kw_only=True)
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
    """Prompts at each point."""
    shape: ModelShape
    precision: Precision
    """In which pretraining, SFT and reward models run forwards."""


WHOLE = Scale(
    pretrain_steps=960,
    pretrain_batch=8,
    sft_demonstrations=2400,
    max_tokens=320,
    pairs=800,
    ppo_updates=36,
    ppo_rollouts=64,
    points=10,
    measured=96,
    shape=ModelShape(
        hidden_size=256, intermediate_size=688, layers=5, heads=4, max_positions=512,
        initial_std=0.05,
    ),
    precision=faster_on_cpu(),
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
    precision=faster_on_cpu(),
)  # fmt: skip


def pretrained(data: Path, work: Path, scale: Scale) -> dict[str, Any]:
    """A tokenizer and a model from the books, in `work/base/model`; its loss on other books."""
    paragraphs = _paragraphs(data)
    tokenizer = _tokenizer(paragraphs)
    settings = PretrainSettings(
        shape=scale.shape,
        steps=scale.pretrain_steps,
        batch_size=scale.pretrain_batch,
        checkpoint_every=100,
        precision=scale.precision,
        optimiser=OptimiserSettings(lr=2e-3, warmup_steps=40, weight_decay=0.01, schedule="cosine"),
    )
    wanted = scale.pretrain_steps * scale.pretrain_batch
    documents = _documents(tokenizer, paragraphs, wanted)
    run = RunFolder(work / "base")
    if not run.is_done:
        train_base(documents, tokenizer, settings, run, seed=SEED)
    model = load_causal_lm(run.model)
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


def fine_tuned(project: Project, base: Path, work: Path, scale: Scale) -> dict[str, Any]:
    """SFT on as many of the imported demonstrations as there is time for; in `work/sft/model`."""
    store = project.store
    mine = {prompt.id for prompt in store.prompts("train")}
    there = [one for one in store.demonstrations() if one.prompt_id in mine]
    chosen = permutation(len(there), SEED, "demonstrations")[: scale.sft_demonstrations]
    run = RunFolder(work / "sft")
    if not run.is_done:
        train_sft(
            load_causal_lm(base),
            load_tokenizer(base),
            [Demonstration(prompt=there[n].prompt, response=there[n].response) for n in chosen],
            SftSettings(
                epochs=1,
                batch_size=16,
                max_tokens=scale.max_tokens,
                checkpoint_every=50,
                precision=scale.precision,
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
        "learned_tokens": json.loads(lines[-1])["data/tokens"],
        "first_losses_nats": float(np.mean(losses[:5])),
        "last_losses_nats": float(np.mean(losses[-20:])),
    }


def optimised(rows: Rows, base: Path, work: Path, scale: Scale) -> dict[str, Any]:
    """PPO against the reward model of four folds; gold is that of the fifth."""
    tokenizer = load_tokenizer(base)
    policy, reference = load_causal_lm(base), load_causal_lm(base)
    asked, measured = _prompts(rows, scale)
    measure = SampledMeasure(
        tokenizer,
        reference,
        [MeasuredPrompt(text, "user", default_group(text) or text) for text in measured],
        SamplingSettings(max_new_tokens=40),
        seed=SEED,
    )
    start = measure.measure(reference, lambda _, texts: [0.0] * len(texts)).responses
    proxy = fold_model(rows, GOLD_FOLD, base, work / rows.name, scale)
    gold = reward_model(rows.held(GOLD_FOLD), base, work / "gold", scale)
    for reward in (proxy, gold):  # mean 0 and standard deviation 1 before PPO begins
        reward.normalisation = Normalisation.fit(reward.raw(measured, start))
    settings = PpoSettings(
        updates=scale.ppo_updates,
        rollouts_per_update=scale.ppo_rollouts,
        minibatches=2,
        sampling=SamplingSettings(max_new_tokens=40),
        kl=FixedKl(coef=0.05),
        optimiser=OptimiserSettings(lr=1e-4, eps=1e-5, warmup_steps=2),
    )
    run = RunFolder(work / "ppo")
    found = run.path / "points"
    found.mkdir(parents=True, exist_ok=True)

    def point(step: int, model: PreTrainedModel) -> str:
        """Measured, and kept: a run that goes on does not pass its first points again."""
        sampled = measure.measure(model, proxy)
        values = np.array(gold(measured, sampled.responses))
        ends = bootstrap_mean(values, measured, resamples=2000, seed=0)
        figures = {key: value for key, value in sampled.figures.items() if key != "by_kind"}
        figures |= {"gold_mean": float(values.mean()), "gold_ci": [ends.low, ends.high]}
        kept = {"step": step, **figures, "gold": values.tolist(), "example": sampled.responses[0]}
        write_file(found / f"{step:06d}.json", json.dumps(kept) + "\n")
        say(
            f"  step {step}: KL {figures['kl_nats']:.2f}, proxy {figures['proxy_mean']:.2f}, "
            f"gold {values.mean():.2f} [{ends.low:.2f}, {ends.high:.2f}]"
        )
        return f"gold {values.mean():.2f}"

    if not run.is_done:
        steps = point_steps(scale.ppo_updates, scale.points)
        train_ppo(
            policy, reference, tokenizer, asked, proxy, settings, run,
            seed=SEED, points=steps, on_point=point,
        )  # fmt: skip
    return {
        "prompts": {"train": len(asked), "measured": len(measured)},
        "proxy_on_the_fifth_fold": reward_accuracy(proxy, rows.held(GOLD_FOLD)).as_dict(),
        "gold_on_the_other_folds": reward_accuracy(gold, rows.others(GOLD_FOLD)).as_dict(),
        "settings": settings.model_dump(mode="json"),
        "points": _with_changes(
            [json.loads(file.read_text("utf-8")) for file in sorted(found.glob("*.json"))], measured
        ),
    }


def _prompts(rows: Rows, scale: Scale) -> tuple[list[str], list[str]]:
    """Prompts to train on and to measure on: the shorter half, as time is short."""
    prompts = sorted({pair.prompt for pair in rows.pairs}, key=lambda text: (len(text), text))
    prompts = prompts[: max(len(prompts) // 2, 8)]
    return prompts[::2], prompts[1::2][: scale.measured]


def _with_changes(
    points: Sequence[dict[str, Any]], measured: Sequence[str]
) -> list[dict[str, Any]]:
    """Each point with the change of gold since the first, prompt by prompt."""
    first = np.array(points[0]["gold"])
    for point in points:
        change = np.array(point.pop("gold")) - first
        ends = bootstrap_mean(change, measured, resamples=2000, seed=0)
        point |= {"gold_change": float(change.mean()), "gold_change_ci": [ends.low, ends.high]}
    return list(points)


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


def baselines(data: Path, work: Path, scale: Scale, parts: Parts) -> dict[str, Any]:
    """The comparison of reward models without the LM, on the very same rows."""
    tokenizer = _tokenizer(_paragraphs(data))
    found = {}
    for name, file in DATA_SETS.items():
        rows = rows_of(name, data / "preferences" / file, tokenizer, scale)
        found[name] = compared(rows, None, work / name, scale, parts)
    return found


def whole(data: Path, work: Path, scale: Scale, parts: Parts) -> dict[str, Any]:
    """Everything, in the order of the list above."""
    result: dict[str, Any] = {}
    result["pretrain"] = parts.get("pretrain", lambda: pretrained(data, work, scale))
    root, base = work / "project", work / "base" / "model"
    if not (root / "assent.toml").exists():
        init_project(root, model=str(base), prompts=None, size="tiny", seed=SEED)
    with Project.open(root) as project:
        result["import"] = parts.get("import", lambda: imported(data, project))
        result["sft"] = parts.get("sft", lambda: fine_tuned(project, base, work, scale))
    policy = work / "sft" / "model"
    result["reward"] = {}
    rows = {
        name: rows_of(name, data / "preferences" / file, load_tokenizer(policy), scale)
        for name, file in DATA_SETS.items()
    }
    for name, those in rows.items():
        result["reward"][name] = compared(those, policy, work / name, scale, parts)
    result["ppo"] = parts.get("ppo", lambda: optimised(rows["hh-rlhf"], policy, work, scale))
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
    parser.add_argument("--work", type=Path, help="kept, and gone on from; else a temporary folder")
    given = parser.parse_args()
    data = given.data or Path(os.environ.get("ASSENT_DATA") or "../shared/data")
    if not (data / "preferences").is_dir():
        say(f"skipped: no data at {data}; set ASSENT_DATA to the folder that holds preferences/")
        return
    scale = QUICK if given.quick else WHOLE
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    result: dict[str, Any] = {
        "machine": {"cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "commit": commit.stdout.strip(),
        "quick": given.quick,
        "scale": {**asdict(scale), "shape": scale.shape.model_dump()},
    }
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        parts = Parts(work)
        if given.baselines:
            result["reward"] = baselines(data, work, scale, parts)
        else:
            result |= whole(data, work, scale, parts)
    total = {
        kind: round(sum(spent[kind] for spent in parts.spent.values()), 1)
        for kind in ("clock", "processor")
    }
    result["seconds"] = {**parts.spent, "total": total}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_file(given.out, json.dumps(result, indent=1, allow_nan=False) + "\n")
    say(f"total {total['clock']:.0f} s; {given.out}")


if __name__ == "__main__":
    main()
