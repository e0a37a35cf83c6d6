"""The reward server gives what the model in the process gives, and refuses what it should."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from tests.chat_fixtures import bpe_tokenizer
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    ppo_settings,
    same_weights,
    small_policy,
    small_reward_model,
    weights_of,
)

from assent.config.files import whole_folder
from assent.config.rewards import HttpReward
from assent.errors import ConfigError
from assent.models.checkpoints import save_model
from assent.models.loading import new_llama, reward_model_from
from assent.models.reward_http import RewardServer
from assent.models.rewards import Normalisation, TextReward
from assent.serving.rewards import open_listener, reward_app
from assent.training.ppo import train_ppo
from assent.training.run_folder import RunFolder
from assent.types import ChatPrompt, Message, RewardFunction


@contextmanager
def served(reward: RewardFunction, **given: Any) -> Iterator[str]:
    """The server on a free port of this machine; its address."""
    listener = open_listener("127.0.0.1", 0, token=None)
    app = reward_app(reward, **given)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory) -> TextReward:
    model = small_reward_model(tmp_path_factory.mktemp("reward") / "policy")
    return TextReward(model, TOKENIZER, Normalisation(gain=2.0, bias=-0.5, samples=8))


def test_ppo_against_the_server_has_the_weights_of_ppo_with_the_model_in_the_process(
    reward: TextReward, tmp_path: Path
) -> None:
    def trained(source: RewardFunction, name: str) -> dict[str, Any]:
        run = RunFolder(tmp_path / name)
        settings = ppo_settings(updates=3)
        policy = train_ppo(
            small_policy(), small_policy(), TOKENIZER, PROMPTS, source, settings, run, seed=0
        )
        return weights_of(policy)

    with served(reward) as address:
        client = RewardServer(HttpReward(url=f"{address}/rewards"))
        apart = trained(client, "apart")
        client.close()
    together = trained(reward, "together")
    assert not same_weights(together, weights_of(small_policy()))
    assert same_weights(apart, together)


def test_a_chat_is_scored_as_its_turns(tmp_path: Path) -> None:
    tokenizer = bpe_tokenizer("chatml")
    with whole_folder(tmp_path / "policy") as aside:
        policy = new_llama(
            tokenizer, hidden_size=16, intermediate_size=16, layers=1, heads=2, max_positions=128,
            initial_std=0.3, seed=0,
        )  # fmt: skip
        save_model(aside, policy, tokenizer)
    mine = TextReward(reward_model_from(tmp_path / "policy", seed=1), tokenizer)
    prompts = [ChatPrompt([Message("user", "hi")]), "Human:\nhi\n\nAssistant:\n"]
    assert prompts[0] == prompts[1], "the same text, and yet not read the same"
    expected = mine(prompts, ["hello"] * 2)
    assert expected[0] != expected[1]
    with served(mine) as address:
        client = RewardServer(HttpReward(url=f"{address}/rewards"))
        assert client(prompts, ["hello"] * 2) == expected
        client.close()


def count(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    del prompts
    return [float(len(one)) for one in responses]


def ask(
    app: Any, body: bytes | dict[str, Any], *, path: str = "/rewards", **headers: str
) -> httpx.Response:
    """One request in the process, no socket between."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8100") as to:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await to.post(
                path, content=content, headers={"content-type": "application/json", **named}
            )

    # In a thread: other tests of this process may leave an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, send()).result()


def test_rewards_come_in_order() -> None:
    answer = ask(reward_app(count), {"prompts": ["a", "b"], "responses": ["xyz", ""]})
    assert (answer.status_code, answer.json()) == (200, {"rewards": [3.0, 0.0]})
    assert ask(reward_app(count), {"prompts": [], "responses": []}).json() == {"rewards": []}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"prompts": ["a"], "responses": []}, 422, "1 prompts and 0 responses"),
        ({"prompts": ["a"]}, 422, "responses"),
        ({"prompts": [1], "responses": ["b"]}, 422, "prompts"),
        ({"prompts": ["a"], "responses": ["b"], "more": 1}, 422, "more"),
        ({"prompts": [[{"role": "user"}]], "responses": ["b"]}, 422, "prompts"),
        ({"prompts": ["a"] * 5000, "responses": ["b"] * 5000}, 422, "4096"),
        (b"{", 422, "JSON"),
        (b"", 422, "required"),
        (b"\xff\xfe", 422, "body"),
        ({"prompts": ["a" * 2000], "responses": ["b"]}, 413, "1000 bytes"),
    ],
)
def test_a_bad_request_is_one_line_and_never_a_crash(
    body: bytes | dict[str, Any], status: int, says: str
) -> None:
    limit = 1000 if status == 413 else 10**6
    answer = ask(reward_app(count, most_bytes=limit), body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["title"]
    assert "\n" not in answer.json()["title"]


def test_a_body_that_does_not_say_its_length_is_limited_too() -> None:
    async def send() -> int:
        async def pieces() -> Any:
            for _ in range(5):
                yield b" " * 400

        transport = httpx.ASGITransport(app=reward_app(count, most_bytes=1000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as to:
            kind = {"content-type": "application/json"}
            return (await to.post("/rewards", content=pieces(), headers=kind)).status_code

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, send()).result() == 413


def test_other_hosts_other_types_and_a_missing_token_are_refused() -> None:
    body: dict[str, Any] = {"prompts": [], "responses": []}
    assert ask(reward_app(count), body, host="evil.example").status_code == 421
    assert ask(reward_app(count), body, host="localhost:8100").status_code == 200
    assert ask(reward_app(count), body, host="[::1]:8100").status_code == 200
    assert ask(reward_app(count, hosts=()), body, host="rewards.example").status_code == 200
    assert ask(reward_app(count), body, content_type="text/plain").status_code == 415
    guarded = reward_app(count, token="secret")
    assert ask(guarded, body).status_code == 401
    assert ask(guarded, body, authorization="Bearer secret2").status_code == 401
    assert ask(guarded, body, authorization="Bearer secret").status_code == 200


def test_a_reward_that_fails_is_told_to_who_asked() -> None:
    def wrong(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        del prompts, responses
        return [float("nan")]

    answer = ask(reward_app(wrong), {"prompts": ["a"], "responses": ["b"]})
    assert answer.status_code == 422
    assert "returned nan for response 0" in answer.json()["title"]


def test_an_address_open_to_others_needs_a_token_and_a_taken_one_is_named() -> None:
    with pytest.raises(ConfigError, match="set ASSENT_REWARD_TOKEN"):
        open_listener("0.0.0.0", 0, token=None)  # noqa: S104 - refused
    with open_listener("127.0.0.1", 0, token=None) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port} cannot be served"):
            open_listener("127.0.0.1", port, token=None)
