"""One reward model, ensembles and an average of weights, in the Almanac world.

    python benchmarks/reward_models.py OUT.json [--seeds 4] [--pairs 300,1000,4000] [--members 4]
        [--judges unbiased,flipped,flawed] [--made DIR ...]

Each arm learns from the same judged pairs of the SFT policy's responses on training prompts:

- unbiased: judges without bias. What a reward model gets wrong, it gets wrong by chance.
- flipped: the same judges, a quarter of their verdicts turned round (Coste et al. 2023).
- flawed: judges with every flaw. All members are taught the same wrong.

and is measured on held-out prompts, where all 270 answers are enumerated: how often it agrees with
fresh, unflipped verdicts of the same judges; its correlation with their utility and with gold,
under the reference, within prompts; and gold at given KL along the exact tilt of the reference by
it. A fresh seed is a fresh world, policy and sample.

`single` is the first member of the ensemble whose mean, minimum and mean less variance are the
others; `average` is as many models trained from one head, with the mean of their weights.

What is written is kept: a second call with the same OUT.json computes only what is missing. Beside
it OUT.md says what each kind gains over one model, seed by seed the same judgements.
Projects given by --made (of `assent demo`) lend their policies to their seeds, which saves the
pretraining.
"""

import argparse
import json
import random
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from kept import begin
from methods_table import cell
from torch import Tensor

from assent.audit.almanac import AlmanacMeasure, measured_prompts, off_grammar
from assent.collect.asking import draw_responses
from assent.config.files import write_file
from assent.config.project import ProjectSettings
from assent.config.reward import EnsembleSettings, RewardSettings
from assent.config.sizes import size_settings
from assent.config.write import dump_toml
from assent.models.loading import (
    choose_device,
    load_causal_lm,
    load_tokenizer,
    open_tokenizer,
    reward_model_from,
)
from assent.models.reward_ensembles import LearnedReward, RewardEnsemble
from assent.objectives.kl import categorical_kl
from assent.objectives.seeds import derive_seed, permutation
from assent.objectives.tilting import tilt
from assent.rounds import stages
from assent.rounds.workspace import open_workspace
from assent.store import Project
from assent.training.reward_ensemble import train_ensemble
from assent.training.run_folder import RunFolder
from assent.types import PreferencePair, ResponsePair, RewardExample, SilentProgress
from assent.worlds.almanac import ANNOTATORS, SimulatedAnnotator, World
from assent.worlds.almanac.grammar import OFF_GRAMMAR_GOLD, answers

JUDGES = {"unbiased": ("unbiased", 0.0), "flipped": ("unbiased", 0.25), "flawed": ("flawed", 0.0)}
"""Annotator, and the share of verdicts that are turned round."""
KLS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
FRESH_PAIRS = 2000
SAMPLES = 512
UNCERTAINTY = 0.5


@dataclass(frozen=True, slots=True)
class Base:
    """What the arms of a seed share."""

    seed: int
    world: World
    settings: ProjectSettings
    start: Path
    """What reward models begin as."""
    pairs: list[ResponsePair]
    fresh: list[ResponsePair]
    samples: tuple[list[str], list[str]]
    measure: AlmanacMeasure


