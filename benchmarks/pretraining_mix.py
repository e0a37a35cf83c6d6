"""PPO-ptx beside plain PPO: what each loses on held-out text at the same KL, point by point.

    python benchmarks/pretraining_mix.py OUT.json [--seeds 4] [--coefs 1] [--updates 60]

Both begin as the same SFT policy and optimise the same reward model for the same prompts with the
same draws; one goes on learning documents of the corpus. At points of training the loss on held-out
documents is measured, and the KL, the proxy and gold on responses to the test prompts. The loss at
equal KL is read off the line between points; the largest KL that both reached is the one compared.

A seed draws the world, the weights and every sample. What is written is kept: a second call with
the same OUT.json runs only the arms that are missing.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept import begin
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.files import write_file
from assent.config.ppo import PretrainingMixSettings
from assent.config.sizes import size_settings
from assent.config.write import dump_toml
from assent.models.loading import load_causal_lm
from assent.models.sampling import sample
from assent.models.tokens import decode_responses, encode_prompts, encode_responses, end_ids
from assent.objectives.kl import exact_kl
from assent.objectives.language_loss import sft_loss
from assent.objectives.masks import Padded, position_ids, right_pad
from assent.objectives.seeds import derive_seed, generator
from assent.rounds import stages
from assent.rounds.almanac import AlmanacGround
from assent.rounds.material import train_prompts
from assent.rounds.trajectory import point_steps
from assent.rounds.workspace import Workspace, open_workspace
from assent.store import ModelVersion, Project
from assent.training.ppo import train_ppo
from assent.training.run_folder import RunFolder
from assent.types import RewardFunction, SilentProgress
from assent.worlds.almanac import World, pretraining_documents
from assent.worlds.almanac.grammar import gold_of_text

DOCUMENTS, HELD_OUT = 96, 7919
POINTS = 9
WITHIN = 0.02
"""Nats a token: what PPO-ptx may lose."""


def held_out_texts(world: World, tokenizer: PreTrainedTokenizerBase) -> Padded:
    """Documents of the world's corpus that no model was trained on."""
    return right_pad(
        encode_responses(tokenizer, pretraining_documents(world, DOCUMENTS, HELD_OUT)), 0
    )


@torch.no_grad()
def text_nats(policy: PreTrainedModel, texts: Padded) -> float:
    """Mean loss of a policy on texts, in nats a token."""
    logits = policy(
        input_ids=texts.tokens,
        attention_mask=texts.mask.long(),
        position_ids=position_ids(texts.mask),
    ).logits
    return float(sft_loss(logits, texts.tokens, texts.mask))


class Measure:
    """Loss on held-out documents; KL, proxy and gold on responses to the test prompts."""

    def __init__(
        self, workspace: Workspace, reference: ModelVersion, reward: RewardFunction
    ) -> None:
        self.world = workspace.require_world()
        self.tokenizer = workspace.tokenizer(reference)
        self.reference = workspace.model(reference)
        self.reward = reward
        self.prompts = self.world.prompts("test")
        self.texts = held_out_texts(self.world, self.tokenizer)

    @torch.no_grad()
    def __call__(self, policy: PreTrainedModel) -> dict[str, float]:
        """All of them of a policy."""
        nats = text_nats(policy, self.texts)
        asked = [prompt.text for prompt in self.prompts]
        rows = sample(
            policy,
            encode_prompts(self.tokenizer, asked),
            eos_id=end_ids(self.tokenizer, policy),
            pad_id=int(self.tokenizer.pad_token_id),
            max_new_tokens=40,
            temperature=1.0,
            generator=generator(0, "pretraining mix"),
        ).rows
        width = rows.response_mask.shape[1]
        mine, theirs = (
            model(
                input_ids=rows.tokens,
                attention_mask=rows.mask.long(),
                position_ids=position_ids(rows.mask),
            ).logits[:, -(width + 1) : -1]
            for model in (policy, self.reference)
        )
        kl = exact_kl(mine, theirs, rows.response_mask, temperature=1.0).sum(1)
        said = decode_responses(self.tokenizer, rows.responses, rows.response_mask)
        gold = [
            gold_of_text(self.world, prompt, text)
            for prompt, text in zip(self.prompts, said, strict=True)
        ]
        return {
            "text_nats": nats,
            "kl_nats": float(kl.mean()),
            "proxy": float(np.mean(self.reward(asked, said))),
            "gold": float(np.mean(gold)),
        }


