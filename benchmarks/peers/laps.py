"""A clock that stops while it keeps the policy, so that what training reached is measured later.

Imported in the peer's environment too, so it imports nothing of Assent.
"""

import json
import math
import time
from pathlib import Path
from typing import Any

import torch

LAPS = "laps.json"


class TimeUp(Exception):
    """The run has used what it was given, and is not needed any longer."""


class Laps:
    """Seconds of training after each update, and the policy as it was then.

    Args:
        folder: where policies and `laps.json` go.
        dense: after each of so many updates the policy is kept, then after every `stride`th.
        stride: see `dense`.
        most_seconds: processor seconds after which `lap` raises `TimeUp`.
        most_updates: updates after which it does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dense: int,
        stride: int,
        most_seconds: float = math.inf,
        most_updates: float = math.inf,
    ) -> None:
        self.folder, self.dense, self.stride = folder, dense, stride
        self.most_seconds, self.most_updates = most_seconds, most_updates
        self.laps: list[dict[str, Any]] = []
        self._spent = self._spent_processor = 0.0
        self._began = self._began_processor = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, policy: torch.nn.Module) -> None:
        """Keep the policy as it is before any update, and let the clock run."""
        self._keep(0, policy)
        self._run()

    def lap(self, policy: torch.nn.Module) -> None:
        """An update is done: stop the clock, keep the policy where it is due, let it run on.

        Raises:
            TimeUp: seconds or updates are used up.
        """
        self._spent += time.perf_counter() - self._began
        self._spent_processor += time.process_time() - self._began_processor
        update = len(self.laps)
        self._keep(update, policy)
        if self._spent_processor >= self.most_seconds or update >= self.most_updates:
            raise TimeUp
        self._run()

    def _run(self) -> None:
        self._began, self._began_processor = time.perf_counter(), time.process_time()

    def _keep(self, update: int, policy: torch.nn.Module) -> None:
        file = None
        if update <= self.dense or update % self.stride == 0:
            file = f"policy-{update:05d}.pt"
            torch.save({name: one.detach() for name, one in policy.state_dict().items()},
                       self.folder / file)  # fmt: skip
        self.laps.append(
            {
                "update": update,
                "processor_seconds": self._spent_processor,
                "wall_seconds": self._spent,
                "file": file,
            }
        )
        (self.folder / LAPS).write_text(json.dumps(self.laps) + "\n", encoding="utf-8")
