"""Opening a project for people: its app, its owner, and the lock that keeps a second server out."""

import fcntl
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fastapi import FastAPI

from assent.collect.guidelines import begin_guidelines
from assent.collect.look_up import almanac_page
from assent.config.files import disk_errors
from assent.config.load import load_settings
from assent.config.project import ProjectSettings
from assent.errors import ProjectBusy
from assent.store import Person, Project
from assent.web.app import create_app
from assent.web.options import DEFAULT_PORT, ServeOptions
from assent.web.passwords import Passwords

OWNER: Final = "owner"
_LOCK_FILE: Final = ".serving.lock"


def project_app(
    project: Project, options: ServeOptions, *, passwords: Passwords | None = None
) -> FastAPI:
    """The app of a project, under the settings in its assent.toml.

    A project without guidelines is given the first ones, for its owner to edit. `passwords` are
    those of `create_app`.

    Raises:
        ConfigError: every problem of the settings.
    """
    settings = settings_of(project)
    look_up = None if settings.world is None else almanac_page(settings.world.seed)
    axes = settings.labelling.axes
    begin_guidelines(project.store, axes, looks_up=look_up is not None)
    return create_app(
        project,
        settings.labelling,
        options,
        seed=settings.seed,
        look_up=look_up,
        passwords=passwords,
    )


def settings_of(project: Project) -> ProjectSettings:
    """What assent.toml says.

    Raises:
        ConfigError: every problem, with its path.
    """
    base = tomllib.loads(project.settings_text())
    return load_settings(ProjectSettings, (), (), base, base_name=str(project.root / "assent.toml"))


def owner_link(project: Project, base_url: str, days: int) -> str:
    """A link that lets the owner in once; the first time, an owner is made."""
    people = project.store.people
    owners = [one for one in people.everybody() if _may_own(one)]
    owner = owners[0] if owners else people.add(_free_name(project), "owner")
    return f"{base_url}/invite/{people.invite(owner.annotator_id, days)}"


@contextmanager
def serving(root: Path, base_url: str) -> Iterator[None]:
    """Keep other servers off a project while this one runs, and say where it is reached.

    Raises:
        ProjectBusy: another server has the project.
    """
    with disk_errors(f"locking {root}"):
        descriptor = os.open(root / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            said = os.pread(descriptor, 500, 0).decode(errors="replace") or "another address"
            message = f"{root} is being served at {said}; use that one, or stop it first"
            raise ProjectBusy(message) from error
        with disk_errors(f"locking {root}"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, base_url.encode(), 0)
        yield
    finally:
        os.close(descriptor)


def served_at(root: Path) -> tuple[str, bool]:
    """Where the project is reached, and whether a server runs there now."""
    usual = f"http://127.0.0.1:{DEFAULT_PORT}"
    try:
        descriptor = os.open(root / _LOCK_FILE, os.O_RDWR)
    except OSError:
        return usual, False
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.pread(descriptor, 500, 0).decode(errors="replace") or usual, True
        return os.pread(descriptor, 500, 0).decode(errors="replace") or usual, False
    finally:
        os.close(descriptor)


def _may_own(person: Person) -> bool:
    return person.role == "owner" and person.state in ("active", "invited")


def _free_name(project: Project) -> str:
    """`owner`, unless somebody is called that."""
    name, number = OWNER, 2
    while project.store.people.named(name) is not None:
        name, number = f"{OWNER} {number}", number + 1
    return name
