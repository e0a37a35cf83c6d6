"""Chats are read as their template says, everywhere alike, and prompts are prefixes of rows."""

import pytest
import torch
from tests.chat_fixtures import TEMPLATES, bpe_tokenizer
from tests.unit.models.architectures import causal_lm
from transformers import GenerationConfig, PreTrainedTokenizerBase

from assent.errors import DataError
from assent.models.chat import render, turn_end
from assent.models.sampling import sample
from assent.models.tokens import (
    decode_responses,
    encode,
    encode_prompts,
    encode_responses,
    end_ids,
    leading_ids,
    rows_of,
)
from assent.types import ChatPrompt, Message

USER = Message("user", " What is the bridge of Fernby? ")
SYSTEM = Message("system", "Be brief.")
ASKED = ChatPrompt([USER])
WITH_SYSTEM = ChatPrompt([SYSTEM, USER])
LONGER = ChatPrompt([SYSTEM, USER, Message("assistant", "Stone. "), Message("user", "Sure?")])
KINDS = [(name, bos) for name in (*TEMPLATES, None) for bos in (False, True)]


def words(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids))


def test_a_chatml_prompt_is_its_turns_and_the_beginning_of_the_answer() -> None:
    tokenizer = bpe_tokenizer("chatml")
    assert render(tokenizer, WITH_SYSTEM) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n What is the bridge of Fernby? <|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_template_is_transformers_own_where_it_takes_every_turn() -> None:
    for name in ("chatml", "brackets", "forgetful"):
        tokenizer = bpe_tokenizer(name)
        turns = [{"role": "user", "content": USER.content}]
        expected = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_dict=False
        )
        assert encode_prompts(tokenizer, [ASKED]) == [expected]


@pytest.mark.parametrize("name", ["brackets", "forgetful"])
def test_a_system_turn_that_is_refused_or_left_out_begins_the_users(name: str) -> None:
    shown = render(bpe_tokenizer(name), WITH_SYSTEM)
    assert "Be brief.\n\n What is the bridge of Fernby?" in shown
    assert shown.count("Be brief.") == 1


@pytest.mark.parametrize(("name", "bos"), KINDS)
@pytest.mark.parametrize("prompt", [ASKED, WITH_SYSTEM, LONGER, "A plain text"])
def test_there_is_never_more_than_one_bos(name: str | None, bos: bool, prompt: str) -> None:
    tokenizer = bpe_tokenizer(name, adds_bos=bos)
    (ids,) = encode_prompts(tokenizer, [prompt])
    of_template = name in ("brackets", "forgetful")
    wanted = of_template if name and isinstance(prompt, ChatPrompt) else bos
    assert ids.count(tokenizer.bos_token_id) == wanted
    assert ids[0] == tokenizer.bos_token_id or not wanted


def test_a_plain_text_that_brings_its_bos_gets_no_second_one() -> None:
    tokenizer = bpe_tokenizer(None, adds_bos=True)
    assert leading_ids(tokenizer) == [2]
    (without, with_one) = encode_prompts(tokenizer, ["hello", "<s>hello"])
    assert without == with_one == [2, *encode(tokenizer, ["hello"])[0]]


@pytest.mark.parametrize(("name", "bos"), KINDS)
def test_a_prompts_tokens_are_the_beginning_of_the_row(name: str | None, bos: bool) -> None:
    """`forgetful` writes a past answer otherwise than it begins one: its prefix is no prefix."""
    tokenizer = bpe_tokenizer(name, adds_bos=bos)
    prompts = [ASKED, LONGER, "A plain text", "Question: 12 + 30 =="]
    responses = ["It may be stone.", "naïve ", "", " 42"]
    rows = rows_of(tokenizer, prompts, responses)
    alone = encode_prompts(tokenizer, prompts)
    for number, prompt in enumerate(alone):
        row = rows.tokens[number][rows.mask[number]].tolist()
        assert row[: len(prompt)] == prompt
        end = turn_end(tokenizer) if number < 2 and name else int(tokenizer.eos_token_id)
        assert row[-1] == end
        assert row[len(prompt) : -1] == encode(tokenizer, [responses[number]])[0]
    whole = decode_responses(tokenizer, rows.responses, rows.response_mask)
    assert whole == responses


def test_the_end_of_a_turn_is_the_templates_or_eos() -> None:
    ends = {name: bpe_tokenizer(name) for name in (*TEMPLATES, None)}
    shown = {name: words(one, [turn_end(one)]) for name, one in ends.items()}
    assert shown == {
        "chatml": "<|im_end|>",
        "brackets": "<|endoftext|>",
        "forgetful": "<|im_end|>",
        None: "<|endoftext|>",
    }


