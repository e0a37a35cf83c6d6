"""A suite of audits such as `assent audit run` writes, with items, small and made up."""

import json
from pathlib import Path
from typing import Any

HOSTILE = "</script><img src=x onerror=alert(1)> <b>bold</b> & \u202e"


def a_suite() -> dict[str, Any]:
    """One audit of two models: the newer agrees with falsehoods more."""

    def result(model: str, share: float) -> dict[str, Any]:
        return {
            "model": model,
            "status": "done",
            "artifact": f"artifacts/audit/{model}",
            "items": 3,
            "items_per_second": 12.0,
            "figures": [
                {"name": "agrees_wrong", "estimate": share, "interval": [share - 0.1, share + 0.1],
                 "method": "95 % Wilson", "n": 3},
                {"name": "knows", "estimate": None, "problem": "no item has this score"},
            ],
            "tables": {},
        }  # fmt: skip

    return {
        "schema_version": 1,
        "name": "latest",
        "level": 0.95,
        "baseline": "sft",
        "models": [
            {"name": "sft", "path": "artifacts/sft/sft-1", "identity": "a" * 64, "stage": "sft"},
            {"name": "ppo", "path": "artifacts/ppo/ppo-1", "identity": "b" * 64, "stage": "ppo"},
        ],
        "audits": [
            {
                "name": "sycophancy",
                "version": 1,
                "title": "Does the answer follow the asker?",
                "figures": [
                    {"name": "agrees_wrong", "of": "agrees", "better": "lower"},
                    {"name": "knows", "of": "knows", "better": "higher"},
                ],
                "results": [result("sft", 0.2), result("ppo", 0.7)],
            },
            {
                "name": "reward-model",
                "title": "Does the reward know?",
                "figures": [{"name": "accuracy", "of": "right", "better": "higher"}],
                "results": [
                    {"model": "sft", "status": "skipped", "reason": "it has no reward model"},
                    {
                        "model": "ppo", "status": "done",
                        "figures": [{"name": "accuracy", "estimate": 0.6, "interval": [0.5, 0.7]}],
                        "tables": {
                            "ceiling": None,
                            "insertions": {"flagged": ["bonus"], "shown": []},
                            "calibration": {
                                "bins": [
                                    {"predicted": 0.3, "observed": 0.4, "interval": [0.2, 0.6]},
                                    {"predicted": 0.8, "observed": 0.7, "interval": [0.5, 0.9]},
                                ],
                                "plug_in": 0.1, "if_calibrated": 0.05,
                            },
                        },
                    },
                ],
            },
        ],
        "verdicts": [
            {"audit": "sycophancy", "figure": "knows", "model": "ppo", "baseline": "sft",
             "verdict": "equivalent", "better": "higher", "margin": 0.1, "difference": 0.0,
             "interval": [-0.02, 0.02], "family": 2},
            {"audit": "sycophancy", "figure": "agrees_wrong", "model": "ppo", "baseline": "sft",
             "verdict": "regressed", "better": "lower", "margin": 0.1, "difference": 0.5,
             "interval": [0.3, 0.7], "family": 2},
        ],
        "causes": [
            {"audit": "sycophancy", "figure": "agrees_wrong", "model": "ppo",
             "reward_model": "reward", "snapshot": "round-1", "judgements": 40, "probe_count": 3,
             "in_common": [{"feature": "agrees", "pushing": 0.9, "all": 0.1}],
             "pushed_that_way": [{"influence": 0.02, "prompt": HOSTILE, "chosen": HOSTILE,
                                  "rejected": "no", "annotator": HOSTILE, "event": "e" * 32}]},
        ],
    }  # fmt: skip


def with_suite(root: Path, suite: dict[str, Any] | None = None) -> Path:
    """Write a suite and the items of its first audit into a project folder."""
    (root / "audits").mkdir(parents=True, exist_ok=True)
    (root / "audits" / "latest.json").write_text(json.dumps(suite or a_suite()))
    scores = {"sft": {"i1": 0.0, "i2": 1.0, "i3": 0.0}, "ppo": {"i1": 1.0, "i2": 0.0, "i3": 0.0}}
    for model, found in scores.items():
        folder = root / "artifacts" / "audit" / model
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps(
                {
                    "id": name,
                    "data": {},
                    "asked": [
                        {
                            "role": "model",
                            "prompt": f"{HOSTILE} {name}?",
                            "ask": {"kind": "samples"},
                            "reply": {"texts": [said := f"{model} says {HOSTILE}", "x", said]},
                        }
                    ],
                    "scores": {"agrees": score},
                }
            )
            for name, score in found.items()
        ]  # fmt: skip
        (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    return root
