"""The peer's side of the comparison at equal gold: PPO of TRL 1.12, a lap an update.

    gold_theirs.py GIVEN.json OUT_FOLDER

Runs in the peer's environment; `gold.py` writes GIVEN: folders of the SFT policy and of the reward
model, prompts as tokens, how the reward is read and normalised, and TRL's settings. The reward
model is read as Assent reads it (a suffix before the end token, gain and bias), which is checked on
samples before the clock runs.
"""

import argparse
import json
import logging
import os
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import torch
from datasets import Dataset
from laps import Laps, TimeUp
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    TrainerCallback,
    set_seed,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

TOLERANCE = 1e-3
"""Of rewards, in standard deviations of the reference's."""


class _Trunk(nn.Module):
    """Puts the suffix before the end token; the whole text's reward at each of its tokens."""

    def __init__(self, model: PreTrainedModel, given: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.eos = model, int(given["eos"])
        self.gain, self.bias = float(given["gain"]), float(given["bias"])
        self.register_buffer("after", torch.tensor([*given["suffix"], self.eos]))

    @torch.no_grad()
    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: object) -> SimpleNamespace:
        """Hidden states as TRL wants them: the last holds the reward, one unit wide."""
        mask = attention_mask.bool()
        places = torch.arange(input_ids.shape[1])
        last = torch.where(mask, places, -1).max(1).values
        ended = input_ids.gather(1, last[:, None]).squeeze(1) == self.eos
        end = last + 1 - ended.long()  # where the suffix goes: over the end token, if there is one
        width = len(self.after)
        ids = nn.functional.pad(input_ids, (0, width))
        real = nn.functional.pad(mask, (0, width))
        at = end[:, None] + torch.arange(width)
        ids = ids.scatter(1, at, self.after.expand(len(ids), width))
        real = real.scatter(1, at, value=True)
        wide = int(end.max()) + width
        ids, real = ids[:, :wide], real[:, :wide].long()
        states = self.model.base_model(
            input_ids=ids, attention_mask=real, position_ids=(real.cumsum(1) - real),
            use_cache=False,
        ).last_hidden_state  # fmt: skip
        read = states[torch.arange(len(ids)), end + width - 1]
        reward = self.gain * self.model.score(read).float() + self.bias
        return SimpleNamespace(hidden_states=[reward[:, None].expand(-1, input_ids.shape[1], 1)])