def test_a_plain_prompt_ends_with_eos_and_a_chat_with_its_turn() -> None:
    tokenizer = bpe_tokenizer("chatml")
    chat, plain, cut = encode_responses(
        tokenizer, ["yes", "yes", "yes"], [True, True, False], prompts=[ASKED, "plain", ASKED]
    )
    assert chat[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert plain[-1] == tokenizer.eos_token_id
    assert chat[:-1] == plain[:-1] == cut


def test_any_end_token_of_the_models_list_ends_a_response_but_no_word_does() -> None:
    tokenizer = bpe_tokenizer("chatml")
    model = causal_lm("llama", vocabulary=len(tokenizer))
    word = tokenizer.convert_tokens_to_ids("a")
    marks = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
    start, end, eos = (tokenizer.get_vocab()[mark] for mark in marks)
    model.generation_config = GenerationConfig(eos_token_id=[start, word])  # type: ignore[no-untyped-call]
    assert end_ids(tokenizer, model) == (eos, end, start)
    model.generation_config = GenerationConfig(eos_token_id=word)  # type: ignore[no-untyped-call]
    assert end_ids(tokenizer, model) == (eos, end)
    assert end_ids(bpe_tokenizer(None)) == (eos,)


def test_sampling_stops_at_whichever_end_comes_first() -> None:
    tokenizer = bpe_tokenizer("chatml", vocabulary=300)
    model = causal_lm("llama", vocabulary=len(tokenizer), spread=0.05)
    ends = end_ids(tokenizer, model)

    def draw(stops: tuple[int, ...]) -> list[list[int]]:
        rollouts = sample(
            model, encode_prompts(tokenizer, [ASKED] * 64), eos_id=stops, pad_id=0,
            max_new_tokens=40, temperature=1.5, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        rows = rollouts.rows
        kept = [
            row[keep].tolist() for row, keep in zip(rows.responses, rows.response_mask, strict=True)
        ]
        for ids, finished in zip(kept, rollouts.finished.tolist(), strict=True):
            assert (ids[-1] in stops) == finished
            assert not set(ids[:-1]) & set(stops)
            assert finished or len(ids) == 40
        return kept

    last = {ids[-1] for ids in draw(ends)}
    assert set(ends) <= last
    assert any(ends[1] in ids for ids in draw(ends[:1])), "one that does not stop is drawn past"


@pytest.mark.parametrize("name", [*TEMPLATES, None])
def test_turns_that_ask_nothing_are_refused(name: str | None) -> None:
    tokenizer = bpe_tokenizer(name)
    with pytest.raises(DataError, match="has no turn"):
        encode_prompts(tokenizer, [ChatPrompt([])])
    with pytest.raises(DataError, match=r"ends with the assistant's turn: 'Stone. '"):
        encode_prompts(tokenizer, [ChatPrompt(LONGER.messages[:3])])


def test_a_template_that_refuses_the_turns_is_one_line() -> None:
    tokenizer = bpe_tokenizer(None)
    tokenizer.chat_template = "{{ raise_exception('turns must\nalternate') }}"
    for prompt in (ASKED, WITH_SYSTEM):
        with pytest.raises(DataError, match=r"refuses the turns .*user: turns must alternate"):
            encode_prompts(tokenizer, [prompt])
    tokenizer.chat_template = "{{ unclosed"
    with pytest.raises(DataError, match="refuses the turns user"):
        encode_prompts(tokenizer, [ASKED])


def test_a_broken_template_leaves_plain_prompts_alone() -> None:
    tokenizer = bpe_tokenizer(None)
    tokenizer.chat_template = "{{ unclosed"
    assert encode_prompts(tokenizer, ["hello"]) == encode(tokenizer, ["hello"])
    assert end_ids(tokenizer) == (tokenizer.eos_token_id,)


def test_without_a_template_turns_read_as_the_prompts_text() -> None:
    tokenizer = bpe_tokenizer(None)
    assert render(tokenizer, WITH_SYSTEM) == str(WITH_SYSTEM)
    assert str(ASKED) == "Human:\n What is the bridge of Fernby? \n\nAssistant:\n"


def test_half_a_surrogate_pair_is_refused_by_number() -> None:
    with pytest.raises(DataError, match=r"text 1 holds half of a surrogate pair: 'a\\ud800'"):
        encode(bpe_tokenizer(None), ["fine", "a\ud800"])
