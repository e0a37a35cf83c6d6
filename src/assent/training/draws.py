"""Responses that a stage drew and scored, kept in its run folder part by part.

    run/samples/batch-0001/part-0000.jsonl    while a batch is drawn
    run/samples/batch-0001.jsonl              the whole batch; who looks can see what was kept

A run that was interrupted while it drew goes on after the last whole part, and one interrupted
while it learned reads what it had drawn: the policy has moved since and would say something else.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from assent.config.files import write_file
from assent.errors import CannotResume


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One response as it was drawn."""

    prompt: int
    """Number of the prompt it answers, among those the stage was given."""
    tokens: tuple[int, ...]
    """As drawn, its end token among them."""
    response: str
    """The text, without its end token."""
    finished: bool
    """False where it was cut off at the length limit."""
    reward: float
    """As the reward function gave it."""
    entropy_nats: float
    """Minus its log-probability under the policy that drew it."""
    kl_nats: float
    """Its log-probability under that policy, less that under the reference."""


@dataclass(frozen=True, slots=True)
class DrawsFolder:
    """The samples of one run."""

    path: Path

    def forget_after(self, batch: int) -> None:
        """Remove what was drawn for batches beyond this one, by a policy that is lost."""
        for found in self.path.glob("batch-*"):
            number = found.stem.partition("-")[2]
            if number.isdigit() and int(number) > batch:
                shutil.rmtree(found) if found.is_dir() else found.unlink()

    def batch(
        self,
        number: int,
        parts: Sequence[Sequence[int]],
        draw: Callable[[int, Sequence[int]], list[Draw]],
        *,
        drawn: Callable[[], None] = lambda: None,
        may_draw: bool = True,
    ) -> list[Draw]:
        """All draws of a batch: those that are there, and the missing parts drawn now.

        Args:
            number: of the batch, from 1.
            parts: for each part, the number of the prompt of each of its draws.
            draw: draws part n, given its prompts.
            drawn: called after each part that was drawn now.
            may_draw: False once the policy has begun to learn the batch.

        Raises:
            CannotResume: a file is damaged, or missing where it may not be drawn again.
            DiskFull: no room; what was whole before is untouched.
        """
        whole = self.path / f"batch-{number:04d}.jsonl"
        asked = [prompt for part in parts for prompt in part]
        if whole.exists():
            return _read(whole, asked)
        if not may_draw:
            message = (
                f"{whole} is gone, and the policy has learned from it since; remove "
                f"{self.path.parent} to start the stage again"
            )
            raise CannotResume(message)
        folder = self.path / f"batch-{number:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        found: list[Draw] = []
        for place, prompts in enumerate(parts):
            file = folder / f"part-{place:04d}.jsonl"
            if file.exists():
                found += _read(file, prompts)
                continue
            made = draw(place, prompts)
            write_file(file, _lines(made))
            found += made
            drawn()
        write_file(whole, _lines(found))
        shutil.rmtree(folder)
        return found

    def parts_done(self, number: int, parts: int) -> int:
        """How many parts of a batch an earlier process has drawn."""
        if (self.path / f"batch-{number:04d}.jsonl").exists():
            return parts
        return len(list((self.path / f"batch-{number:04d}").glob("part-*.jsonl")))


def _lines(draws: Sequence[Draw]) -> str:
    return "".join(json.dumps(asdict(one)) + "\n" for one in draws)


def _read(file: Path, asked: Sequence[int]) -> list[Draw]:
    try:
        found = [_draw(line) for line in file.read_text(encoding="utf-8").splitlines()]
        prompts = [one.prompt for one in found]
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        message = f"{file} cannot be read back ({reason}); remove it to draw it again"
        raise CannotResume(message) from error
    if prompts != list(asked):
        message = f"{file} holds other responses than the run draws there; remove it to go on"
        raise CannotResume(message)
    return found


def _draw(line: str) -> Draw:
    given = json.loads(line)
    return Draw(
        prompt=int(given["prompt"]),
        tokens=tuple(int(token) for token in given["tokens"]),
        response=str(given["response"]),
        finished=bool(given["finished"]),
        reward=float(given["reward"]),
        entropy_nats=float(given["entropy_nats"]),
        kl_nats=float(given["kl_nats"]),
    )
