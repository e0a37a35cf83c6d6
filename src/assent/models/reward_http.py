"""Rewards from a server: texts out, numbers back, with time-outs, retries and a clear stop."""

import json
import logging
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from assent.config.rewards import HttpReward
from assent.errors import ConfigError, RewardError
from assent.models.scoring import chunks
from assent.types import ChatPrompt

logger = logging.getLogger(__name__)

TOO_MANY_REQUESTS = 429
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
MOST_BYTES = 64 * 2**20
"""Of one answer; far more than rewards need."""


class RewardServer:
    """A reward that posts texts to a server.

    `{"prompts": [...], "responses": [...]}` is answered by `{"rewards": [...]}`, one finite number
    a response, in order. A chat prompt is sent as its turns. What may pass (a time-out, a lost
    connection, a 429, a 5xx) is tried again, each time after a longer pause; everything else stops
    at once. Redirects are not followed, so a token goes to no other server.
    """

    def __init__(
        self,
        settings: HttpReward,
        *,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open no connection yet.

        Args:
            settings: address, time-outs, retries.
            transport: for tests and for servers in this process.
            pause: waits a number of seconds.

        Raises:
            ConfigError: the variable of the token is not set, or the address is none.
        """
        self.settings, self._pause = settings, pause
        headers = {"accept": "application/json", "content-type": "application/json"}
        if settings.token_variable is not None:
            token = os.environ.get(settings.token_variable, "").strip()
            if not token:
                message = f"ppo.reward.token_variable: {settings.token_variable} is not set"
                raise ConfigError(message)
            headers["authorization"] = f"Bearer {token}"
        try:
            httpx.URL(settings.url)
        except httpx.InvalidURL as error:
            message = f"ppo.reward.url: {_brief(error)}"
            raise ConfigError(message) from error
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(settings.read_seconds, connect=settings.connect_seconds),
            transport=transport,
            follow_redirects=False,
            trust_env=False,
        )
        # Many runs that lost one server should not all come back in the same instant.
        self._jitter = random.Random(os.getpid())

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """Rewards of the server.

        Raises:
            RewardError: it does not answer in time, refuses, or answers something else.
        """
        rewards: list[float] = []
        for part in chunks(len(responses), self.settings.batch_size):
            body = {
                "prompts": [as_json(prompt) for prompt in prompts[part]],
                "responses": [str(response) for response in responses[part]],
            }
            rewards += self._checked(self._post(body), len(responses[part]))
        return rewards

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _post(self, body: dict[str, Any]) -> object:
        content = json.dumps(body).encode()  # escaped: half a surrogate pair can be sent too
        tries = self.settings.retries + 1
        wrong = ""
        for number in range(tries):
            if number:
                seconds = min(FIRST_PAUSE_SECONDS * 2 ** (number - 1), LONGEST_PAUSE_SECONDS)
                logger.warning("%s; trying again (%d of %d)", wrong, number, tries - 1)
                self._pause(seconds * self._jitter.uniform(0.5, 1.0))
            try:
                status, answer = self._send(content)
            except httpx.TimeoutException:
                wrong = (
                    f"the reward server {self._shown} did not answer within "
                    f"{self.settings.read_seconds:g} s"
                )
                continue
            except httpx.DecodingError as error:
                message = f"the reward server {self._shown} answered garbage ({_brief(error)})"
                raise RewardError(message) from error
            except httpx.TransportError as error:
                wrong = f"the reward server {self._shown} cannot be reached ({_brief(error)})"
                continue
            if status == TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
                wrong = f"the reward server {self._shown} answered {status}"
                continue
            return self._decoded(status, answer)
        message = (
            f"{wrong}, {tries} times in all; the last saved state is intact: run again when it does"
        )
        raise RewardError(message)

    def _send(self, body: bytes) -> tuple[int, bytes]:
        content = bytearray()
        began = time.monotonic()
        with self._client.stream("POST", self.settings.url, content=body) as response:
            for piece in response.iter_bytes():
                content += piece
                if len(content) > MOST_BYTES:
                    message = f"the reward server {self._shown} answered over {MOST_BYTES} bytes"
                    raise RewardError(message)
                if time.monotonic() - began > self.settings.read_seconds:
                    message = "the answer trickles in"
                    raise httpx.ReadTimeout(message)
            return response.status_code, bytes(content)

    def _decoded(self, status: int, content: bytes) -> object:
        if status != httpx.codes.OK:
            said = " ".join(content[:200].decode("utf-8", "replace").split())
            message = f"the reward server {self._shown} answered {status}: {said!a}"
            raise RewardError(message)
        try:
            return httpx.Response(status, content=content).json()
        except ValueError as error:
            message = f"the reward server {self._shown} answered no JSON: {content[:80]!r}"
            raise RewardError(message) from error

    def _checked(self, answer: object, count: int) -> list[float]:
        rewards = answer.get("rewards") if isinstance(answer, dict) else None
        if not isinstance(rewards, list):
            message = (
                f'the reward server {self._shown} must answer {{"rewards": [...]}}, and answered '
                f"{str(answer)[:80]!a}"
            )
            raise RewardError(message)
        if len(rewards) != count:
            message = (
                f"the reward server {self._shown} returned {len(rewards)} rewards for {count} "
                "responses"
            )
            raise RewardError(message)
        for number, value in enumerate(rewards):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value):
                message = (
                    f"the reward server {self._shown} returned {str(value)[:40]!a} for response "
                    f"{number}: a reward is a finite number"
                )
                raise RewardError(message)
        return [float(value) for value in rewards]

    @property
    def _shown(self) -> str:
        """The address without a query, which may hold a key."""
        return self.settings.url.partition("?")[0]


def as_json(prompt: str) -> str | list[dict[str, str]]:
    """A prompt as servers are sent it: text, or the turns of a chat."""
    if isinstance(prompt, ChatPrompt):
        return [{"role": one.role, "content": one.content} for one in prompt.messages]
    return str(prompt)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
