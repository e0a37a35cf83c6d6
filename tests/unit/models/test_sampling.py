"""Samples come from the distribution that scoring recomputes, and end where they end."""

import pytest
import torch
from scipy.stats import chisquare
from tests.unit.models.architectures import (
    ARCHITECTURES,
    EOS,
    PAD,
    VOCABULARY,
    build,
    causal_lm,
    logprobs_alone,
    token_lists,
)
from transformers import (
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from assent.errors import NonFinite
from assent.models import kernels, sampling
from assent.models.llama_decoding import LlamaWriter
from assent.models.sampling import Rollouts, sample
from assent.models.scoring import score
from assent.objectives.seeds import generator

PROMPTS = token_lists([1, 9, 4, 6, 2, 11], seed=3)


def draw(
    model: PreTrainedModel,
    prompts: list[list[int]] = PROMPTS,
    *,
    seed: int = 0,
    longest: int = 12,
    temperature: float = 1.0,
    eos_id: int = EOS,
) -> Rollouts:
    return sample(
        model,
        prompts,
        eos_id=eos_id,
        pad_id=PAD,
        max_new_tokens=longest,
        temperature=temperature,
        generator=generator("test", seed),
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_kept_logprobs_are_those_of_scoring_and_of_the_row_alone(
    architecture: str, temperature: float
) -> None:
    model = causal_lm(architecture)
    drawn = draw(model, temperature=temperature)
    with torch.no_grad():
        again = score(model, drawn.rows, temperature=temperature)
    ratio = (again.logprobs - drawn.logprobs).exp()
    assert (ratio - 1).abs().max().item() < 1e-4
    for row, prompt in enumerate(PROMPTS):
        kept = drawn.rows.response_mask[row]
        response = drawn.rows.responses[row][kept].tolist()
        alone = torch.tensor(logprobs_alone(model, prompt, response, temperature))
        torch.testing.assert_close(drawn.logprobs[row][kept], alone, rtol=0, atol=1e-4)


def test_another_temperature_than_the_sampler_used_is_seen() -> None:
    model = causal_lm("llama")
    drawn = draw(model, temperature=0.7)
    with torch.no_grad():
        wrong = score(model, drawn.rows, temperature=1.0)
    assert ((wrong.logprobs - drawn.logprobs).exp() - 1).abs().max().item() > 0.01


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_frequencies_of_one_token_are_the_scored_probabilities(temperature: float) -> None:
    """Chi-square at a fixed seed: it would fail for a truncated or untempered distribution."""
    model = causal_lm("gpt2", spread=0.2)
    count = 4000
    prompt = [5, 3, 8]
    drawn = draw(model, [prompt] * count, longest=1, temperature=temperature)
    tokens = drawn.rows.responses[:, 0]
    seen = torch.bincount(tokens, minlength=VOCABULARY).double()
    logprobs = [logprobs_alone(model, prompt, [t], temperature)[0] for t in range(VOCABULARY)]
    expected = count * torch.tensor(logprobs, dtype=torch.float64).exp()
    assert expected.min().item() > 1, "the model must not be so sure that cells are empty"
    assert chisquare(seen.numpy(), expected.numpy(), sum_check=False).pvalue > 0.01
    flat = count * torch.softmax(torch.tensor(logprobs, dtype=torch.float64) / 1.3, dim=0)
    assert chisquare(seen.numpy(), flat.numpy(), sum_check=False).pvalue < 1e-6


def test_responses_end_with_their_first_eos_or_are_cut_off() -> None:
    model = causal_lm("llama")
    drawn = draw(model, PROMPTS * 8, longest=10)
    assert bool(drawn.finished.any()), "some responses must end"
    assert not bool(drawn.finished.all()), "and some must be cut off"
    for row in range(len(drawn.finished)):
        mask = drawn.rows.response_mask[row]
        length = int(mask.sum())
        assert mask.tolist() == [True] * length + [False] * (len(mask) - length)
        response = drawn.rows.responses[row, :length].tolist()
        if bool(drawn.finished[row]):
            assert response.index(EOS) == length - 1
        else:
            assert EOS not in response
            assert length == 10
        assert bool((drawn.rows.responses[row, length:] == PAD).all())
        assert bool((drawn.logprobs[row, :length] < 0).all())
        assert bool((drawn.logprobs[row, length:] == 0).all())


def test_prompts_stand_unchanged_before_their_responses() -> None:
    drawn = draw(causal_lm("llama"))
    width = drawn.rows.prompt_width
    assert width == max(len(prompt) for prompt in PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        mask = drawn.rows.mask[row, :width]
        assert drawn.rows.tokens[row, :width][mask].tolist() == prompt
    assert bool((drawn.rows.mask[:, width:] == drawn.rows.response_mask).all())


def test_sampling_stops_when_every_response_has_ended() -> None:
    model = causal_lm("llama")
    (favourite,) = draw(model, [PROMPTS[0]], longest=1, temperature=1e-3).rows.responses[0]
    drawn = draw(model, [PROMPTS[0]] * 3, temperature=1e-3, eos_id=int(favourite))
    assert drawn.rows.responses.tolist() == [[int(favourite)]] * 3
    assert drawn.finished.tolist() == [True] * 3


def test_a_drawn_pad_token_is_part_of_the_response() -> None:
    model = causal_lm("gpt2")
    drawn = draw(model, [[4]] * 600, longest=3)
    inside = (drawn.rows.responses == PAD) & drawn.rows.response_mask
    assert bool(inside.any())
    assert bool((drawn.logprobs[inside] < 0).all())


def test_the_same_seed_gives_the_same_rollouts_whatever_ran_before() -> None:
    model = causal_lm("llama")
    first = draw(model, seed=5)
    torch.rand(17)
    again, other = draw(model, seed=5), draw(model, seed=6)
    assert torch.equal(first.rows.tokens, again.rows.tokens)
    assert torch.equal(first.logprobs, again.logprobs)
    assert not (
        first.rows.tokens.shape == other.rows.tokens.shape
        and torch.equal(first.rows.tokens, other.rows.tokens)
    )


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_dropout_is_off_while_sampling_and_back_on_afterwards(architecture: str) -> None:
    model = causal_lm(architecture, dropout=0.5)
    quiet = draw(model)
    model.train()
    drawn = draw(model)
    assert model.training
    assert all(module.training for module in model.modules())
    assert torch.equal(drawn.rows.tokens, quiet.rows.tokens)
    assert torch.equal(drawn.logprobs, quiet.logprobs)


def test_training_mode_is_restored_when_sampling_fails() -> None:
    model = causal_lm("llama").train()
    with pytest.raises(ValueError, match="temperature"):
        draw(model, temperature=0.0)
    assert model.training


def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prompt is read for itself, every row stays, every token copies the cache."""
    monkeypatch.setattr(sampling, "is_written_packed", lambda _: False)
    monkeypatch.setattr(sampling, "can_drop_rows", lambda _: False)
    monkeypatch.setattr(sampling, "new_cache", lambda model: DynamicCache(config=model.config))


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "sliding"])
def test_shared_prompts_and_dropped_rows_change_no_response(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sliding_window() if architecture == "sliding" else causal_lm(architecture)
    prompts = [PROMPTS[0]] * 4 + PROMPTS + [PROMPTS[3]] * 2
    fast = draw(model, prompts, longest=40)
    plainly(monkeypatch)
    plain = draw(model, prompts, longest=40)
    lengths = fast.rows.response_mask.sum(1)
    assert lengths.min() < lengths.max() // 2, "rows must have left before the last ended"
    assert torch.equal(fast.rows.tokens, plain.rows.tokens)
    assert torch.equal(fast.rows.mask, plain.rows.mask)
    assert torch.equal(fast.finished, plain.finished)
    torch.testing.assert_close(fast.logprobs, plain.logprobs, rtol=0, atol=1e-4)


def test_a_prompt_that_is_asked_often_is_read_once_and_ended_rows_are_not_written_on() -> None:
    model = causal_lm("llama")
    shapes: list[tuple[int, int]] = []
    model.get_input_embeddings().register_forward_hook(
        lambda _, given, __: shapes.append(tuple(given[0].shape))
    )
    drawn = draw(model, [PROMPTS[1]] * 16, longest=60)
    assert shapes[0] == (1, len(PROMPTS[1]))
    still = [int((drawn.rows.response_mask.sum(1) > step).sum()) for step in range(1, len(shapes))]
    for (rows, width), alive in zip(shapes[1:], still, strict=True):
        assert width == 1
        assert alive <= rows <= alive / sampling.WORTH_DROPPING + 1
    assert shapes[-1][0] < shapes[1][0]


def test_a_llama_writes_only_rows_that_have_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    write = LlamaWriter.write

    def counted(writer: LlamaWriter, tokens: torch.Tensor, writing: torch.Tensor) -> None:
        counts.append(len(tokens))
        write(writer, tokens, writing)

    monkeypatch.setattr(LlamaWriter, "write", counted)
    drawn = draw(causal_lm("llama"), [PROMPTS[1]] * 16, longest=60)
    lengths = drawn.rows.response_mask.sum(1)
    for step, rows in enumerate(counts, start=1):
        alive = int((lengths > step).sum())
        assert alive <= rows <= alive / sampling.WORTH_DROPPING + 1
    assert counts[-1] < counts[0]


@pytest.mark.parametrize("longest", [3, 120])
def test_a_llama_writes_what_its_own_forward_pass_writes_however_long(
    longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the room that is made at first; no row ends before."""
    model = build(LlamaForCausalLM, llama_config())
    fast = draw(model, longest=longest, eos_id=VOCABULARY + 1)
    plainly(monkeypatch)
    plain = draw(model, longest=longest, eos_id=VOCABULARY + 1)
    assert fast.rows.tokens.shape == (len(PROMPTS), 11 + longest)
    assert torch.equal(fast.rows.tokens, plain.rows.tokens)
    torch.testing.assert_close(fast.logprobs, plain.logprobs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("operations", ["compiled", "torch"])
@pytest.mark.parametrize(("heads", "key_heads", "width"), [(8, 8, 12), (4, 2, 32), (2, 1, 258)])
def test_in_bfloat16_tokens_are_drawn_at_what_they_are_scored_at(
    operations: str, heads: int, key_heads: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampler rounds where scoring rounds.

    Where it did not, this KL was 2e-4 nats, and PPO stopped at its self-check. Heads of 258 are
    wider than attention is compiled for.
    """
    if operations == "torch":
        monkeypatch.setattr(kernels, "kernels", lambda: None)
    config = LlamaConfig(
        vocab_size=200, hidden_size=96, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=heads, num_key_value_heads=key_heads, head_dim=width,
        max_position_embeddings=256, initializer_range=0.15, pad_token_id=PAD, eos_token_id=EOS,
        bos_token_id=None,
    )  # fmt: skip
    policy = build(LlamaForCausalLM, config)
    with torch.no_grad():
        rollouts = sample(
            policy, token_lists([20, 9, 14, 11] * 8, seed=4, vocabulary=200), eos_id=EOS,
            pad_id=PAD, max_new_tokens=24, temperature=1.0, generator=generator("test", 0),
            precision="bfloat16",
        )  # fmt: skip
        again = score(policy, rollouts.rows, temperature=1.0, precision="bfloat16").logprobs
        exact = score(policy, rollouts.rows, temperature=1.0).logprobs
    real = rollouts.rows.response_mask
    off, rounding = again[real] - rollouts.logprobs[real], again[real] - exact[real]
    assert 0.5 * float(off.square().mean()) < 3e-5
    assert 0.5 * float(rounding.square().mean()) > 1e-4


def test_a_policy_that_diverged_is_not_sampled_from() -> None:
    model = causal_lm("llama")
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(NonFinite, match="NaN or infinite"):
        draw(model)


def llama_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        initializer_range=0.4, pad_token_id=PAD, eos_token_id=EOS, bos_token_id=None,
    )  # fmt: skip


def sliding_window() -> PreTrainedModel:
    config = MistralConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=96,
        initializer_range=0.4, sliding_window=6, pad_token_id=PAD, eos_token_id=EOS,
        bos_token_id=None,
    )  # fmt: skip
    return build(MistralForCausalLM, config)
