"""What a benchmark has written so far, so that a second call runs only what is missing."""

import argparse
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch


def begin(parser: argparse.ArgumentParser, out: Path, **same: object) -> dict[str, Any]:
    """The result to fill, with the seeds that its file holds already; its folder is made.

    Args:
        parser: ends the run where the file was made with other terms.
        out: the file.
        same: terms that must not change between calls that write the same file.
    """
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    result: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "commit": commit.stdout.strip(),
        **same,
        "seeds": {},
    }
    if out.exists():
        kept = json.loads(out.read_text(encoding="utf-8"))
        for name, value in same.items():
            if kept[name] != value:
                parser.error(f"{out} was made with {name} = {kept[name]}, not {value}")
        result["seeds"] = kept["seeds"]
    out.parent.mkdir(parents=True, exist_ok=True)
    return result
