"""What every request shares: the project, the desk, sessions, templates, and what was counted."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar, cast

from fastapi.templating import Jinja2Templates

from assent.collect.desk import Desk
from assent.config.labelling import LabellingSettings
from assent.store import Person, Project
from assent.web.options import ServeOptions
from assent.web.passwords import Passwords, Throttle

T = TypeVar("T")


class Server:
    """One running server; safe to share between threads."""

    def __init__(
        self,
        project: Project,
        desk: Desk,
        options: ServeOptions,
        templates: Jinja2Templates,
        *,
        seed: int,
        passwords: Passwords | None = None,
    ) -> None:
        self.project = project
        self.store = project.store
        self.desk = desk
        self.options = options
        self.templates = templates
        self.seed = seed
        self.passwords = passwords or Passwords()
        self.throttle = Throttle()
        self._counted: dict[str, tuple[float, object]] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def settings(self) -> LabellingSettings:
        """How tasks are handed out, and how long sessions last."""
        return self.desk.settings

    @property
    def name(self) -> str:
        """What pages call the project."""
        return self.project.root.name

    @property
    def cookie_name(self) -> str:
        """Of the session; a browser keeps `__Host-` cookies to this host and to TLS."""
        return "__Host-assent_session" if self.options.secure else "assent_session"

    def person_of(self, token: str) -> Person | None:
        """Whose session a token belongs to, if it stands."""
        return self.store.people.session(
            token,
            idle_hours=self.settings.session_idle_hours,
            days=self.settings.session_days,
        )

    def counted(self, name: str, count: Callable[[], T]) -> T:
        """A figure of the whole project, kept for ten times as long as counting it took.

        So what is quick to count is always new, and what is slow cannot hold the server up, nor can
        many who ask at once: one of them counts, and the others wait for what it finds.
        """
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        with turn:
            began = time.monotonic()
            kept = self._counted.get(name)
            if kept is not None and began < kept[0]:
                return cast("T", kept[1])
            value = count()
            ended = time.monotonic()
            self._counted[name] = (ended + 10 * (ended - began), value)
            return value