def run_arms(
    seed: int, coefs: list[float], updates: int, made: Path | None, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each arm of a seed and its points, as they come; coefficient 0 is plain PPO.

    Args:
        seed: of all that is made here.
        coefs: one arm each.
        updates: of PPO.
        made: a finished project to take the SFT policy and the first reward model of; they are made
            here if left out.
        folder: an empty one to work in.
    """
    if not coefs:
        return
    root = made or folder / "project"
    if made is None:
        _make(root, seed)
    with open_workspace(
        root, SilentProgress(), overrides=(f"ppo.updates={updates}",), alone=False
    ) as workspace:
        reference, reward_model = (workspace.version_of(name) for name in ("sft", "round-1-reward"))
        assert reference is not None
        reward = stages.reward_function(workspace, reward_model)
        measure = Measure(workspace, reference, reward)
        for coef in coefs:
            began = time.perf_counter()
            points: list[dict[str, float]] = []
            _ppo(workspace, reference, reward, coef, points, measure, folder)
            yield f"{coef:g}", {"points": points, "seconds": round(time.perf_counter() - began, 1)}


def _make(root: Path, seed: int) -> None:
    """A project of a seed as far as its first reward model."""
    settings = size_settings("tiny", {"seed": seed, "world": {"seed": seed}})
    Project.create(root, dump_toml(settings)).close()
    with open_workspace(root, SilentProgress()) as workspace:
        stages.fill_prompts(workspace)
        reference = stages.sft(workspace, stages.pretrain(workspace))
        assert settings.world is not None
        AlmanacGround(workspace, workspace.require_world(), settings.world).ask(1, reference)
        snapshot = workspace.project.store.take_snapshot("round-1")
        stages.reward(workspace, "round-1-reward", snapshot, reference)


def _ppo(
    workspace: Workspace,
    reference: ModelVersion,
    reward: RewardFunction,
    coef: float,
    points: list[dict[str, float]],
    measure: Measure,
    folder: Path,
) -> None:
    def on_point(update: int, policy: PreTrainedModel) -> str:
        points.append({"step": update, **measure(policy)})
        return f"{points[-1]['text_nats']:.3f}"

    given = workspace.settings.ppo
    mix = PretrainingMixSettings(coef=coef) if coef else None
    settings = given.model_copy(update={"pretraining": mix})
    made = workspace.settings.pretrain
    train_ppo(
        workspace.model(reference),
        load_causal_lm(workspace.path(reference), workspace.device),
        workspace.tokenizer(reference),
        [prompt.text for prompt in train_prompts(workspace)],
        reward,
        settings,
        RunFolder(folder / f"mix-{coef:g}"),
        seed=derive_seed(workspace.seed, "mix"),
        pretraining=pretraining_documents(
            workspace.require_world(), made.steps * made.batch_size, workspace.seed
        ),
        points=point_steps(settings.updates, POINTS),
        on_point=on_point,
    )


def at_kl(points: list[dict[str, float]], kl: float, name: str) -> float:
    """A figure at a KL, on the line between the first two points around it."""
    for before, after in pairwise(points):
        low, high = before["kl_nats"], after["kl_nats"]
        if low <= kl <= high:
            share = (kl - low) / max(high - low, 1e-12)
            return before[name] + share * (after[name] - before[name])
    return points[-1][name]


def compared(arms: dict[str, Any]) -> dict[str, Any]:
    """Of a seed: the largest KL that all arms reached, and there what each lost and gained."""
    reached = min(max(one["kl_nats"] for one in arm["points"]) for arm in arms.values())
    return {
        "kl_nats": reached,
        **{
            name: {
                "text_lost": at_kl(arm["points"], reached, "text_nats")
                - arm["points"][0]["text_nats"],
                "text_lost_at_end": arm["points"][-1]["text_nats"] - arm["points"][0]["text_nats"],
                "proxy": at_kl(arm["points"], reached, "proxy"),
                "gold": at_kl(arm["points"], reached, "gold"),
            }
            for name, arm in arms.items()
        },
    }


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--coefs", default="1", help="of PPO-ptx; plain PPO is always run")
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument(
        "--made", type=Path, nargs="*", default=[], metavar="PROJECT",
        help="finished projects of seeds 0, 1 … to take SFT policy and reward model of",
    )  # fmt: skip
    given = parser.parse_args()
    result = begin(parser, given.out, updates=given.updates)
    done_before = result["seeds"].items()
    result["compared"] = {seed: compared(arms) for seed, arms in done_before if arms}
    coefs = [0.0, *(float(one) for one in given.coefs.split(","))]
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        done = result["seeds"].setdefault(str(seed), {})
        missing = [coef for coef in coefs if f"{coef:g}" not in done]
        with tempfile.TemporaryDirectory() as folder:
            made = given.made[seed] if seed < len(given.made) else None
            for name, arm in run_arms(seed, missing, given.updates, made, Path(folder)):
                done[name] = arm
                result["compared"][str(seed)] = compared(done)
                write_file(given.out, json.dumps(result, indent=1) + "\n")
        _show(seed, compared(done))


def _show(seed: int, found: dict[str, Any]) -> None:
    lines = [f"seed {seed}, at KL {found['kl_nats']:.2f} nats:"]
    for name, one in found.items():
        if name != "kl_nats":
            kept = "within" if one["text_lost"] <= WITHIN else "beyond"
            lines.append(
                f"  coef {name}: {one['text_lost']:+.3f} nats a token ({kept} {WITHIN}), at its "
                f"end {one['text_lost_at_end']:+.3f}; proxy {one['proxy']:.2f}, "
                f"gold {one['gold']:.3f}"
            )
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
