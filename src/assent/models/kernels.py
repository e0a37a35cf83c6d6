"""Compiled passes over rows: `rows.cpp` and what it includes. Optional, on CPUs only.

They are compiled once, with the C++ compiler that is found (`c++`, `g++`, `clang++`, or the one
of the extra `assent[kernels]`), and kept in the user's cache folder under a name that says which
source, compiler and processor they were made for. Without a compiler, with ASSENT_KERNELS=off, or
if what was compiled does not reproduce a small example, torch's own operations are used: the same
results but for the order of sums.
"""

import ctypes
import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from assent.models.compiled_attention import Sight
from assent.models.compiled_passes import Kernels
from assent.models.packing import Block

_log = logging.getLogger(__name__)

SOURCE: Final = Path(__file__).with_name("rows.cpp")
_INCLUDED: Final = tuple(
    SOURCE.with_name(name) for name in ("attention.h", "sharing.h", "vectors.h")
)
_FLAGS: Final = (
    "-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden",
    "-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-fno-trapping-math",
    "-fassociative-math", "-fno-signed-zeros", "-freciprocal-math",
)  # fmt: skip
_WIDE: Final = "-mprefer-vector-width=512"
_SECONDS: Final = 240
_ZIG: Final = "ziglang"
"""The compiler that pip brings, which takes its time."""
_KINDS: Final = (torch.float32, torch.bfloat16)


def kernels_for(*states: Tensor) -> Kernels | None:
    """The kernels, if there are any and these tensors are of a kind they take."""
    fits = all(one.device.type == "cpu" and one.dtype in _KINDS for one in states)
    return kernels() if fits else None


@cache
def kernels() -> Kernels | None:
    """The kernels of this machine, compiled if they are not yet; None where there are none."""
    return _found()[0]


def where_from() -> str:
    """In a sentence, where the kernels come from or why there are none."""
    return _found()[1]


@cache
def _found() -> tuple[Kernels | None, str]:
    if os.environ.get("ASSENT_KERNELS", "").lower() in {"off", "0", "no"}:
        return None, "ASSENT_KERNELS is off; unset it to compile them"
    compiler = _compiler()
    if compiler is None:
        return None, "no C++ compiler was found; `pip install assent[kernels]` brings one"
    try:
        file = _compiled(compiler)
        made = Kernels(ctypes.CDLL(str(file)))
        _require_right(made)
    except (OSError, subprocess.SubprocessError, RuntimeError, AttributeError) as error:
        told = " ".join(str(getattr(error, "stderr", None) or error).split())[:300]
        _log.warning("kernels could not be compiled, torch's operations are used: %s", told)
        return None, f"they could not be compiled with {compiler[0]}: {told}"
    return made, f"compiled with {Path(compiler[0]).name}, kept at {file}"


def _compiler() -> list[str] | None:
    for name in ("c++", "g++", "clang++"):
        path = shutil.which(name)
        if path is not None:
            return [path]
    if importlib.util.find_spec(_ZIG) is not None:
        return [sys.executable, "-m", _ZIG, "c++"]
    return None


def _compiled(compiler: list[str]) -> Path:
    """The library, compiled if nobody has."""
    folder = _private_folder()
    told = _run([*compiler, "--version"])
    sources = "\0".join(file.read_text() for file in (SOURCE, *_INCLUDED))
    parts = (sources, told, " ".join(_FLAGS), _processor())
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    file = folder / f"rows-{name}.so"
    if not file.is_file():
        if _ZIG in compiler:
            _log.warning("compiling passes over rows for this processor, once: about a minute")
        with tempfile.TemporaryDirectory(dir=folder) as made:
            fresh = Path(made) / file.name
            for wide in ([_WIDE], []):
                command = [*compiler, *_FLAGS, *wide, str(SOURCE), "-o", str(fresh)]
                try:
                    _run(command)
                    break
                except subprocess.CalledProcessError:
                    if not wide:
                        raise
            fresh.replace(file)
    return file


def _run(command: list[str]) -> str:
    done = subprocess.run(  # noqa: S603 - the compiler found, and names of our own
        command, capture_output=True, text=True, check=True, timeout=_SECONDS
    )
    return done.stdout


def _private_folder() -> Path:
    """Where compiled code is kept: a folder that nobody else may write into."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(root) / "assent" / "kernels"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    state = folder.stat()
    if hasattr(os, "getuid") and (state.st_uid != os.getuid() or state.st_mode & 0o022):
        message = f"others may write into {folder}, so nothing is loaded from it"
        raise OSError(message)
    return folder


def _processor() -> str:
    """What the compiled code is made for."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    first = text.split("\n\n", 1)[0].splitlines()
    kept = [line for line in first if line.startswith(("model name", "flags", "Features"))]
    return "\n".join([platform.machine(), *kept])


def _require_right(made: Kernels) -> None:
    """Try the kernels on a small example, in which a wrong instruction set would show."""
    states = torch.linspace(-3, 3, 5 * 96).reshape(5, 96)
    gate, up = states.chunk(2, dim=1)
    expected = torch.nn.functional.silu(gate) * up
    square = states.square().mean(1, keepdim=True)
    trials = [
        (made.gated(states), expected, 1e-4),
        (made.norm(states, 1e-6, torch.float32)[0], states * (square + 1e-6).rsqrt(), 1e-4),
    ]
    for kind in _KINDS:
        if made.attention.attends(kind, 32):
            query, key, value = states.to(kind).chunk(3, dim=1)
            mixed = torch.empty_like(query, memory_format=torch.contiguous_format)
            sight = Sight(query.contiguous(), key, value, Block(0, 1, 5), 1, 1, picked=False)
            made.attention.attend(sight, mixed, keep=False)
            scores = query.float() @ key.float().t()
            seen = torch.ones(5, 5, dtype=torch.bool).tril()
            weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
            tolerance = 1e-4 if kind == torch.float32 else 1e-2
            trials.append((mixed.float(), weights @ value.float(), tolerance))
    for computed, wanted, tolerance in trials:
        if not torch.allclose(computed, wanted, rtol=tolerance, atol=1e-5):
            message = "the compiled kernels do not reproduce a small example"
            raise RuntimeError(message)
