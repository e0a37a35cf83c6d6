"""The smallest project of one's own: a model of width 16, a real tokenizer, and two people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.chat_fixtures import bpe_tokenizer
from tests.unit.models.architectures import causal_lm

from assent.config.files import whole_folder, write_file
from assent.config.sizes import own_settings
from assent.config.write import dump_toml
from assent.models.checkpoints import save_model
from assent.rounds.starting import Started, init_project
from assent.store import NewJudgement, Project
from assent.types import Prompt

PROMPTS = [
    f"What is the {thing} of Fernby, number {n}?" for thing in ("inn", "well") for n in range(30)
]

OWN: dict[str, Any] = {
    "seed": 3,
    "compute": {"threads": 1, "device": "cpu"},
    "sft": {"epochs": 1, "batch_size": 8},
    "reward": {"normalise_samples": 16, "batch_size": 8},
    "ppo": {
        "updates": 2,
        "rollouts_per_update": 8,
        "minibatches": 2,
        "micro_batch_size": 4,
        "sampling": {"max_new_tokens": 6},
    },
    "loop": {
        "rounds": 1,
        "judgements_per_round": 24,
        "points_per_round": 3,
        "responses_per_point": 8,
        "promotion": {"comparisons": 8, "candidates": 2},
    },
}


def save_base(folder: Path, architecture: str = "llama", template: str | None = "chatml") -> Path:
    """A causal LM with a byte-level tokenizer, as a folder."""
    tokenizer = bpe_tokenizer(template)
    with whole_folder(folder) as aside:
        save_model(aside, causal_lm(architecture, vocabulary=len(tokenizer)), tokenizer)
    return folder


def make_own(
    root: Path, given: Mapping[str, Any] | None = None, architecture: str = "llama"
) -> Started:
    """A new project with validation and test prompts, that nothing was done in."""
    base = save_base(root.with_name(f"{root.name}-base"), architecture)
    started = init_project(root, model=str(base), prompts=None, size="tiny", seed=3)
    table = {**OWN, "base_model": str(base)}
    for key, value in (given or {}).items():
        old = table.get(key)
        table[key] = {**old, **value} if isinstance(old, Mapping) else value
    write_file(root / "assent.toml", dump_toml(own_settings("tiny", table), leave_out=["pretrain"]))
    with Project.open(root) as project:
        project.store.add_prompts(
            [
                Prompt(
                    text=text,
                    kind="user" if number % 3 else "plain",
                    split="validation"
                    if number % 6 == 0
                    else "test"
                    if number % 6 == 1
                    else "train",
                )
                for number, text in enumerate(PROMPTS)
            ]
        )
    return started


def judge(root: Path, count: int, purpose: str = "reward") -> int:
    """Have two people judge so many comparisons nobody has judged; the longer response wins."""
    with Project.open(root) as project:
        store = project.store
        people = [store.add_annotator(name, "human") for name in ("ada", "ben")]
        judged = {event.comparison_id for event in store.events()}
        asked = [
            one
            for one in store.comparisons()
            if one.purpose.startswith(purpose) and one.id not in judged
        ][:count]
        store.record_judgements(
            [
                NewJudgement(
                    comparison_id=one.id,
                    annotator_id=people[number % 2],
                    verdict="first" if len(one.first) >= len(one.second) else "second",
                    idempotency_key=f"key-{one.id}",
                )
                for number, one in enumerate(asked)
            ]
        )
        return len(asked)
