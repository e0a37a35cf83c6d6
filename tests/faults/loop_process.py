"""Run the loop of a project in a process that kills itself at its n-th touch of the disk.

python loop_process.py ROOT N: a touch is a file opened for writing, a rename, a removal inside
ROOT, or a commit of the database; SIGKILL comes just before touch N. N = 0 never comes. What the
process prints at its end is how many touches there were.
"""

import os
import signal
import sys
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from assent.rounds.loop import run_loop
from assent.types import SilentProgress

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.move", "shutil.rmtree")


def main(root: Path, kill_at: int) -> None:
    """Run, or die on the way."""
    touches = 0

    def touch() -> None:
        nonlocal touches
        touches += 1
        if touches == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(name: str, arguments: tuple[object, ...]) -> None:
        if name == "open":
            path, mode = arguments[0], arguments[1]
            writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        else:
            path, writes = (arguments[0] if arguments else None), name in CHANGES
        if writes and isinstance(path, (str, Path)) and str(path).startswith(str(root)):
            touch()

    def commit(_: Connection) -> None:
        touch()

    sys.addaudithook(audit)
    event.listen(Engine, "commit", commit)
    run_loop(root, rounds=None, progress=SilentProgress())
    sys.stdout.write(f"{touches}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
