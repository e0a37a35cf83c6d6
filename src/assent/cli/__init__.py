"""The `assent` command.

Each command is a small module; heavy packages are imported inside the commands, because `import
torch` takes seconds and `--help` must not wait for it.
"""

from assent.cli.main import main

__all__ = ["main"]
