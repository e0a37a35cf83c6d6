"""A reward server that is late, wrong or away: tried again where that may help, else one line."""

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from assent.config.rewards import HttpReward
from assent.errors import ConfigError, RewardError
from assent.models.reward_http import RewardServer
from assent.types import ChatPrompt, Message

URL = "http://rewards.example:8100/rewards"
Answer = Callable[[httpx.Request], httpx.Response]


def server(answer: Answer, pauses: list[float] | None = None, **given: Any) -> RewardServer:
    return RewardServer(
        HttpReward.model_validate({"url": URL, **given}),
        transport=httpx.MockTransport(answer),
        pause=(pauses if pauses is not None else []).append,
    )


def lengths(request: httpx.Request) -> httpx.Response:
    body = json.loads(request.content)
    return httpx.Response(200, json={"rewards": [len(one) for one in body["responses"]]})


def refusal(reward: RewardServer) -> str:
    with pytest.raises(RewardError) as raised:
        reward(["a", "b"], ["x", "yz"])
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400
    return str(raised.value)


def test_texts_go_out_and_numbers_come_back_in_order() -> None:
    seen: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        return lengths(request)

    chat = ChatPrompt([Message("system", "s"), Message("user", "u")])
    reward = server(answer, batch_size=2)
    assert reward(["p", chat, "q"], ["a", "bb", "ccc"]) == [1.0, 2.0, 3.0]
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert seen == [
        {"prompts": ["p", turns], "responses": ["a", "bb"]},
        {"prompts": ["q"], "responses": ["ccc"]},
    ]
    assert reward([], []) == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again_after_longer_and_longer_pauses(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    left = [status] * 3
    pauses: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(left.pop()) if left else lengths(request)

    with caplog.at_level(logging.WARNING):
        assert server(answer, pauses)(["a"], ["xyz"]) == [3.0]
    assert [0.25 <= pauses[0] <= 0.5, 0.5 <= pauses[1] <= 1, 1 <= pauses[2] <= 2] == [True] * 3
    assert f"answered {status}; trying again (3 of 4)" in caplog.text


def test_after_the_last_retry_it_stops_and_says_so() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        msg = "slow"
        raise httpx.ReadTimeout(msg, request=request)

    message = refusal(server(answer, retries=2, read_seconds=7))
    assert "did not answer within 7 s, 3 times in all" in message
    assert "the last saved state is intact" in message
    assert len(asked) == 3


def test_a_server_that_cannot_be_reached_is_tried_again_too() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        msg = "Connection refused"
        raise httpx.ConnectError(msg, request=request)

    message = refusal(server(answer, retries=1))
    assert "cannot be reached (Connection refused), 2 times in all" in message


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(400, text="bad\nrequest"), "answered 400: 'bad request'"),
        (httpx.Response(401, text="no"), "answered 401"),
        (httpx.Response(404), "answered 404"),
        (httpx.Response(301, headers={"location": "http://other.example/"}), "answered 301"),
        (httpx.Response(200, text="rewards"), "answered no JSON"),
        (httpx.Response(200, content=b"\xff\xfe\xff"), "answered no JSON"),
        (httpx.Response(200, text=""), "answered no JSON"),
        (httpx.Response(200, json=[1, 2]), "must answer {"),
        (httpx.Response(200, json={"reward": [1, 2]}), "must answer {"),
        (httpx.Response(200, json={"rewards": 1}), "must answer {"),
        (httpx.Response(200, json={"rewards": [1]}), "returned 1 rewards for 2 responses"),
        (httpx.Response(200, json={"rewards": [1, 2, 3]}), "returned 3 rewards for 2 responses"),
        (httpx.Response(200, text='{"rewards": [1, NaN]}'), "returned 'nan' for response 1"),
        (httpx.Response(200, text='{"rewards": [1e999, 1]}'), "returned 'inf' for response 0"),
        (httpx.Response(200, json={"rewards": [1, None]}), "returned 'None' for response 1"),
        (httpx.Response(200, json={"rewards": ["1", 2]}), "returned '1' for response 0"),
        (httpx.Response(200, json={"rewards": [True, 2]}), "returned 'True' for response 0"),
        (httpx.Response(200, json={"rewards": [[1], [2]]}), "returned '[1]' for response 0"),
    ],
)
def test_a_wrong_answer_stops_at_once_in_one_line(answer: httpx.Response, says: str) -> None:
    asked = []

    def once(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer

    assert says in refusal(server(once))
    assert len(asked) == 1


def test_no_key_of_an_address_and_no_token_is_ever_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(503)

    monkeypatch.setenv("MY_TOKEN", "t0ken")
    reward = server(answer, url=f"{URL}?key=k3y", token_variable="MY_TOKEN", retries=1)
    with caplog.at_level(logging.DEBUG, logger="assent"):
        message = refusal(reward)
    assert seen == ["Bearer t0ken"] * 2
    for text in (message, caplog.text):
        assert "k3y" not in text
        assert "t0ken" not in text


def test_a_token_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="MY_TOKEN is not set"):
        server(lengths, token_variable="MY_TOKEN")


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "rewards", "http://", "http://user:secret@a/b", "http://a/b c"]
)
def test_an_address_that_is_none_or_holds_a_password_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        HttpReward(url=url)


def test_half_a_surrogate_pair_can_be_sent() -> None:
    assert server(lengths)(["\ud800"], ["ab\udfff"]) == [3.0]


@contextmanager
def raw_server(reply: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads a request and then does what it is told, on real sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def work() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(20)
                connection.recv(65536)
                reply(connection)

        thread = threading.Thread(target=work)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/rewards"
        thread.join(30)


def test_a_late_answer_is_a_time_out_on_real_sockets() -> None:
    done = threading.Event()

    def silent(connection: socket.socket) -> None:
        del connection
        done.wait(20)

    with raw_server(silent) as url:
        reward = RewardServer(HttpReward(url=url, read_seconds=0.2, retries=0))
        assert "did not answer within 0.2 s, once in all" in refusal(reward)
        reward.close()
        done.set()


def test_an_answer_that_trickles_in_is_a_time_out_too() -> None:
    done = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while not done.wait(0.05):
            connection.sendall(b" ")

    with raw_server(trickle) as url:
        reward = RewardServer(HttpReward(url=url, read_seconds=0.4, retries=0))
        assert "did not answer within 0.4 s" in refusal(reward)
        reward.close()
        done.set()


def test_a_connection_that_breaks_off_cannot_be_reached() -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")

    with raw_server(cut) as url:
        reward = RewardServer(HttpReward(url=url, retries=0))
        assert "cannot be reached" in refusal(reward)
        reward.close()
