"""What best-of-n or RAFT will draw and learn, and the largest batch it holds."""

from collections.abc import Sequence

from assent.config.best_of import BestOfNSettings
from assent.training.footprint import Work


def best_of_plan(
    settings: BestOfNSettings, iterations: int, prompts: Sequence[int], too_long: int
) -> tuple[dict[str, int], Work]:
    """Schedule and work.

    Args:
        settings: of the stage.
        iterations: how often it draws.
        prompts: tokens of each prompt that leaves room for a response.
        too_long: how many do not.
    """
    longest, new = max(prompts, default=0), settings.sampling.max_new_tokens
    tokens = longest + new
    rows = min(settings.micro_batch_size or settings.batch_size, settings.batch_size)
    drawn = iterations * settings.prompts * settings.n
    work = Work(
        rows=rows,
        tokens=tokens,
        scored=tokens,
        bfloat16=settings.precision == "bfloat16",
        checkpointing=settings.gradient_checkpointing,
        rollouts=min(settings.sampling_batch, settings.prompts) * settings.n,
    )
    schedule = {
        "prompts": len(prompts),
        "too_long": too_long,
        "longest_prompt_tokens": longest,
        "iterations": iterations,
        "rollouts": drawn,
        "rollouts_at_once": work.rollouts,
        "learned": iterations * settings.prompts * settings.keep,
        "optimiser_steps": iterations * settings.steps,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "passes_per_step": -(-settings.batch_size // rows),
        "tokens_sampled_at_most": drawn * new,
    }
    return schedule, work
