"""Points along a run: checkpoints that are kept, and measured as training passes them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.files import whole_folder
from assent.models.checkpoints import save_model
from assent.models.lora import Adapter
from assent.training.run_folder import RunFolder

OnPoint = Callable[[int, PreTrainedModel], str]
"""Called with the updates done and the policy at each point; returns a note for the bar."""

PointsOf = Callable[[int], Collection[int]]
"""Which updates are points, for stages that learn only from their data how many there will be."""


class Stop(str):
    """A note of `on_point` that ends training after its point; the text says why."""

    __slots__ = ()


@dataclass(kw_only=True)
class Points:
    """What a stage does at its points."""

    run: RunFolder
    policy: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adapter: Adapter | None
    at: Collection[int]
    """After which updates; 0 is before the first."""
    on_point: OnPoint | None
    note: str = ""
    """The newest note of `on_point`."""

    def passed(self, updates: int) -> None:
        """Keep a checkpoint and measure it, if this is a point."""
        if updates not in self.at:
            return
        with whole_folder(self.run.checkpoints / f"step-{updates:06d}") as aside:
            save_model(aside, self.policy, self.tokenizer, self.adapter)
        if self.on_point is not None:
            self.note = self.on_point(updates, self.policy)

    def finish(self) -> PreTrainedModel:
        """Write `run.model` and close the run; the policy, an adapter merged into it."""
        with whole_folder(self.run.model) as aside:
            save_model(aside, self.policy, self.tokenizer, self.adapter)
        self.run.finish()
        return self.policy if self.adapter is None else self.adapter.merge()

    @property
    def stopped(self) -> bool:
        """Whether training is to end here."""
        return isinstance(self.note, Stop)