class Reward(nn.Module):
    """Assent's reward in the shape that TRL asks a reward model to have."""

    base_model_prefix = "trunk"

    def __init__(self, model: PreTrainedModel, given: dict[str, Any]) -> None:
        super().__init__()
        self.trunk = _Trunk(model, given)
        self.score = nn.Identity()

    def of(self, prompts: list[list[int]], responses: list[list[int]]) -> list[float]:
        """Of ended responses, padded as TRL pads them."""
        before, behind = max(map(len, prompts)), max(map(len, responses))
        ids = torch.zeros(len(prompts), before + behind, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            span = slice(before - len(prompt), before + len(response))
            ids[row, span], mask[row, span] = torch.tensor(prompt + response), 1
        found: list[float] = self.trunk(ids, mask).hidden_states[-1][:, 0, 0].tolist()
        return found


class _EveryUpdate(TrainerCallback):
    """The clock runs from the beginning of training; every update is a lap."""

    def __init__(self, laps: Laps, policy: nn.Module) -> None:
        self._laps, self._policy = laps, policy

    def on_train_begin(self, *_: object, **__: object) -> None:
        """Models and data are there."""
        self._laps.start(self._policy)

    def on_step_end(self, *_: object, **__: object) -> None:
        """An update is done."""
        self._laps.lap(self._policy)


def value_model(given: dict[str, Any], settings: dict[str, Any]) -> PreTrainedModel:
    """A classifier whose values begin as the reward model's normalised scores, or as zero."""
    made = AutoModelForSequenceClassification.from_pretrained(
        given["reward" if settings["value_start"] == "reward" else "policy"], num_labels=1,
        attn_implementation=settings["attention"],
    )  # fmt: skip
    head = nn.Linear(made.config.hidden_size, 1)
    with torch.no_grad():
        if settings["value_start"] == "reward":
            head.weight.copy_(given["gain"] * made.score.weight)
            head.bias.fill_(given["bias"])
        else:
            head.weight.zero_()
            head.bias.zero_()
    made.score = head
    return made


def config(settings: dict[str, Any], seed: int, updates: int) -> PPOConfig:
    """TRL's settings; one micro-batch a minibatch, or `accelerate` would skip optimiser steps."""
    batch = settings["batch"]
    return PPOConfig(
        output_dir=tempfile.mkdtemp(prefix="peer-gold-"), report_to="none",
        logging_strategy="no", save_strategy="no", eval_strategy="no", disable_tqdm=True,
        use_cpu=True, dataloader_num_workers=0, seed=seed, gradient_checkpointing=False,
        bf16=False, optim="adamw_torch_fused", lr_scheduler_type=settings["schedule"],
        warmup_steps=settings["warmup"], learning_rate=settings["lr"], adam_beta1=0.9,
        adam_beta2=settings["beta2"], adam_epsilon=settings["eps"], weight_decay=0.0,
        per_device_train_batch_size=batch, gradient_accumulation_steps=1,
        num_mini_batches=settings["minibatches"], num_ppo_epochs=settings["epochs"],
        local_rollout_forward_batch_size=batch, num_sample_generations=0, temperature=1.0,
        response_length=settings["response_length"], missing_eos_penalty=1.0,
        stop_token="eos",  # noqa: S106 - as TRL calls it
        total_episodes=batch * updates, kl_coef=settings["kl_coef"], lam=settings["lam"],
        vf_coef=settings["vf_coef"],
    )  # fmt: skip


def main() -> None:
    """Train once."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("given", type=Path)
    asked.add_argument("out", type=Path)
    arguments = asked.parse_args()
    given = json.loads(arguments.given.read_text(encoding="utf-8"))
    settings = given["settings"]
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(given["threads"])
    set_seed(given["seed"])  # the order of minibatches comes from numpy, which TRL does not seed
    laps = Laps(
        arguments.out, dense=given["dense"], stride=given["stride"],
        most_seconds=given["most_seconds"],
    )  # fmt: skip
    attention = {"attn_implementation": settings["attention"]}
    policy = AutoModelForCausalLM.from_pretrained(given["policy"], **attention)
    reference = AutoModelForCausalLM.from_pretrained(given["policy"], **attention)
    judge = AutoModelForSequenceClassification.from_pretrained(
        given["reward"], num_labels=1, **attention
    )
    reward = Reward(judge, given).train(mode=False)
    check = given["check"]
    found = reward.of(check["prompts"], check["responses"])
    apart = max(abs(a - b) for a, b in zip(found, check["rewards"], strict=True))
    if apart > TOLERANCE:
        message = f"the reward here is not Assent's: apart by {apart}"
        raise SystemExit(message)
    tokenizer = AutoTokenizer.from_pretrained(given["policy"])
    tokenizer.padding_side = "left"
    times = -(-given["updates"] * settings["batch"] // len(given["prompts"]))
    trainer = PPOTrainer(
        args=config(settings, given["seed"], given["updates"]), processing_class=tokenizer,
        model=policy, ref_model=reference, reward_model=reward,
        value_model=value_model(given, settings),
        train_dataset=Dataset.from_list([{"input_ids": one} for one in given["prompts"] * times]),
        callbacks=[_EveryUpdate(laps, policy)],
    )  # fmt: skip
    trainer.log = lambda *_, **__: None
    steps = _count_steps(trainer)
    try:
        trainer.train()
        ended = "updates"
    except TimeUp:
        ended = "seconds"
    done = len(laps.laps) - 1
    (arguments.out / "told.json").write_text(
        json.dumps(
            {
                "rewards_apart": apart,
                "ended_by": ended,
                "optimiser_steps_an_update": steps[0] / max(done, 1),
                "precision": str(trainer.accelerator.mixed_precision),
            }
        )
    )


def _count_steps(trainer: PPOTrainer) -> list[int]:
    """Optimiser steps that were really taken, counted in place."""
    counted = [0]

    def count(*_: object, **__: object) -> None:
        counted[0] += 1

    trainer.optimizer.optimizer.register_step_post_hook(count)
    return counted


if __name__ == "__main__":
    main()
