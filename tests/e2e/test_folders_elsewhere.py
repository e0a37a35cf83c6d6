"""Every checkpoint folder in plain transformers, PEFT and TRL, in an environment without Assent."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.own_project import save_base
from tests.training_fixtures import optimiser

from assent.config.lora import LoraSettings
from assent.config.ppo import PpoSettings
from assent.config.reward import RewardSettings
from assent.config.sft import SftSettings
from assent.models.loading import load_causal_lm, load_tokenizer, reward_model_from
from assent.models.rewards import TextReward
from assent.models.tokens import encode_prompts, encode_responses
from assent.training.ppo import train_ppo
from assent.training.reward import train_reward
from assent.training.reward_ensemble import train_ensemble
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import ChatPrompt, Demonstration, Message, PreferencePair

ROOT = Path(__file__).parents[2]
PEERS = Path(os.environ.get("ASSENT_PEERS") or ROOT / ".venv-peers") / "bin" / "python"
QUESTIONS = ["What is the bridge of Fernby?", "How are you today?", "Sure?", "Who?"]
SAID = ["It may be stone.", "", "naïve", "Blue!"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PEERS.is_file(), reason=f"no {PEERS}: `make peers` builds the environment with TRL"
    ),
]


def prompts_for(architecture: str) -> list[str]:
    if architecture == "gpt2":
        return [f"{question} Answer:" for question in QUESTIONS]
    return [ChatPrompt([Message("user", question)]) for question in QUESTIONS]


def trl_rows(prompts: list[str]) -> list[dict[str, Any]]:
    """Pairs as TRL has them: conversational ones for chats, and they have an answer each side."""

    def side(prompt: str, text: str, role: str) -> Any:
        return [{"role": role, "content": text}] if isinstance(prompt, ChatPrompt) else text

    return [
        {
            "prompt": side(prompt, question if isinstance(prompt, ChatPrompt) else prompt, "user"),
            "chosen": side(prompt, " It may be stone.", "assistant"),
            "rejected": side(prompt, " Blue, blue!", "assistant"),
        }
        for prompt, question in zip(prompts, QUESTIONS, strict=True)
    ] * 4


@torch.no_grad()
def policy_of(folder: Path, prompts: list[str]) -> dict[str, Any]:
    """A folder, token ids, and what Assent's own loading makes of them."""
    model = load_causal_lm(folder)
    ids = encode_prompts(load_tokenizer(folder), prompts)
    logits = [model(input_ids=torch.tensor([one])).logits[0, -1].tolist() for one in ids]
    return {"folder": str(folder), "ids": ids, "logits": logits}


def reward_of(folder: Path, prompts: list[str]) -> dict[str, Any]:
    """A folder, whole texts with their ends as token ids, and Assent's raw scores."""
    reward = TextReward.load(folder)
    tokenizer = load_tokenizer(folder)
    asked = encode_prompts(tokenizer, prompts)
    answered = encode_responses(tokenizer, SAID, prompts=prompts)
    ids = [[*one, *other] for one, other in zip(asked, answered, strict=True)]
    return {"folder": str(folder), "ids": ids, "scores": reward.raw(prompts, SAID)}


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2"])
def test_policies_and_reward_models_load_in_transformers_peft_and_trl_with_nothing_converted(
    architecture: str, tmp_path: Path
) -> None:
    template = None if architecture == "gpt2" else "chatml"
    start = save_base(tmp_path / "base", architecture, template)
    tokenizer, prompts = load_tokenizer(start), prompts_for(architecture)
    short: dict[str, Any] = {"epochs": 1, "batch_size": 8, "optimiser": optimiser(3e-3)}
    adapting = {"lora": LoraSettings(rank=4)}
    samples = (prompts, ["stone", "blue", "It may be", "Blue, blue"])
    shown = [Demonstration(prompt=one, response="It may be stone.") for one in prompts * 4]
    pairs = [
        PreferencePair(prompt=one, chosen="It may be stone.", rejected="Blue, blue, blue!")
        for one in prompts * 4
    ]

    sft, ppo = RunFolder(tmp_path / "sft"), RunFolder(tmp_path / "ppo")
    train_sft(
        load_causal_lm(start), tokenizer, shown, SftSettings.model_validate(short), sft, seed=0
    )
    rewards = {}
    for name, more in {"reward": {}, "reward-lora": adapting}.items():
        run = RunFolder(tmp_path / name)
        train_reward(
            reward_model_from(sft.model, seed=1), tokenizer, pairs, samples,
            RewardSettings.model_validate(short | more), run, seed=0,
        )  # fmt: skip
        rewards[name] = run.model
    for name in ("mean", "average_weights"):
        run = RunFolder(tmp_path / name)
        wanted = {"ensemble": {"members": 2, "aggregate": name}}
        train_ensemble(
            reward_model_from(sft.model, seed=1), tokenizer, pairs, samples,
            RewardSettings.model_validate(short | wanted), run, seed=0,
        )  # fmt: skip
        members = [run.model / f"member-{number}" for number in range(2)]
        rewards |= (
            {member.name: member for member in members} if name == "mean" else {name: run.model}
        )
    train_ppo(
        load_causal_lm(sft.model), None, tokenizer, prompts, TextReward.load(rewards["reward"]),
        PpoSettings.model_validate(
            {"updates": 2, "rollouts_per_update": 8, "sampling": {"max_new_tokens": 6},
             "optimiser": optimiser(3e-3), **adapting}
        ), ppo, seed=0, points=(1,),
    )  # fmt: skip

    merged = [ppo.model, ppo.checkpoints / "step-000001"]
    given = {
        "policies": [policy_of(folder, prompts) for folder in (start, sft.model, *merged)],
        "adapters": [policy_of(folder, prompts) | {"base": str(sft.model)} for folder in merged],
        "rewards": [reward_of(folder, prompts) for folder in rewards.values()],
        "trl": {
            "policy": str(ppo.model),
            "reward": str(rewards["reward"]),
            "pairs": trl_rows(prompts),
        },
    }
    (tmp_path / "given.json").write_text(json.dumps(given), encoding="utf-8")
    program = ROOT / "benchmarks" / "peers" / "folders.py"
    elsewhere = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [PEERS, program, tmp_path / "given.json", tmp_path / "found.json"],
        env=elsewhere | {"OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))

    assert len(found["logits"]) == 4
    assert max(found["logits"].values()) < 1e-5
    assert len(found["adapters"]) == 2
    assert max(found["adapters"].values()) < 1e-5
    assert len(found["scores"]) == 5
    for folder, apart in found["scores"].items():
        assert max(apart.values()) < 1e-5, (folder, apart)
    for name, one in found["trl"].items():
        assert one["steps"] == 2, name
        assert one["loss"] is not None, name
        assert one["moved"] > 0, name
    assert len(found["trl"]["GRPOTrainer"]["rewards"]) == 2

    # And back: what TRL wrote is a folder that Assent takes.
    back = load_causal_lm(Path(found["trl"]["DPOTrainer"]["folder"]))
    assert back.num_parameters() == load_causal_lm(ppo.model).num_parameters()
    scored = TextReward.load(Path(found["trl"]["RewardTrainer"]["folder"]))
    assert len(scored(prompts, SAID)) == len(prompts)
