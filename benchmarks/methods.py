"""Every method at the same judgements, side by side in the Almanac world, over several seeds.

    python benchmarks/methods.py OUT.json [--seeds 4] [--arms ppo,dpo] [--base DIR ...] [--quick]

Each seed makes one base model, one SFT policy, one set of judgements and one reward model; every
method begins at that SFT policy, in a copy of that project, with its settings as they come. At each
point all answers to the test prompts are enumerated: gold, proxy, KL, and the KL to the optimum of
the method's objective where that is a known distribution. Beside them stand two references without
training: the exact tilt of the SFT policy by the reward, which no policy can exceed in proxy at its
KL, and the exact best of n. `ilf` and `constitutional` learn from what the world's readers remark,
not from the judgements; their rows are no comparison at equal feedback.

`samples` are the responses a method draws itself, from its plan; the two of each judged pair, which
all share, are not among them. `seconds` leave the measuring out.

--base names projects of the seeds, in order, whose finished base model, SFT policy, judgements and
reward model are used as far as they go; they are copied, never changed. --quick trains for a few
updates, to see that everything runs: its figures say nothing about the methods.

Beside OUT.json a table (OUT.md) and a plot (OUT.svg, or --plot FILE) are written. What is written
is kept: a second call with the same OUT.json runs only the arms that are missing.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from methods_table import draw, show, table
from pretraining_mix import held_out_texts, text_nats
from tilting import BETAS, SIZES, exact, outcomes
from transformers import PreTrainedModel

from assent import __version__
from assent.config.files import write_file
from assent.config.ppo import PretrainingMixSettings
from assent.config.project import ProjectSettings
from assent.config.sizes import size_settings
from assent.config.stages import section_of
from assent.config.write import dump_toml
from assent.errors import AssentError, DataError
from assent.objectives.tilting import best_of_n, best_of_n_kl, tilt
from assent.rounds import stages
from assent.rounds.almanac import AlmanacGround
from assent.rounds.ground import Ground
from assent.rounds.loop import ground_of
from assent.rounds.methods import METHODS
from assent.rounds.planning import plan_stage
from assent.rounds.trajectory import Recorder, read_points
from assent.rounds.workspace import Workspace, open_workspace
from assent.store import ModelVersion, Project, Snapshot
from assent.types import SilentProgress

REWARD, ROUND = "round-1-reward", "round-1"
FIGURES = (
    "kl_nats", "proxy_mean", "gold_mean", "kl_to_optimum_nats", "accuracy_easy", "accuracy_hard",
    "idk_unknowable", "bluff", "sycophancy", "length", "entropy_nats", "grammar_mass",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arm:
    """A method and what of its settings is not the default."""

    stage: str
    learns_from: str
    given: Mapping[str, Any] = field(default_factory=dict)
    """Of the stage's section."""
    quick: Mapping[str, Any] = field(default_factory=dict)
    """The same, for --quick."""


