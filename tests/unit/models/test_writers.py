"""Writers: what an endpoint is sent, how its answers are read, and what a local model chooses."""

import math
import socket
from typing import Any

import httpx
import pytest
import torch
from tests.scripted_endpoint import scripted
from tests.training_fixtures import TOKENIZER, small_policy

from assent.config.writers import LocalWriter, OpenAiWriter
from assent.errors import ConfigError, WriterError
from assent.models.scoring import score
from assent.models.tokens import rows_of
from assent.models.writers import EndpointWriter, ModelWriter, as_request, open_writer, read_option
from assent.types import Unanswered


def writer(settings: dict[str, Any]) -> EndpointWriter:
    return EndpointWriter(OpenAiWriter.model_validate(settings), pause=lambda _: None)


def local(**given: Any) -> ModelWriter:
    settings = LocalWriter.model_validate({"form": "text", "max_new_tokens": 8, **given})
    return ModelWriter(small_policy(), TOKENIZER, settings, {"model": "small"})


def test_a_chat_and_a_text_go_to_their_own_addresses_with_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUDGE_TOKEN", "secret")
    with scripted(str.upper) as endpoint:
        asked = writer(endpoint.settings(token_variable="JUDGE_TOKEN", stop=("!",), parallel=1))
        answers = asked.write([as_request("hello", "chat"), as_request("go on!", "text")], [1, 2])
    assert answers == ["HELLO", "GO ON"]
    assert endpoint.paths == ["/v1/chat/completions", "/v1/completions"]
    assert endpoint.tokens == ["Bearer secret"] * 2
    chat, text = endpoint.asked
    assert chat["messages"] == [{"role": "user", "content": "hello"}]
    assert text["prompt"] == "go on!"
    assert (chat["model"], chat["stop"], chat["seed"]) == ("scripted", ["!"], 1)
    assert "secret" not in str(asked.identity)


def test_the_query_of_an_address_stays_at_its_end() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, json={"choices": [{"message": {"content": "x"}}]})

    settings = OpenAiWriter(url="http://judge.example/v1/?api-version=2", model="m")
    asked = EndpointWriter(settings, transport=httpx.MockTransport(answer))
    assert asked.write([as_request("p", "chat")], [0]) == ["x"]
    assert seen == ["http://judge.example/v1/chat/completions?api-version=2"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("A", 0),
        (" (B). ", 1),
        ("**B**", 1),
        ("Response B is more honest.", 1),
        ("The answer is A, since B makes things up.", 0),
        ("Answer: B", 1),
        ("I prefer response A", 0),
        ("Let me see. B is vague. A is not. My choice: (A)", 0),
        ("Both A and B are fine", None),
        ("a good one", None),
        ("", None),
        ("I cannot help with that.", None),
    ],
)
def test_a_choice_is_read_off_a_text_or_not_at_all(text: str, place: int | None) -> None:
    assert read_option(text, ("A", "B")) == place


def test_longer_options_are_read_in_any_case() -> None:
    assert read_option("yes, it does", ("Yes", "No")) == 0
    assert read_option("NO", ("Yes", "No")) == 1
    assert read_option("yes and no", ("Yes", "No")) is None


def test_choices_are_probabilities_where_the_endpoint_gives_them() -> None:
    tops = [{"token": " A", "logprob": math.log(0.6)}, {"token": "B", "logprob": math.log(0.2)}]
    tops += [{"token": "The", "logprob": math.log(0.2)}]

    def reply(prompt: str) -> dict[str, Any]:
        if "plain" in prompt:
            given = {one["token"]: one["logprob"] for one in tops}
            return {"text": " A", "logprobs": {"top_logprobs": [given]}}
        return {"message": {"content": "A"}, "logprobs": {"content": [{"top_logprobs": tops}]}}

    with scripted(reply) as endpoint:
        asked = writer(endpoint.settings(logprobs=True, parallel=1))
        prompts = [as_request("which?", "chat"), as_request("plain", "text")]
        answers = asked.choose(prompts, ("A", "B"), [0, 0])
    for answer in answers:
        assert answer == pytest.approx([0.75, 0.25])
    assert endpoint.asked[0]["top_logprobs"] == endpoint.asked[1]["logprobs"] == 20


def test_an_answer_without_the_logprobs_asked_for_is_read_as_text() -> None:
    with scripted(lambda _: "B") as endpoint:
        asked = writer(endpoint.settings(logprobs=True))
        assert asked.choose([as_request("which?", "chat")], ("A", "B"), [0]) == [[0.0, 1.0]]


