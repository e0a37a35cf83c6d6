"""Texts become rows that meet in the middle, and come back."""

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from assent.models.tokens import decode_responses, encode, encode_responses, join, rows_of
from assent.worlds.almanac import World, build_tokenizer

TOKENIZER = build_tokenizer()
EOS = TOKENIZER.eos_token_id
PAD = TOKENIZER.pad_token_id
PROMPT = World(0).prompts("test")[0].text


def test_prompts_end_and_responses_begin_in_the_same_column() -> None:
    rows = join([[5], [6, 7, 8]], [[9, 1, 1], [3]], pad_id=0)
    assert rows.tokens.tolist() == [[0, 0, 5, 9, 1, 1], [6, 7, 8, 3, 0, 0]]
    assert rows.mask.tolist() == [[False, False, True, True, True, True], [True] * 4 + [False] * 2]
    assert rows.prompt_width == 3
    assert rows.responses.tolist() == [[9, 1, 1], [3, 0, 0]]
    assert rows.response_mask.tolist() == [[True] * 3, [True, False, False]]


def test_selected_rows_keep_their_padding() -> None:
    rows = join([[5], [6, 7, 8], [2]], [[9], [3], [4]], pad_id=0)
    some = rows.select([2, 0])
    assert some.tokens.tolist() == [[0, 0, 2, 4], [0, 0, 5, 9]]
    assert some.prompt_width == 3
    assert rows.select(torch.tensor([2, 0])).mask.tolist() == some.mask.tolist()


def test_a_response_ends_in_exactly_one_eos_unless_it_was_cut_off() -> None:
    ended, cut, has_one = encode_responses(
        TOKENIZER, [" It is Esk.", " It is", " It is Esk.<eos>"], [True, False, True]
    )
    assert ended.count(EOS) == 1
    assert ended[-1] == EOS
    assert EOS not in cut
    assert has_one == ended
    assert encode_responses(TOKENIZER, [""]) == [[EOS]]
    with pytest.raises(ValueError, match="shorter"):
        encode_responses(TOKENIZER, ["a", "b"], [True])


def test_nothing_is_added_to_a_prompt() -> None:
    (ids,) = encode(TOKENIZER, [PROMPT])
    assert TOKENIZER.decode(ids) == PROMPT
    assert not {EOS, PAD} & set(ids)
    assert encode(TOKENIZER, []) == []


def test_what_a_tokenizer_would_add_by_itself_is_left_out() -> None:
    """A second BOS, after the one a chat template writes, would shift everything."""
    adding = build_tokenizer()
    adding.backend_tokenizer.post_processor = TemplateProcessing(
        single="<unk> $A <eos>", special_tokens=[("<unk>", 2), ("<eos>", EOS)]
    )
    (alone,) = adding([PROMPT])["input_ids"]
    (plain,) = encode(TOKENIZER, [PROMPT])
    assert alone == [2, *plain, EOS], "this one does add"
    assert encode(adding, [PROMPT]) == [plain]
    assert encode_responses(adding, [" It is Esk."]) == encode_responses(TOKENIZER, [" It is Esk."])


def test_responses_come_back_as_text_by_the_mask() -> None:
    texts = [" It is certainly Esk.", " I do not know."]
    rows = rows_of(TOKENIZER, [PROMPT, PROMPT], texts)
    assert decode_responses(TOKENIZER, rows.responses, rows.response_mask) == texts
    shown = rows.responses.masked_fill(~rows.response_mask, int(rows.responses[0, 0]))
    assert decode_responses(TOKENIZER, shown, rows.response_mask) == texts
