"""A seed's project, the runs of both sides from it, and gold, KL and proxy along them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from laps import LAPS
from methods import Terms, make
from run import MALLOC

from assent.audit.almanac import AlmanacMeasure, RoundRewards, measured_prompts, off_grammar
from assent.models.rewards import TextReward
from assent.models.tokens import encode_prompts, encode_responses
from assent.rounds.material import reference_samples, train_prompts
from assent.rounds.stages import learned_reward
from assent.rounds.workspace import Workspace, open_workspace
from assent.store import ModelVersion
from assent.types import SilentProgress

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DENSE, STRIDE = 12, 10
"""A policy is kept after each of so many updates, then after every so many."""
LONGEST = 400
"""Updates of the peer at most; the seconds end it before."""
UPDATES = {"ours": 20, "matched": 12, "separate": 12}
"""Of our runs, after which they are left; the schedule is that of the whole run."""
QUICK = 4
CHECKED = 64
"""Texts whose rewards both sides must find alike."""
FIGURES = ("kl_nats", "gold_mean", "proxy_mean", "grammar_mass")


@dataclass(frozen=True, slots=True)
class Plan:
    """How runs are made."""

    work: Path
    peer: Path
    threads: int
    quick: bool
    annotator: str
    judgements: int


class Instrument:
    """Gold, KL and proxy of policies kept by a run, enumerated."""

    def __init__(self, workspace: Workspace) -> None:
        start, reward = _versions(workspace)
        world = workspace.require_world()
        test, train = measured_prompts(world)
        self.model = workspace.model(start)
        self.measure = AlmanacMeasure(
            world, workspace.tokenizer(start), self.model, test=test, train=train[:1],
            temperature=workspace.settings.sampling.temperature,
        )  # fmt: skip
        learned = learned_reward(workspace, reward)
        samples = reference_samples(workspace, start)
        off = off_grammar(world, samples.prompts, samples.responses)
        scored = learned([samples.prompts[n] for n in off], [samples.responses[n] for n in off])
        self.rewards: RoundRewards = self.measure.rewards(learned, scored)

    def points(self, folder: Path) -> list[dict[str, Any]]:
        """Every policy that was kept, with what training had taken until then."""
        found = []
        for lap in json.loads((folder / LAPS).read_text(encoding="utf-8")):
            if lap["file"] is None:
                continue
            self.model.load_state_dict(torch.load(folder / lap["file"], weights_only=True))
            figures = self.measure.measure(self.model, self.rewards, None).figures
            times = {name: round(lap[name], 4) for name in ("processor_seconds", "wall_seconds")}
            found.append(
                {"update": lap["update"], **times}
                | {name: round(float(figures[name]), 6) for name in FIGURES}  # type: ignore[arg-type]
            )
        return found


def _versions(workspace: Workspace) -> tuple[ModelVersion, ModelVersion]:
    start, reward = workspace.version_of("sft"), workspace.version_of("round-1-reward")
    assert start is not None, "make() has run"
    assert reward is not None, "make() has run"
    return start, reward


class Project:
    """A seed's project as far as its reward model, and runs from it."""

    def __init__(self, plan: Plan, seed: int, base: Path | None) -> None:
        self.plan, self.seed, self.root = plan, seed, plan.work / f"seed-{seed}"
        if not self.root.is_dir():
            aside = plan.work / f"making-{seed}"
            shutil.rmtree(aside, ignore_errors=True)
            terms = Terms(plan.annotator, plan.judgements, points=3, quick=False)
            make(aside, seed, terms, base)
            aside.rename(self.root)
        with open_workspace(self.root, SilentProgress(), alone=False) as workspace:
            self.reward_sha256 = _versions(workspace)[1].weights_sha256
            self.given = self._given(workspace)
            self._instrument = Instrument(workspace)

    def ours(self, arm: str, peer: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """PPO of Assent, as it comes, with a value model, or with the peer's settings."""
        plan = self.plan
        most = QUICK if plan.quick else UPDATES[arm]
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable, str(HERE / "gold_ours.py"), str(self.root), folder,
                "--arm", arm, "--threads", str(plan.threads), "--dense", str(DENSE),
                "--stride", str(STRIDE), "--most-updates", str(most),
            ]  # fmt: skip
            if peer is not None:
                command += ["--peer", json.dumps({**peer, "updates": LONGEST})]
            environment = dict(os.environ, PYTHONPATH=str(ROOT / "src"))
            _run(command, environment, plan.threads)
            return self._found(Path(folder))

    def theirs(self, settings: Mapping[str, Any], most_seconds: float) -> dict[str, Any]:
        """PPO of TRL, for so many processor seconds."""
        plan = self.plan
        with tempfile.TemporaryDirectory() as folder:
            given = {
                **self.given, "settings": settings, "seed": self.seed, "threads": plan.threads,
                "updates": QUICK if plan.quick else LONGEST, "dense": DENSE, "stride": STRIDE,
                "most_seconds": most_seconds,
            }  # fmt: skip
            file = Path(folder) / "given.json"
            file.write_text(json.dumps(given), encoding="utf-8")
            command = [str(plan.peer / "bin/python"), str(HERE / "gold_theirs.py"), str(file)]
            environment = {**os.environ, **MALLOC, "PYTHONPATH": str(plan.peer / "trl-ppo")}
            if settings["precision"] == "bf16":  # TRL's PPO ignores `bf16`
                environment["ACCELERATE_MIXED_PRECISION"] = "bf16"
            _run([*command, folder], environment, plan.threads)
            told = json.loads((Path(folder) / "told.json").read_text(encoding="utf-8"))
            return {"settings": dict(settings), **told, **self._found(Path(folder))}

    def _found(self, folder: Path) -> dict[str, Any]:
        points = self._instrument.points(folder)
        return {
            "updates": points[-1]["update"],
            "processor_seconds": points[-1]["processor_seconds"],
            "wall_seconds": points[-1]["wall_seconds"],
            "measured_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "points": points,
        }

    def _given(self, workspace: Workspace) -> dict[str, Any]:
        """What the peer's side is told of the project."""
        start, reward = _versions(workspace)
        tokenizer, learned = workspace.tokenizer(start), learned_reward(workspace, reward)
        assert isinstance(learned, TextReward), "tiny trains one reward model"
        samples = reference_samples(workspace, start)
        asked, said = samples.prompts[:CHECKED], samples.responses[:CHECKED]
        texts = [prompt.text for prompt in train_prompts(workspace)]
        return {
            "policy": str(workspace.path(start).resolve()),
            "reward": str(workspace.path(reward).resolve()),
            "eos": int(tokenizer.eos_token_id),
            "suffix": list(learned.reading.suffix),  # type: ignore[attr-defined]
            "gain": learned.normalisation.gain,
            "bias": learned.normalisation.bias,
            "prompts": encode_prompts(tokenizer, texts),
            "check": {
                "prompts": encode_prompts(tokenizer, asked),
                "responses": encode_responses(tokenizer, said),
                "rewards": learned(asked, said),
            },
        }


def _run(command: Sequence[str], environment: Mapping[str, str], threads: int) -> None:
    environment = {**environment, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{command[1]} ended with {done.returncode}:\n{done.stderr[-2000:]}"
        raise SystemExit(message)