def test_nonsense_is_no_choice_and_says_what_came() -> None:
    with scripted(lambda _: "As a model\nI have no opinion") as endpoint:
        (answer,) = writer(endpoint.settings()).choose([as_request("?", "chat")], ("A", "B"), [0])
    assert answer == Unanswered("nonsense", "As a model I have no opinion")


def test_an_empty_text_is_nonsense_and_a_null_one_too() -> None:
    with scripted(lambda prompt: {"message": {"content": None if "x" in prompt else " "}}) as made:
        asked = writer(made.settings())
        answers = asked.write([as_request("x", "chat"), as_request("y", "chat")], [0, 0])
    assert answers == [Unanswered("nonsense", "no text")] * 2


def test_what_no_database_holds_is_made_visible() -> None:
    with scripted(lambda _: "a\x00b\ud800c") as endpoint:
        (text,) = writer(endpoint.settings()).write([as_request("x", "chat")], [0])
    assert text == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"


def test_an_answer_that_never_comes_is_counted_and_the_others_are_kept() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if b"slow" in request.content:
            message = "timed out"
            raise httpx.ReadTimeout(message)
        return httpx.Response(200, json={"choices": [{"message": {"content": "fine"}}]})

    settings = OpenAiWriter(url="http://judge.example/v1", model="m", retries=2)
    pauses: list[float] = []
    asked = EndpointWriter(settings, transport=httpx.MockTransport(answer), pause=pauses.append)
    slow, fast = asked.write([as_request("slow", "chat"), as_request("fast", "chat")], [0, 0])
    assert isinstance(slow, Unanswered)
    assert slow.reason == "late"
    assert fast == "fine"
    assert len(pauses) == 2


def test_an_endpoint_that_is_away_or_refuses_is_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    gone = writer({"kind": "openai", "url": url, "model": "m", "retries": 1})
    with pytest.raises(WriterError, match=r"cannot be reached .*, 2 times in all"):
        gone.write([as_request("x", "chat")], [0])
    with (
        scripted(lambda _: 401) as endpoint,
        pytest.raises(WriterError, match=r"the endpoint .* answered 401: .*no"),
    ):
        writer(endpoint.settings()).write([as_request("x", "chat")], [0])


def test_an_answer_of_another_shape_is_one_line() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"rewards": [1]})

    settings = OpenAiWriter(url="http://judge.example/v1", model="m")
    asked = EndpointWriter(settings, transport=httpx.MockTransport(answer))
    with pytest.raises(WriterError, match="answers nothing like chat/completions"):
        asked.write([as_request("x", "chat")], [0])


def test_a_token_variable_that_is_not_set_is_named() -> None:
    settings = OpenAiWriter(url="http://judge.example/v1", model="m", token_variable="NO_SUCH")
    with pytest.raises(ConfigError, match=r"ilf\.judge\.token_variable: NO_SUCH is not set"):
        open_writer(settings, own=None, identity={}, device=torch.device("cpu"), key="ilf.judge")


def test_a_local_choice_is_the_share_of_the_options_probabilities() -> None:
    model, options = small_policy(), ("a", "bc")
    prompts = ["abc", "hh"]
    found = local().choose(prompts, options, [0, 0])
    for prompt, shares in zip(prompts, found, strict=True):
        assert not isinstance(shares, Unanswered)
        # The letters' tokenizer reads the space before an option as its unknown token, `a`.
        rows = rows_of(TOKENIZER, [prompt] * 2, [f" {one}" for one in options], [False] * 2)
        with torch.no_grad():
            exact = score(model, rows, temperature=1.0).logprobs.sum(1).exp()
        assert shares == pytest.approx((exact / exact.sum()).tolist(), rel=1e-4)


def test_a_local_text_ends_before_its_stop_and_the_same_seeds_write_the_same() -> None:
    prompts, seeds = ["abc", "de", "f"], [1, 2, 3]
    whole = local().write(prompts, seeds)
    assert whole == local().write(prompts, seeds)
    assert whole != local().write(prompts, [4, 5, 6])
    cut = local(stop=("a",)).write(prompts, seeds)
    for text, short in zip(whole, cut, strict=True):
        assert isinstance(text, str)
        assert short == text.partition("a")[0]
    assert any("a" in str(text) for text in whole)


def test_a_prompt_that_leaves_no_room_is_not_cut() -> None:
    long, short = local().write(["a" * 60, "b"], [0, 0])
    assert long == Unanswered("too_long")
    assert isinstance(short, str)
    assert local().choose(["a" * 64], ("b",), [0]) == [Unanswered("too_long")]
