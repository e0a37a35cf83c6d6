"""Recomputed log-probabilities belong to the row alone, whatever it is batched and padded with."""

import math

import pytest
import torch
from tests.unit.models.architectures import (
    ARCHITECTURES,
    EOS,
    PAD,
    VOCABULARY,
    causal_lm,
    logprobs_alone,
    token_lists,
)

from assent.models.heads import ValueHead, hidden_size
from assent.models.scoring import chunks, score
from assent.models.tokens import Rows, join

PROMPTS = token_lists([1, 7, 3, 12], seed=1)
RESPONSES = token_lists([6, 2, 1, 4], seed=2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_left_padded_rows_score_as_each_row_alone(architecture: str, temperature: float) -> None:
    model = causal_lm(architecture)
    with torch.no_grad():
        scored = score(model, join(PROMPTS, RESPONSES, PAD), temperature=temperature)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        alone = torch.tensor(logprobs_alone(model, prompt, response, temperature))
        padded = scored.logprobs[row, : len(response)]
        torch.testing.assert_close(padded, alone, rtol=0, atol=2e-5)
        assert bool((scored.logprobs[row, len(response) :] == 0).all())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_stands_in_the_padding_changes_nothing(architecture: str) -> None:
    model = causal_lm(architecture)
    rows = join(PROMPTS, RESPONSES, PAD)
    other = Rows(
        torch.where(rows.mask, rows.tokens, 17), rows.mask, rows.prompt_width, rows.response_mask
    )
    with torch.no_grad():
        first, second = (score(model, batch, temperature=1.0) for batch in (rows, other))
    torch.testing.assert_close(second.logprobs, first.logprobs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_pad_and_eos_inside_a_response_are_tokens_like_others(architecture: str) -> None:
    model = causal_lm(architecture)
    prompts = [[5, PAD, 6], [7, EOS, 8, 9, 2]]
    responses = [[4, PAD, 3, EOS, 5, EOS], [PAD, EOS, PAD]]
    with torch.no_grad():
        scored = score(model, join(prompts, responses, PAD), temperature=1.0)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        alone = torch.tensor(logprobs_alone(model, prompt, response))
        torch.testing.assert_close(scored.logprobs[row, : len(response)], alone, rtol=0, atol=2e-5)
        assert bool((scored.logprobs[row, : len(response)] < 0).all())


def test_entropies_are_of_the_distribution_each_token_was_drawn_from() -> None:
    model = causal_lm("llama")
    with torch.no_grad():
        scored = score(model, join(PROMPTS, RESPONSES, PAD), temperature=0.7, entropies=True)
        assert scored.entropies is not None
        prompt, response = PROMPTS[0], RESPONSES[0]
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0].double() / 0.7
    for place in range(len(response)):
        p = torch.softmax(logits[len(prompt) - 1 + place], dim=-1).tolist()
        expected = -sum(x * math.log(x) for x in p)
        assert scored.entropies[0, place].item() == pytest.approx(expected, abs=1e-4)
        assert 0 < expected < math.log(VOCABULARY)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_values_read_the_state_before_each_token(architecture: str) -> None:
    model = causal_lm(architecture)
    head = ValueHead(hidden_size(model))
    with torch.no_grad():
        rows = join(PROMPTS, RESPONSES, PAD)
        zeros = score(model, rows, temperature=1.0, value_head=head).values
        assert zeros is not None
        assert bool((zeros == 0).all())
        head.linear.weight.copy_(torch.linspace(-1, 1, hidden_size(model))[None])
        head.linear.bias.fill_(0.5)
        values = score(model, rows, temperature=1.0, value_head=head).values
        assert values is not None
        weight, bias = head.linear.weight[0], head.linear.bias
        for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            output = model(input_ids=torch.tensor([prompt + response]), output_hidden_states=True)
            states = output.hidden_states[-1][0, len(prompt) - 1 : -1]
            expected = states @ weight + bias
            torch.testing.assert_close(values[row, : len(response)], expected, rtol=0, atol=2e-4)
            assert bool((values[row, len(response) :] == 0).all())


def test_gradients_reach_the_model_from_response_tokens_only() -> None:
    model = causal_lm("llama")
    rows = join([[4, 5], [6, 7, 8]], [[9], [10, 11]], PAD)
    scored = score(model, rows, temperature=1.0)
    embeddings = model.get_input_embeddings().weight
    assert isinstance(embeddings, torch.Tensor)
    (gradient,) = torch.autograd.grad(scored.logprobs.sum(), embeddings)
    assert bool(torch.isfinite(gradient).all())
    # The last token predicts nothing, and padding is looked at by nobody.
    touched = {int(token) for token in gradient.abs().sum(1).nonzero().flatten()}
    assert touched == {4, 5, 6, 7, 8, 10}


def test_bfloat16_stays_near_float32_and_returns_float32() -> None:
    model = causal_lm("llama", spread=0.15)
    rows = join(PROMPTS, RESPONSES, PAD)
    head = ValueHead(hidden_size(model))
    with torch.no_grad():
        precise = score(model, rows, temperature=1.0)
        rough = score(model, rows, temperature=1.0, value_head=head, precision="bfloat16")
    assert rough.logprobs.dtype == torch.float32
    assert rough.values is not None
    assert rough.values.dtype == torch.float32
    difference = (rough.logprobs - precise.logprobs).abs().max().item()
    assert 0 < difference < 0.05


def test_chunks_cover_everything_once() -> None:
    for count, size in ((0, 3), (7, 3), (6, 3), (2, 9), (5, None), (0, None)):
        covered = [i for part in chunks(count, size) for i in range(count)[part]]
        assert covered == list(range(count))
        assert all(part.stop - part.start <= (size or count) for part in chunks(count, size))