_FEW = {"updates": 3}
ARMS: dict[str, Arm] = {
    "ppo": Arm("ppo", "reward", quick=_FEW),
    "ppo-ptx": Arm("ppo", "reward", {"pretraining": PretrainingMixSettings().model_dump()}, _FEW),
    "rloo": Arm("rloo", "reward", quick=_FEW),
    "grpo": Arm("grpo", "reward", quick=_FEW),
    "raft": Arm("raft", "reward", quick={"iterations": 2, "prompts": 128}),
    "best-of-n": Arm("best-of-n", "reward", quick={"prompts": 128}),
    "dpo": Arm("dpo", "judgements"),
    "dpo-best-worst": Arm(
        "dpo", "reward", {"pairs": {"kind": "best_worst"}}, {"pairs": {"prompts": 128}}
    ),
    "kto": Arm("kto", "judgements"),
    "ilf": Arm("ilf", "criticism", quick={"refinements": 2}),
    "constitutional": Arm("constitutional", "remarks", quick={"prompts": 64}),
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What must not change between calls that write the same file."""

    annotator: str
    judgements: int
    points: int
    quick: bool

    def settings(self, seed: int, arm: Arm | None = None) -> ProjectSettings:
        """Of a seed's project; with an arm, of the copy that it trains in."""
        given: dict[str, Any] = {
            "seed": seed,
            "world": {"seed": seed, "annotator": self.annotator},
            "loop": {"rounds": 1, "judgements_per_round": self.judgements},
        }
        if arm is not None:
            own = dict(arm.given)
            for key, value in (arm.quick if self.quick else {}).items():
                own[key] = {**own[key], **value} if key in own else value
            given["loop"]["method"] = arm.stage
            given[section_of(arm.stage)] = own
        return size_settings("tiny", given)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all arms of a seed begin with."""

    policy: ModelVersion
    snapshot: Snapshot
    reward: ModelVersion


@dataclass(slots=True)
class Timed:
    """Measures at a point, and keeps what that took apart from the training."""

    recorder: Recorder
    seconds: float = field(default=0.0, init=False)

    def __call__(self, step: int, policy: PreTrainedModel) -> str:
        """Measure and write."""
        began = time.perf_counter()
        note = self.recorder(step, policy)
        self.seconds += time.perf_counter() - began
        return note


def make(root: Path, seed: int, terms: Terms, base: Path | None) -> None:
    """A seed's project as far as its reward model, in a new folder.

    Raises:
        ConfigError, StoreError: the base was made with other settings or another seed.
        DataError: it holds other judgements than these.
    """
    settings = dump_toml(terms.settings(seed))
    if base is None:
        Project.create(root, settings).close()
    else:
        shutil.copytree(base, root)
        write_file(root / "assent.toml", settings)
    with open_workspace(root, SilentProgress()) as workspace:
        ground = ground_of(workspace)
        policy = stages.reference_policy(workspace, ground.begin())
        snapshot = _snapshot(workspace) or _ask(workspace, ground, policy)
        judges = {one.name for one in workspace.project.store.annotators()}
        if snapshot.event_count != terms.judgements or f"{terms.annotator}-1" not in judges:
            message = (
                f"{base} holds {snapshot.event_count} judgements of round one, by "
                f"{', '.join(sorted(judges))}; wanted are {terms.judgements} by {terms.annotator} "
                "judges: see --judgements and --annotator"
            )
            raise DataError(message)
        stages.reward(workspace, REWARD, snapshot, policy)


def _snapshot(workspace: Workspace) -> Snapshot | None:
    """The judgements of round one, if they are there."""
    return next((one for one in workspace.project.store.snapshots() if one.name == ROUND), None)


def _ask(workspace: Workspace, ground: Ground, policy: ModelVersion) -> Snapshot:
    with workspace.timed("judgements"):
        ground.ask(1, policy)
        return workspace.project.store.take_snapshot(ROUND)


def _shared(workspace: Workspace) -> Shared:
    policy, reward = workspace.version_of("sft"), workspace.version_of(REWARD)
    snapshot = _snapshot(workspace)
    assert policy is not None, "make() has run"
    assert reward is not None, "make() has run"
    assert snapshot is not None, "make() has run"
    return Shared(policy, snapshot, reward)


def references(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the arms of a seed share, and the exact tilt and best of n of its policy."""
    with open_workspace(root, SilentProgress(), alone=False) as workspace:
        shared = _shared(workspace)
        texts = held_out_texts(workspace.require_world(), workspace.tokenizer(shared.policy))
        found = {
            "reward_weights_sha256": shared.reward.weights_sha256,
            "judgements": shared.snapshot.event_count,
            "seconds": workspace.seconds(),
            "text_nats": text_nats(workspace.model(shared.policy), texts),
        }
        reference, reward, gold = outcomes(workspace)
    price = ProjectSettings().kl_coef
    assert price is not None, "PPO pays a fixed price unless told otherwise"
    return found, {
        "optimum": {
            "beta": price,
            **exact(tilt(reference, reward, price), reference, reward, gold),
        },
        "tilt": [
            {"beta": beta, **exact(tilt(reference, reward, beta), reference, reward, gold)}
            for beta in BETAS
        ],
        "best_of_n": [
            {
                "n": n,
                "kl_bound_nats": best_of_n_kl(n),
                **exact(best_of_n(reference, reward, n), reference, reward, gold),
            }
            for n in SIZES
        ],
    }


def run_arm(arm: Arm, seed: int, terms: Terms, shared: Path, root: Path) -> dict[str, Any]:
    """Train one method in a copy of a seed's project; its points and what it took."""
    shutil.copytree(shared, root)
    write_file(root / "assent.toml", dump_toml(terms.settings(seed, arm)))
    schedule = plan_stage(root, arm.stage, config=[], overrides=[]).schedule
    with open_workspace(root, SilentProgress()) as workspace:
        start, ground, name = _shared(workspace), ground_of(workspace), f"{ROUND}-{arm.stage}"
        assert isinstance(ground, AlmanacGround)
        measure = Timed(ground.recorder(workspace.folder(name), start.reward, start.policy))
        made = METHODS[arm.stage].train(
            workspace,
            name,
            policy=start.policy,
            reference=start.policy,
            reward_model=start.reward,
            snapshot=start.snapshot,
            points=terms.points,
            on_point=measure,
        )
        points = [
            {"step": one.step, **{key: one.figures[key] for key in FIGURES}, "gold": one.gold}
            for one in read_points(workspace.folder(name))
        ]
        texts = held_out_texts(workspace.require_world(), workspace.tokenizer(made))
        spent = workspace.seconds()[name]
        result = {
            "learns_from": arm.learns_from,
            "plan": schedule,
            "samples": samples(schedule),
            "seconds": round(spent - measure.seconds, 1),
            "seconds_measuring": round(measure.seconds, 1),
            "text_nats": text_nats(workspace.model(made), texts),
            "points": points,
        }
    if "pretraining" in arm.given:  # its objective has a term more: where it ends is not known
        for point in points:
            point["kl_to_optimum_nats"] = None
    return result


def samples(schedule: Mapping[str, int]) -> int:
    """Texts that a stage draws from a model, by its plan."""
    if "critiques" in schedule:
        return schedule["prompts"] + schedule["critiques"] + schedule["revisions"]
    if "refinements" in schedule:
        return schedule["criticisms"] + schedule["refinements"]
    return schedule.get("rollouts", 0)


def run_seed(
    seed: int, missing: list[str], terms: Terms, base: Path | None, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a seed's arms share, its references, and each missing arm; all as they come."""
    if not missing:
        return
    shared = folder / "shared"
    make(shared, seed, terms, base)
    found, exact_ones = references(shared)
    yield "shared", found
    yield "references", exact_ones
    for name in missing:
        root = folder / name
        try:
            yield name, run_arm(ARMS[name], seed, terms, shared, root)
        except AssentError as error:  # the other methods can still be measured
            yield "refused", {name: str(error)}
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    """Run, write, tabulate and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--annotator", default="flawed")
    parser.add_argument("--judgements", type=int, default=4000)
    parser.add_argument("--points", type=int, default=7, help="measured; 3 if --quick")
    parser.add_argument("--quick", action="store_true", help="a few updates, to see that it runs")
    parser.add_argument(
        "--base", type=Path, nargs="*", default=[], metavar="DIR",
        help="made projects of the seeds, the first for --first-seed; copied, never changed",
    )  # fmt: skip
    parser.add_argument("--plot", type=Path, help="an .svg or .png; OUT.svg if left out")
    given = parser.parse_args()
    arms = given.arms.split(",")
    if unknown := [arm for arm in arms if arm not in ARMS]:
        parser.error(f"no arm is called {unknown[0]!r}; choose from {', '.join(ARMS)}")
    points = 3 if given.quick else given.points
    terms = Terms(given.annotator, given.judgements, points, given.quick)
    result = _begun(parser, given.out, terms)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(range(given.first_seed, given.first_seed + given.seeds)):
        done = result["seeds"].setdefault(str(seed), {"arms": {}})
        missing = [arm for arm in arms if arm not in done["arms"]]
        base = given.base[at] if at < len(given.base) else None
        with tempfile.TemporaryDirectory() as folder:
            try:
                for name, found in run_seed(seed, missing, terms, base, Path(folder)):
                    _keep(parser, done, name, found, seed)
                    write_file(given.out, json.dumps(result, indent=1) + "\n")
                    if name in ARMS:
                        show(seed, name, found)
                    elif name == "refused":
                        sys.stdout.write(f"seed {seed} stopped: {found}\n")
            except AssentError as error:
                parser.error(f"seed {seed}: {error}")
    write_file(given.out.with_suffix(".md"), table(result))
    draw(result, given.plot or given.out.with_suffix(".svg"))


def _keep(
    parser: argparse.ArgumentParser,
    done: dict[str, Any],
    name: str,
    found: dict[str, Any],
    seed: int,
) -> None:
    """Add what a seed yielded; refuse arms that learn from another reward model than its others."""
    if name in ARMS:
        arms = {**done["arms"], name: {"commit": _commit(), **found}}
        done["arms"] = {one: arms[one] for one in ARMS if one in arms}
        done.get("refused", {}).pop(name, None)
        return
    if name == "refused":
        done.setdefault("refused", {}).update(found)
        return
    key = "reward_weights_sha256"
    if done["arms"] and name == "shared" and done["shared"][key] != found[key]:
        parser.error(
            f"the reward model of seed {seed} is not the one that its arms so far learned from: "
            "give the same --base, on the same machine, or another OUT.json"
        )
    done[name] = found


def _begun(parser: argparse.ArgumentParser, out: Path, terms: Terms) -> dict[str, Any]:
    """What the file holds so far, if it was made on the same terms."""
    same = {name: getattr(terms, name) for name in Terms.__slots__}
    result: dict[str, Any] = {
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "assent": __version__,
        },
        "commit": _commit(),
        "terms": same,
        "seeds": {},
    }
    if out.exists():
        kept = json.loads(out.read_text(encoding="utf-8"))
        for name, value in same.items():
            if kept["terms"][name] != value:
                parser.error(f"{out} was made with {name} = {kept['terms'][name]}, not {value}")
        result["seeds"] = kept["seeds"]
    return result


def _commit() -> str:
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


if __name__ == "__main__":
    main()
