"""PPO to the same gold at the same KL: Assent beside TRL, and a shared trunk beside a value model.

    PYTHONPATH=src:benchmarks python benchmarks/peers/gold.py OUT.json --work DIR
        [--seeds 4] [--base DIR ...] [--tuning-seed 10] [--threads 1] [--peer .venv-peers] [--quick]

In the Almanac world, size tiny, flawed judges unless told otherwise. A seed makes one SFT policy,
one set of judgements, one reward model; all runs begin at that policy and are paid by that reward
model on the same prompts. Runs follow one another, never two at a time. The clock holds training
alone: imports, loading and keeping the policy after an update are left out on both sides. Gold and
KL are exact, by enumeration, of policies kept after every one of the first 12 updates and then
every tenth; on the line between two of them. Seconds are of processor time, so that other work
counts less.

**(1) Seconds.** `ours` is PPO as the demo runs it, left after 20 of its 60 updates (in an earlier
run of 150 on these four seeds gold was highest within 10). Target: the start and .9 of the rise to
the highest gold that it has on the way. Ours is the time when it first has that gold, KL being what
it is then; TRL's is when it first has that gold at 1.1 times that KL or less. TRL that never does
within 6 times our seconds counts as "more than" what it ran. The peak is that of our run, so the
target is ours by choice, and a run's peak holds some luck, of which .9 takes off a part. So the
same is said at half of the rise; with the limit of KL dropped; and, without that limit, at .9 of
the smaller of both runs' rises, which both reach whatever they do. Lines between updates help
whoever takes the larger steps.

TRL's settings are those of `TRIES` that got there first on a seed that is none of the four (if none
does: that had the most gold at that KL); every try and what came of it stands in OUT.json. All have
what `theirs.py` found to be fast (memory kept, fused AdamW, no checkpointing), and one micro-batch
a minibatch: with more, `accelerate` skips the optimiser steps in between. The objective is alike:
temperature 1, responses of 40, the normalised reward, 1 off for a response without an end (ours: -1
in place of its reward); its price of KL is TRL's to choose.

Our batch, rate and warm-up are the product's, chosen on seeds 10 to 13 for gold at equal KL.
`matched` is our PPO with the settings that were chosen for TRL (but our shared trunk and float32),
for 12 updates: its seconds to the same target, and for an update.

**(2) A value model of its own.** `separate` is ours with `ppo.value_model.kind = "separate"`, as it
comes, for the first 12 of its 60 updates. Gold of `separate` less `shared` where each first passed
.25, .5, 1 and 1.5 nats, the mean over those that both reached, paired over seeds, with Student's
95 % interval. Declared before measuring: alike within .03 of gold (the rise is about .15), better
or worse beyond it, and otherwise not told apart.

What is written is kept: a second call with the same OUT.json runs only what is missing. --base
names projects of the seeds, in order, whose base model and SFT policy are copied, never changed;
--work keeps the projects made from them. --quick: a few updates of one seed, to see that it runs.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from crossings import Crossing, highest_gold, seconds_ratio
from gold_runs import ROOT, Plan, Project
from gold_table import ARMS, KLS, MARGIN, SHARE, SLACK, having, ours_at, summary, table, times
from kept import begin
from run import machine, versions

from assent.config.files import write_file

MOST, MOST_TRYING = 6, 4
"""Times our seconds that the peer may take, measured and while its settings are tried."""

_START: dict[str, Any] = {
    "lr": 7e-4, "schedule": "constant", "warmup": 0, "beta2": 0.95, "eps": 1e-5, "batch": 256,
    "epochs": 2, "minibatches": 2, "kl_coef": 0.15, "lam": 1.0, "vf_coef": 0.5,
    "value_start": "reward", "attention": "eager", "precision": "float32", "response_length": 40,
}  # fmt: skip
_SLOWER = {**_START, "lr": 3e-4}
_BF16 = {**_SLOWER, "precision": "bf16"}
TRIES: dict[str, dict[str, Any]] = {
    "lr 7e-4": _START,
    "lr 1.5e-3": {**_START, "lr": 1.5e-3},
    "lr 3e-4": _SLOWER,
    "lr 3e-4, sdpa": {**_SLOWER, "attention": "sdpa"},
    "lr 3e-4, bf16": _BF16,
    "lr 3e-4, bf16, 128 episodes": {**_BF16, "batch": 128},
    "lr 1.5e-4, bf16": {**_BF16, "lr": 1.5e-4},
    "lr 3e-4, bf16, 64 episodes, 1 minibatch": {**_BF16, "batch": 64, "minibatches": 1},
    "lr 3e-4, bf16, values from zero": {**_BF16, "value_start": "zero"},
    "lr 3e-4, bf16, lambda .95": {**_BF16, "lam": 0.95},
    "lr 7e-4, bf16, warm-up": {
        **_BF16, "lr": 7e-4, "schedule": "constant_with_warmup", "warmup": 15,
    },
}  # fmt: skip
"""What was tried for TRL, one after the other; the fastest is used."""


def tune(project: Project, done: dict[str, Any]) -> Iterator[str]:
    """Run ours and every try that is missing on the tuning seed; a line for each."""
    done["seed"] = project.seed
    if "ours" not in done:
        done["ours"] = project.ours("ours")
    ours = ours_at(done["ours"]["points"], SHARE)
    tries = done.setdefault("tries", {})
    for name, settings in TRIES.items():
        if name in tries:
            continue
        tries[name] = project.theirs(settings, MOST_TRYING * ours.seconds)
        ratio = seconds_ratio(ours, tries[name]["points"], slack=SLACK)
        yield f"try {name}: {times(ratio)}"
        if project.plan.quick:
            break
    done["chosen"] = min(tries, key=lambda name: _rank(ours, tries[name]["points"]))
    yield f"chosen: {done['chosen']}"


def _rank(ours: Crossing, points: Sequence[Mapping[str, Any]]) -> tuple[bool, float]:
    """Those that reach our gold come first, the fastest before; then those with the most gold."""
    ratio = seconds_ratio(ours, points, slack=SLACK)
    if not ratio.is_bound:
        return False, ratio.value
    return True, -highest_gold(points, SLACK * ours.kl_nats)


def run_seed(project: Project, done: dict[str, Any], chosen: Mapping[str, Any]) -> Iterator[str]:
    """Each arm that is missing; a line for each."""
    for arm in ARMS:
        if arm in done:
            continue
        if arm == "theirs":
            ours = ours_at(done["ours"]["points"], SHARE)
            done[arm] = project.theirs(chosen, MOST * ours.seconds)
            ratio = seconds_ratio(ours, done[arm]["points"], slack=SLACK)
            yield f"seed {project.seed} theirs: {times(ratio)}"
        else:
            done[arm] = project.ours(arm, chosen if arm == "matched" else None)
            yield f"seed {project.seed} {arm}: {done[arm]['processor_seconds']:.1f} s"


def main() -> None:
    """Tune the peer, run what is missing, write and tabulate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="where the seeds' projects are")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--base", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument("--tuning-seed", type=int, default=10)
    parser.add_argument("--annotator", default="flawed")
    parser.add_argument("--judgements", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer", type=Path, default=ROOT / ".venv-peers")
    parser.add_argument("--quick", action="store_true", help="a few updates of one seed")
    given = parser.parse_args()
    wanted = range(given.first_seed, given.first_seed + (1 if given.quick else given.seeds))
    if given.tuning_seed in wanted and not given.quick:
        parser.error(f"seed {given.tuning_seed} is measured: tune the peer on another")
    torch.set_num_threads(given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        given.work, given.peer, given.threads, given.quick, given.annotator, given.judgements
    )
    result = begin(
        parser, given.out, quick=given.quick, annotator=given.annotator,
        judgements=given.judgements, seconds="processor",
    )  # fmt: skip
    result["threads"] = given.threads
    result["machine"] = machine()
    result["versions"] = {
        "ours": versions(Path(sys.executable)),
        "peer": versions(given.peer / "bin/python") | {"trl, ppo": "1.12.0"},
    }
    result["definition"] = {
        "share": SHARE, "slack": SLACK, "most": MOST, "most_trying": MOST_TRYING,
        "kls_nats": KLS, "margin": MARGIN,
    }  # fmt: skip
    result["tuning"] = _tuning_of(given.out)

    def keep(line: str) -> None:
        write_file(given.out, json.dumps(result, indent=1) + "\n")
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    if "chosen" not in result["tuning"]:
        for line in tune(Project(plan, given.tuning_seed, None), result["tuning"]):
            keep(line)
    chosen = TRIES[result["tuning"]["chosen"]]
    for at, seed in enumerate(wanted):
        done = result["seeds"].setdefault(str(seed), {})
        if all(arm in done for arm in ARMS):
            continue
        project = Project(plan, seed, given.base[at] if at < len(given.base) else None)
        if done.setdefault("reward_weights_sha256", project.reward_sha256) != project.reward_sha256:
            parser.error(f"seed {seed} was begun with another reward model: give the same --work")
        for line in run_seed(project, done, chosen):
            keep(line)
    if having(result, "ours", "theirs"):
        result["summary"] = summary(result)
        keep(found := table(result))
        write_file(given.out.with_suffix(".md"), found)


def _tuning_of(out: Path) -> dict[str, Any]:
    if not out.exists():
        return {}
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")).get("tuning", {})
    return found


if __name__ == "__main__":
    main()
