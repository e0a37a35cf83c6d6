"""The stages of training by name: what the commands offer and what the loop can run."""

from typing import Final

TRAINING: Final[dict[str, str]] = {
    "sft": "Train the policy on demonstrations.",
    "reward": "Train a reward model on a snapshot of all judgements so far.",
    "ppo": "Optimise the policy against the reward model, held near the reference by a KL penalty.",
    "rloo": "The same without a value head: responses to a prompt are compared (RLOO).",
    "grpo": "The same in units of their spread (GRPO); Dr. GRPO and REINFORCE by a setting.",
    "best-of-n": "Draw n responses a prompt, once, and fine-tune the policy on the best.",
    "raft": "The same again and again, from the newest policy (RAFT).",
    "dpo": "Learn from pairs directly, without a reward model (DPO, IPO, SimPO and others).",
    "kto": "Learn from single responses marked good or bad (KTO).",
    "ilf": "Fine-tune the policy on refinements that take up people's criticism (ILF).",
    "constitutional": "Fine-tune the policy on responses revised by principles.",
}
"""Every stage of `assent train`, with its help."""

POLICY: Final = ("ppo", "rloo", "grpo", "best-of-n", "raft", "dpo", "kto", "ilf", "constitutional")
"""Those that improve a policy: what `loop.method` may name. Each has a section of its name."""


def section_of(stage: str) -> str:
    """The key of a stage's settings in assent.toml: its name, with `_` for `-`."""
    return stage.replace("-", "_")
