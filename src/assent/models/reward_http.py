"""Rewards from a server: texts out, numbers back."""

import math
import time
from collections.abc import Callable, Sequence

import httpx

from assent.config.rewards import HttpReward
from assent.errors import RewardError
from assent.models.http_client import JsonServer
from assent.models.scoring import chunks
from assent.types import ChatPrompt


class RewardServer:
    """A reward that posts texts to a server; see `http_client` for what it tries again.

    `{"prompts": [...], "responses": [...]}` is answered by `{"rewards": [...]}`, one finite number
    a response, in order. A chat prompt is sent as its turns.
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
        self.settings = settings
        self._server = JsonServer(
            settings,
            noun="the reward server",
            key="ppo.reward",
            error=RewardError,
            transport=transport,
            pause=pause,
        )

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
            rewards += self._checked(self._server.post(body), len(responses[part]))
        return rewards

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _checked(self, answer: object, count: int) -> list[float]:
        rewards = answer.get("rewards") if isinstance(answer, dict) else None
        called = self._server.called
        if not isinstance(rewards, list):
            message = (
                f'{called} must answer {{"rewards": [...]}}, and answered {str(answer)[:80]!a}'
            )
            raise RewardError(message)
        if len(rewards) != count:
            message = f"{called} returned {len(rewards)} rewards for {count} responses"
            raise RewardError(message)
        for number, value in enumerate(rewards):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value):
                message = (
                    f"{called} returned {str(value)[:40]!a} for response {number}: a reward is a "
                    "finite number"
                )
                raise RewardError(message)
        return [float(value) for value in rewards]


def as_json(prompt: str) -> str | list[dict[str, str]]:
    """A prompt as servers are sent it: text, or the turns of a chat."""
    if isinstance(prompt, ChatPrompt):
        return [{"role": one.role, "content": one.content} for one in prompt.messages]
    return str(prompt)
