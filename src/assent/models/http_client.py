"""A server that answers JSON: time-outs, retries with longer and longer pauses, and a clear stop.

What may pass (a time-out, a lost connection, a 429, a 5xx) is tried again; everything else stops at
once. Redirects are not followed, so a token goes to no other server.
"""

import json
import logging
import os
import random
import time
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import httpx

from assent.errors import AssentError, ConfigError

logger = logging.getLogger(__name__)

TOO_MANY_REQUESTS = 429
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
MOST_BYTES = 64 * 2**20
"""Of one answer; far more than any caller needs."""


@runtime_checkable
class ServerSettings(Protocol):
    """The settings that a server needs; see `config.rewards.HttpReward` for what each means."""

    @property
    def url(self) -> str:
        """The address."""

    @property
    def token_variable(self) -> str | None:
        """Environment variable of the bearer token."""

    @property
    def connect_seconds(self) -> float:
        """How long to wait for a connection."""

    @property
    def read_seconds(self) -> float:
        """How long to wait for an answer."""

    @property
    def retries(self) -> int:
        """How often a request is sent again."""


class JsonServer:
    """Posts JSON to a server and returns the JSON it answers; safe to share between threads."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        noun: str,
        key: str,
        error: type[AssentError],
        late: type[AssentError] | None = None,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open no connection yet.

        Args:
            settings: address, time-outs, retries.
            noun: what messages call it, such as `the reward server`.
            key: of the settings in assent.toml, for messages.
            error: raised when there is no usable answer.
            late: raised when every try timed out; `error` if left out.
            transport: for tests and for servers in this process.
            pause: waits a number of seconds.

        Raises:
            ConfigError: the variable of the token is not set, or the address is none.
        """
        self._settings, self._pause, self._noun = settings, pause, noun
        self._error, self._late = error, late or error
        headers = {"accept": "application/json", "content-type": "application/json"}
        if settings.token_variable is not None:
            token = os.environ.get(settings.token_variable, "").strip()
            if not token:
                message = f"{key}.token_variable: {settings.token_variable} is not set"
                raise ConfigError(message)
            headers["authorization"] = f"Bearer {token}"
        try:
            httpx.URL(settings.url)
        except httpx.InvalidURL as wrong:
            message = f"{key}.url: {brief(wrong)}"
            raise ConfigError(message) from wrong
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(settings.read_seconds, connect=settings.connect_seconds),
            transport=transport,
            follow_redirects=False,
            trust_env=False,
        )
        # Many runs that lost one server should not all come back in the same instant.
        self._jitter = random.Random(os.getpid())

    @property
    def called(self) -> str:
        """Its name in messages: the address without a query, which may hold a key."""
        return f"{self._noun} {self._settings.url.partition('?')[0]}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def post(self, body: dict[str, Any], url: str | None = None) -> object:
        """What the server answers.

        Args:
            body: JSON.
            url: another address on this server than that of the settings.

        Raises:
            AssentError: of the classes given: it does not answer in time, refuses, or answers
                something that is no JSON.
        """
        content = json.dumps(body).encode()  # escaped: half a surrogate pair can be sent too
        tries = self._settings.retries + 1
        wrong, kind = "", self._error
        for number in range(tries):
            if number:
                seconds = min(FIRST_PAUSE_SECONDS * 2 ** (number - 1), LONGEST_PAUSE_SECONDS)
                logger.warning("%s; trying again (%d of %d)", wrong, number, tries - 1)
                self._pause(seconds * self._jitter.uniform(0.5, 1.0))
            kind = self._error
            try:
                status, answer = self._send(url or self._settings.url, content)
            except httpx.TimeoutException as error:
                wrong = f"{self.called} did not answer within {self._settings.read_seconds:g} s"
                if not isinstance(error, httpx.ConnectTimeout):
                    kind = self._late
                continue
            except httpx.DecodingError as error:
                message = f"{self.called} answered garbage ({brief(error)})"
                raise self._error(message) from error
            except httpx.TransportError as error:
                wrong = f"{self.called} cannot be reached ({brief(error)})"
                continue
            if status == TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
                wrong = f"{self.called} answered {status}"
                continue
            return self._decoded(status, answer)
        often = "once" if tries == 1 else f"{tries} times"
        message = f"{wrong}, {often} in all; the last saved state is intact: run again when it does"
        raise kind(message)

    def _send(self, url: str, body: bytes) -> tuple[int, bytes]:
        content = bytearray()
        began = time.monotonic()
        with self._client.stream("POST", url, content=body) as response:
            for piece in response.iter_bytes():
                content += piece
                if len(content) > MOST_BYTES:
                    message = f"{self.called} answered over {MOST_BYTES} bytes"
                    raise self._error(message)
                if time.monotonic() - began > self._settings.read_seconds:
                    message = "the answer trickles in"
                    raise httpx.ReadTimeout(message)
            return response.status_code, bytes(content)

    def _decoded(self, status: int, content: bytes) -> object:
        if status != httpx.codes.OK:
            said = " ".join(content[:200].decode("utf-8", "replace").split())
            message = f"{self.called} answered {status}: {said!a}"
            raise self._error(message)
        try:
            return httpx.Response(status, content=content).json()
        except ValueError as error:
            message = f"{self.called} answered no JSON: {content[:80]!r}"
            raise self._error(message) from error


def brief(error: Exception) -> str:
    """What an error says, in one short line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