def make_base(seed: int, folder: Path, most_pairs: int, *, made: bool) -> Base:
    """Pretrain and fine-tune unless that is done, and draw every response that is judged."""
    settings = size_settings("tiny", {"seed": seed, "world": {"seed": seed}})
    if not made:
        Project.create(folder, dump_toml(settings)).close()
    with open_workspace(folder, SilentProgress(), alone=not made) as workspace:
        if not made:
            stages.fill_prompts(workspace)
            stages.sft(workspace, stages.pretrain(workspace))
        start = workspace.path(stages.newest(workspace, "pretrain", "assent demo"))
        policy = workspace.path(stages.newest(workspace, "sft", "assent demo"))
    world = World(seed)
    test, train = measured_prompts(world)
    model, tokenizer = load_causal_lm(policy), load_tokenizer(policy)

    def drawn(split: str, count: int) -> list[ResponsePair]:
        texts = [one.text for one in world.prompts("train" if split == "train" else "test")]
        order = permutation(len(texts), seed, split)
        asked = [texts[order[number % len(order)]] for number in range(count)]
        sides = [
            [one.text for one in draw_responses(
                model, tokenizer, asked, settings.ppo.sampling, seed, split, side)]
            for side in ("first", "second")
        ]  # fmt: skip
        found = zip(asked, *sides, strict=True)
        return [ResponsePair(prompt=p, first=a, second=b) for p, a, b in found if a != b]

    samples = drawn("train", SAMPLES)
    return Base(
        seed=seed,
        world=world,
        settings=settings,
        start=start if settings.reward.start == "base" else policy,
        pairs=drawn("train", most_pairs + most_pairs // 2),
        fresh=drawn("test", FRESH_PAIRS),
        samples=([one.prompt for one in samples], [one.first for one in samples]),
        measure=AlmanacMeasure(
            world, tokenizer, model, test=test, train=train,
            temperature=settings.ppo.sampling.temperature,
        ),
    )  # fmt: skip


def judged(
    base: Base, pairs: Sequence[ResponsePair], judge: str, flipped: float, sitting: str
) -> list[PreferencePair]:
    """Who won each, by a simulated annotator; some of it turned round."""
    annotator = SimulatedAnnotator(base.world, ANNOTATORS[judge])
    verdicts = annotator.judge(pairs, derive_seed(base.seed, sitting))
    chance = random.Random(f"{base.seed}/{sitting}/flips")
    found = []
    for pair, verdict in zip(pairs, verdicts, strict=True):
        first = (verdict == "first") != (chance.random() < flipped)
        won, lost = (pair.first, pair.second) if first else (pair.second, pair.first)
        found.append(PreferencePair(prompt=pair.prompt, chosen=won, rejected=lost))
    return found


def run_arm(base: Base, judge: str, count: int, members: int, folder: Path) -> dict[str, Any]:
    """Every kind of reward from the same pairs, measured."""
    name, flips = JUDGES[judge]
    taught = judged(base, base.pairs[:count], name, flips, "taught")
    fresh = judged(base, base.fresh, name, 0.0, "fresh")
    utility = _utility(base, name)

    def train(aggregate: str) -> LearnedReward:
        settings = RewardSettings.model_validate(
            base.settings.reward.model_dump()
            | {"ensemble": EnsembleSettings.model_validate(
                {"members": members, "aggregate": aggregate})}
        )  # fmt: skip
        said: list[RewardExample] = list(taught)
        return train_ensemble(
            reward_model_from(base.start, derive_seed(base.seed, judge, count)),
            open_tokenizer(base.start), said, base.samples, settings,
            RunFolder(folder / aggregate), seed=derive_seed(base.seed, judge, count, aggregate),
        )  # fmt: skip

    ensemble = train("mean")
    assert isinstance(ensemble, RewardEnsemble)
    rewards: dict[str, LearnedReward] = {
        "single": ensemble.members[0],
        "mean": ensemble,
        "min": RewardEnsemble(ensemble.members, "min"),
        "less_variance": RewardEnsemble(ensemble.members, "mean_minus_variance", UNCERTAINTY),
        "average": train("average_weights"),
    }
    return {kind: measured(base, reward, fresh, utility) for kind, reward in rewards.items()}


def measured(
    base: Base, reward: LearnedReward, fresh: Sequence[PreferencePair], utility: Tensor
) -> dict[str, Any]:
    """Accuracy, correlations, and gold along the tilt."""
    asked = [one.prompt for one in fresh]
    won = torch.tensor(reward(asked, [one.chosen for one in fresh]))
    lost = torch.tensor(reward(asked, [one.rejected for one in fresh]))
    right = (won > lost).double() + 0.5 * (won == lost).double()
    scores = reward.over(base.measure.candidates)
    off = off_grammar(base.world, *base.samples)
    said = reward([base.samples[0][n] for n in off], [base.samples[1][n] for n in off])
    elsewhere = sum(said) / len(said) if said else float(scores.min())
    chances = base.measure.reference[:, :-1].exp()
    at = {str(kl): _gold_at(base, scores, elsewhere, kl) for kl in KLS}
    return {
        "accuracy": float(right.mean()),
        "correlation_with_utility": _correlation(scores, utility, chances),
        "correlation_with_gold": _correlation(scores, base.measure.gold, chances),
        "gold_at_kl": at,
    }


def _utility(base: Base, name: str) -> Tensor:
    annotator = SimulatedAnnotator(base.world, ANNOTATORS[name])
    return torch.tensor(
        [
            [annotator.utility_of(prompt, one) for one in answers(prompt.fact.attribute)]
            for prompt in base.measure.test
        ],
        dtype=torch.float64,
    )


def _correlation(one: Tensor, other: Tensor, chances: Tensor) -> float:
    """Within prompts, under the reference's chances."""
    weights = chances / chances.sum(1, keepdim=True)
    a, b = (x - (weights * x).sum(1, keepdim=True) for x in (one.double(), other.double()))
    covariance = (weights * a * b).sum()
    return float(covariance / ((weights * a * a).sum() * (weights * b * b).sum()).sqrt())


def _gold_at(base: Base, scores: Tensor, elsewhere: float, kl: float) -> float | None:
    """Mean gold where the tilt is so many nats from the reference; None where it never gets there.

    One price of a nat for all prompts, found by bisection.
    """
    reference, gold = base.measure.reference, base.measure.gold
    rewards = torch.cat([scores, torch.full((len(scores), 1), elsewhere).double()], dim=1)
    gold = torch.cat([gold, torch.full((len(gold), 1), OFF_GRAMMAR_GOLD).double()], dim=1)

    def tilted(log_price: float) -> tuple[float, float]:
        logprobs = tilt(reference, rewards, 10.0**log_price)
        mean = float(categorical_kl(logprobs, reference).mean())
        return mean, float((logprobs.exp() * gold).sum(1).mean())

    low, high = -4.0, 4.0  # a cheap nat goes far
    if tilted(low)[0] < kl:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tilted(middle)[0] > kl else (low, middle)
    return tilted(high)[1]


def run_seed(
    seed: int,
    arms: Sequence[tuple[str, int]],
    members: int,
    most: int,
    folder: Path,
    made: Path | None,
) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    """Each arm of a seed and what was measured, as they come."""
    if not arms:
        return
    base = make_base(seed, made or folder / "base", most, made=made is not None)
    for judge, count in arms:
        yield (judge, count), run_arm(base, judge, count, members, folder / f"{judge}-{count}")


def table(seeds: Mapping[str, Mapping[str, Any]], kl: float = 2.0) -> str:
    """A row an arm: one model, and what each other kind gains over it on the same judgements."""
    arms = list(dict.fromkeys(arm for seed in seeds.values() for arm in seed))
    kinds = list(dict.fromkeys(k for seed in seeds.values() for arm in seed.values() for k in arm))
    others = [kind for kind in kinds if kind != "single"]
    lines = [
        f"Gold along the exact tilt at {kl:g} nats, and how often the reward agrees with fresh "
        "verdicts. Of one model its own; of the others what they have more than it on the same "
        "seed. Means over seeds, Student's 95 %.",
        "",
    ]
    for name, read, form in (
        ("accuracy", lambda found: found["accuracy"], ".3f"),
        (f"gold at {kl:g} nats", lambda found: found["gold_at_kl"][str(kl)], ".3f"),
    ):
        lines += [
            "| " + " | ".join([name, "seeds", "single", *others]) + " |",
            "| " + " | ".join(["---"] * (len(others) + 3)) + " |",
        ]
        for arm in arms:
            having = [seed[arm] for seed in seeds.values() if arm in seed]
            cells = [cell([read(one["single"]) for one in having], form)]
            for kind in others:
                pairs = [(read(one[kind]), read(one["single"])) for one in having]
                gaps = [None if None in (a, b) else a - b for a, b in pairs]
                cells.append(cell(gaps, f"+{form}"))
            lines.append("| " + " | ".join([arm, str(len(having)), *cells]) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--pairs", default="300,1000,4000")
    parser.add_argument("--judges", default=",".join(JUDGES))
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--made", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    result = begin(parser, given.out, members=given.members, uncertainty_coef=UNCERTAINTY)
    result["device"] = str(choose_device())
    sizes = [int(one) for one in given.pairs.split(",")]
    wanted = [(judge, count) for count in sizes for judge in given.judges.split(",")]
    made = {_seed_of(folder): folder for folder in given.made}
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        done = result["seeds"].setdefault(str(seed), {})
        missing = [arm for arm in wanted if f"{arm[0]}-{arm[1]}" not in done]
        with tempfile.TemporaryDirectory() as folder:
            found = run_seed(seed, missing, given.members, max(sizes), Path(folder), made.get(seed))
            for (judge, count), arm in found:
                done[f"{judge}-{count}"] = arm
                write_file(given.out, json.dumps(result, indent=1) + "\n")
                _show(seed, f"{judge}-{count}", arm)
    write_file(given.out.with_suffix(".md"), table(result["seeds"]))


def _seed_of(project: Path) -> int:
    return int(tomllib.loads((project / "assent.toml").read_text(encoding="utf-8"))["seed"])


def _show(seed: int, name: str, arm: dict[str, Any]) -> None:
    lines = [f"seed {seed} {name}"]
    for kind, found in arm.items():
        gold = " ".join(
            f"{kl}:{'-' if value is None else format(value, '.3f')}"
            for kl, value in found["gold_at_kl"].items()
        )
        lines.append(
            f"  {kind:14} accuracy {found['accuracy']:.3f}"
            f"  r(utility) {found['correlation_with_utility']:.2f}"
            f"  r(gold) {found['correlation_with_gold']:.2f}  gold at KL {gold}"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
