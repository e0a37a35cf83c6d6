"""What is estimated where no truth is known: exact where it can be, and the same every time."""

from collections.abc import Sequence

import pytest
import torch
from tests.chat_fixtures import bpe_tokenizer
from tests.unit.models.architectures import causal_lm

from assent.audit.sampled import MeasuredPrompt, SampledMeasure
from assent.config.ppo import SamplingSettings
from assent.models.tokens import encode_prompts
from assent.objectives.kl import categorical_kl

TOKENIZER = bpe_tokenizer(None)
PROMPTS = [
    MeasuredPrompt("The inn of Fernby", "plain", "inn"),
    MeasuredPrompt("The well of Fernby is", "user", "well"),
    MeasuredPrompt("Being brief", "user", "brief"),
]


def measure(tokens: int, temperature: float = 1.0) -> SampledMeasure:
    return SampledMeasure(
        TOKENIZER,
        causal_lm("llama", vocabulary=len(TOKENIZER)),
        PROMPTS,
        SamplingSettings(max_new_tokens=tokens, temperature=temperature),
        seed=4,
    )


def reward(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    assert len(prompts) == len(responses)
    return [float(len(response)) for response in responses]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_of_one_token_kl_and_entropy_are_exact(temperature: float) -> None:
    policy = causal_lm("gpt2", vocabulary=len(TOKENIZER))
    instrument = measure(1, temperature)
    found = instrument.measure(policy, reward).figures
    kls, entropies = [], []
    for ids in encode_prompts(TOKENIZER, [prompt.text for prompt in PROMPTS]):
        with torch.no_grad():
            ours, theirs = (
                torch.log_softmax(model(torch.tensor([ids])).logits[0, -1] / temperature, -1)
                for model in (policy, instrument.reference)
            )
        kls.append(float(categorical_kl(ours, theirs)))
        entropies.append(float(-(ours.exp() * ours).sum()))
    assert found["kl_nats"] == pytest.approx(sum(kls) / 3, rel=1e-4)
    assert found["entropy_nats"] == pytest.approx(sum(entropies) / 3, rel=1e-4)
    assert found["length"] == 1
    assert found["by_kind"]["plain"]["kl_nats"] == pytest.approx(kls[0], rel=1e-4)
    assert found["by_kind"]["user"]["n"] == 2


def test_the_reference_is_no_nats_from_itself() -> None:
    instrument = measure(6)
    found = instrument.measure(instrument.reference, reward).figures
    assert found["kl_nats"] == pytest.approx(0, abs=1e-6)
    assert found["kl_ci"] == pytest.approx([0, 0], abs=1e-6)


def test_the_same_policy_gives_the_same_figures_and_the_reward_sees_the_responses() -> None:
    instrument = measure(6)
    policy = causal_lm("qwen2", vocabulary=len(TOKENIZER))
    one, other = (instrument.measure(policy, reward) for _ in range(2))
    assert one == other
    lengths = [len(response) for response in one.responses]
    assert one.figures["proxy_mean"] == pytest.approx(sum(lengths) / 3)
    assert 0 <= one.figures["finished"] <= 1


def test_one_prompt_of_a_kind_has_no_interval() -> None:
    found = measure(2).measure(causal_lm("gpt2", vocabulary=len(TOKENIZER)), reward).figures
    assert found["by_kind"]["plain"]["proxy_ci"] is None
    assert found["proxy_ci"][0] <= found["proxy_mean"] <= found["proxy_ci"][1]
