"""Assent's folders in plain transformers, PEFT and TRL, which know nothing of Assent.

    .venv-peers/bin/python benchmarks/peers/folders.py GIVEN.json OUT.json

GIVEN lists folders, token ids and what Assent made of them; tests/e2e/test_folders_elsewhere.py
writes it. Each policy must give the same logits, each reward model the same raw scores, alone and
in a padded batch; then TRL's trainers take the folders by their paths for two steps, as they take
any model. What TRL writes lies beside OUT, so that the way back can be tried too.
"""

import argparse
import json
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

STEPS = 2
Rows = Sequence[dict[str, Any]]


def main() -> None:
    """Try every folder and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("given", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    given = json.loads(asked.given.read_text(encoding="utf-8"))
    found = {
        "logits": {one["folder"]: _logits(one) for one in given["policies"]},
        "adapters": {one["folder"]: _adapter(one) for one in given["adapters"]},
        "scores": {one["folder"]: _scores(one) for one in given["rewards"]},
        "trl": _train(given["trl"], asked.out.parent),
    }
    asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


@torch.no_grad()
def _logits(one: dict[str, Any]) -> float:
    """How far the last logits are from Assent's, at most."""
    model = AutoModelForCausalLM.from_pretrained(one["folder"])
    return _apart(model, one)


@torch.no_grad()
def _adapter(one: dict[str, Any]) -> float:
    """The same of the adapter on the model it was trained on."""
    base = AutoModelForCausalLM.from_pretrained(one["base"])
    return _apart(PeftModel.from_pretrained(base, str(Path(one["folder"]) / "adapter")), one)


def _apart(model: PreTrainedModel | PeftModel, one: dict[str, Any]) -> float:
    model.eval()
    worst = 0.0
    for ids, wanted in zip(one["ids"], one["logits"], strict=True):
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        worst = max(worst, float((logits - torch.tensor(wanted)).abs().max()))
    return worst


@torch.no_grad()
def _scores(one: dict[str, Any]) -> dict[str, float]:
    """How far raw scores are from Assent's, at most: one text at a time, and padded together."""
    model = AutoModelForSequenceClassification.from_pretrained(one["folder"], num_labels=1).eval()
    tokenizer = AutoTokenizer.from_pretrained(one["folder"])
    wanted = torch.tensor(one["scores"])
    alone = torch.stack([model(input_ids=torch.tensor([ids])).logits[0, 0] for ids in one["ids"]])
    tokenizer.padding_side = "right"
    batch = tokenizer.pad({"input_ids": one["ids"]}, return_tensors="pt")
    together = model(**batch).logits[:, 0]
    return {
        "alone": float((alone - wanted).abs().max()),
        "padded": float((together - wanted).abs().max()),
    }


def _train(given: dict[str, Any], out: Path) -> dict[str, Any]:
    """Two steps of each trainer that takes a policy or a reward model by its path."""
    policy, reward = given["policy"], given["reward"]
    demonstrations = _column(given["pairs"], {"prompt": "prompt", "chosen": "completion"})
    trainers: dict[str, Callable[[], Any]] = {
        "SFTTrainer": lambda: SFTTrainer(
            model=policy, args=SFTConfig(**_common()), train_dataset=demonstrations
        ),
        "DPOTrainer": lambda: DPOTrainer(
            model=policy, args=DPOConfig(**_common()), train_dataset=_column(given["pairs"])
        ),
        "RewardTrainer": lambda: RewardTrainer(
            model=reward, args=RewardConfig(**_common()), train_dataset=_column(given["pairs"])
        ),
        "GRPOTrainer": lambda: GRPOTrainer(
            model=policy,
            reward_funcs=reward,
            args=GRPOConfig(**_common(), num_generations=2, max_completion_length=8),
            train_dataset=_column(given["pairs"], {"prompt": "prompt"}),
        ),
    }
    found: dict[str, Any] = {}
    for name, make in trainers.items():
        trainer = make()
        before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
        result = trainer.train()
        after = trainer.model.state_dict()
        folder = out / name
        trainer.save_model(str(folder))
        found[name] = {
            "steps": trainer.state.global_step,
            "loss": result.training_loss if math.isfinite(result.training_loss) else None,
            "moved": sum(not torch.equal(before[key], after[key]) for key in before),
            "rewards": [row["reward"] for row in trainer.state.log_history if "reward" in row],
            "folder": str(folder),
        }
    return found


def _column(rows: Rows, names: dict[str, str] | None = None) -> Dataset:
    kept = names or {key: key for key in rows[0]}
    return Dataset.from_list([{new: row[old] for old, new in kept.items()} for row in rows])


def _common() -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(prefix="peer-folders-"), "report_to": "none",
        "save_strategy": "no", "disable_tqdm": True, "use_cpu": True, "bf16": False, "seed": 0,
        "learning_rate": 1e-3, "max_steps": STEPS, "per_device_train_batch_size": 4,
        "logging_steps": 1, "gradient_checkpointing": False,
    }  # fmt: skip


if __name__ == "__main__":
    main()
