"""Reading rows without their padding gives what reading them with it gives."""

import logging

import pytest
import torch
from tests.unit.models.architectures import (
    ARCHITECTURES,
    PAD,
    causal_lm,
    reward_model,
    token_lists,
)
from torch import Tensor, nn
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel

from assent.models import scoring, states
from assent.models.heads import ValueHead, hidden_size
from assent.models.loading import score_head
from assent.models.packing import alike
from assent.models.reading import raw_outputs
from assent.models.scoring import Scored, learned_logprobs, score
from assent.models.states import head_of
from assent.models.tokens import join
from assent.objectives.language_loss import sft_loss
from assent.objectives.masks import right_pad

PROMPTS = token_lists([1, 7, 3, 12, 2, 30, 4], seed=1)
RESPONSES = token_lists([6, 2, 1, 4, 20, 3, 9], seed=2)
ROWS = join(PROMPTS, RESPONSES, PAD)


def plainly(model: PreTrainedModel, head: ValueHead | None, temperature: float) -> Scored:
    return scoring._score_plainly(model, ROWS, temperature, head, "float32", entropies=True)


def weighted(scored: Scored) -> Tensor:
    """Something of which every figure has a gradient of its own."""
    assert scored.values is not None
    weights = torch.linspace(-1, 2, ROWS.response_mask.numel()).view(ROWS.response_mask.shape)
    return (scored.logprobs * weights).sum() + (scored.values * weights.flip(1)).sum()


@pytest.mark.parametrize("spare", [1, 10_000])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_figures_and_gradients_are_those_of_the_models_own_forward_pass(
    architecture: str, spare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "SPARE_TOKENS", spare)
    model = causal_lm(architecture)
    head = ValueHead(hidden_size(model))
    with torch.no_grad():
        head.linear.weight.copy_(torch.linspace(-1, 1, hidden_size(model))[None])
    assert head_of(model) is not None
    fast = score(model, ROWS, temperature=0.7, value_head=head, entropies=True)
    plain = plainly(model, head, 0.7)
    assert fast.entropies is not None
    assert plain.entropies is not None
    assert fast.values is not None
    assert plain.values is not None
    torch.testing.assert_close(fast.logprobs, plain.logprobs, rtol=0, atol=1e-4)
    torch.testing.assert_close(fast.entropies, plain.entropies, rtol=0, atol=1e-4)
    torch.testing.assert_close(fast.values, plain.values, rtol=0, atol=2e-4)
    parameters = [*model.parameters(), *head.parameters()]
    ours = torch.autograd.grad(weighted(fast), parameters)
    theirs = torch.autograd.grad(weighted(plain), parameters)
    for one, other in zip(ours, theirs, strict=True):
        scale = max(float(other.abs().max()), 1.0)
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
def test_a_reward_model_reads_the_same_score(architecture: str) -> None:
    model = reward_model(architecture)
    with torch.no_grad():
        found = raw_outputs(model, ROWS)[:, 0]
        for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            alone = model.base_model(input_ids=torch.tensor([prompt + response]))
            expected = score_head(model)(alone.last_hidden_state[0, -1])
            assert found[row].item() == pytest.approx(expected.item(), abs=1e-4)


def test_nothing_is_computed_for_padding_beyond_what_is_spared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(states, "SPARE_TOKENS", 4)
    model = causal_lm("llama")
    head_of(model)
    shapes: list[tuple[int, int]] = []
    rows_of_head: list[int] = []
    model.get_input_embeddings().register_forward_hook(
        lambda _, given, __: shapes.append(tuple(given[0].shape))
    )
    embeddings = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert isinstance(embeddings, nn.Module)
    embeddings.register_forward_hook(lambda _, given, __: rows_of_head.append(len(given[0])))
    with torch.no_grad():
        score(model, ROWS, temperature=1.0)  # the first time, whether padding may go is tried
        shapes.clear()
        rows_of_head.clear()
        score(model, ROWS, temperature=1.0)
    real = int(ROWS.mask.sum())
    assert sum(rows * width for rows, width in shapes) <= real + 4 * len(shapes)
    assert sum(rows * width for rows, width in shapes) < ROWS.mask.numel() / 2
    assert rows_of_head == [int(ROWS.response_mask.sum())]


def test_a_model_that_caps_its_logits_is_read_whole_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = Gemma2Config(
        vocab_size=23, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=4, max_position_embeddings=96,
        final_logit_softcapping=1.5, initializer_range=1.0, pad_token_id=0, eos_token_id=1,
        bos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Gemma2ForCausalLM(config).train(mode=False)
    with caplog.at_level(logging.INFO, logger="assent.models.states"), torch.no_grad():
        found = [score(model, ROWS, temperature=1.0).logprobs for _ in range(2)]
        expected = plainly(model, None, 1.0).logprobs
    assert head_of(model) is None
    torch.testing.assert_close(found[0], expected)
    assert [record.message for record in caplog.records] == [
        "Gemma2ForCausalLM makes more of its logits than a linear layer: all of them are computed"
    ]


def test_groups_are_of_like_length_and_hold_every_row_once() -> None:
    lengths = [3, 40, 41, 5, 4, 39, 3, 40]
    groups = alike(lengths, spare=6)
    assert sorted(number for group in groups for number in group) == list(range(8))
    assert groups == [[1, 2, 5, 7], [0, 3, 4, 6]]
    assert alike(lengths, spare=10_000) == [list(range(8))]
    assert alike([5, 5, 4], spare=0) == [[0, 1], [2]]
    assert alike([], spare=9) == []


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_what_is_learned_of_texts_has_the_loss_of_its_definition(architecture: str) -> None:
    model = causal_lm(architecture)
    padded = right_pad([a + b for a, b in zip(PROMPTS, RESPONSES, strict=True)], PAD)
    starts = torch.tensor([len(prompt) for prompt in PROMPTS])
    learn = padded.mask & (torch.arange(padded.mask.shape[1])[None] >= starts[:, None])
    found = -learned_logprobs(model, padded.tokens, padded.mask, learn).sum() / 45
    logits = model(input_ids=padded.tokens, attention_mask=padded.mask.long()).logits
    expected = sft_loss(logits, padded.tokens, learn, normaliser=45)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_no_model_warns_of_padding_that_stands_behind_the_ends() -> None:
    model = causal_lm("gpt2")
    model.config.pad_token_id = PAD
    said: list[logging.LogRecord] = []
    listening = logging.Handler()
    listening.emit = said.append  # type: ignore[assignment, method-assign]
    theirs = logging.getLogger("transformers")
    logging.Logger.warning_once.cache_clear()  # type: ignore[attr-defined]
    theirs.addHandler(listening)
    try:
        score(model, ROWS, temperature=1.0)
    finally:
        theirs.removeHandler(listening)
    assert [one.getMessage() for one in said] == []
