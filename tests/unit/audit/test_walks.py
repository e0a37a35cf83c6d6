"""The exact worth of a policy's walks, against its samples."""

import math

import pytest
import torch

from assent.audit.walks import measure_walks
from assent.models.loading import new_llama
from assent.models.sampling import sample
from assent.models.tokens import decode_responses, encode_prompts
from assent.objectives.seeds import generator
from assent.worlds.walks import WalksWorld, build_tokenizer

WORLD = WalksWorld()
TOKENIZER = build_tokenizer(WORLD.letters)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_expectation_is_what_samples_come_to(temperature: float) -> None:
    policy = new_llama(
        TOKENIZER, hidden_size=16, intermediate_size=16, layers=1, heads=2, max_positions=16,
        initial_std=0.3, seed=2,
    )  # fmt: skip
    found = measure_walks(policy, TOKENIZER, WORLD, temperature=temperature)
    start = max(found.arrives, key=found.arrives.__getitem__)
    assert 0.01 < found.arrives[start] < 0.99, "or the test shows nothing"
    rollouts = sample(
        policy, encode_prompts(TOKENIZER, [start] * 20_000), eos_id=int(TOKENIZER.eos_token_id),
        pad_id=int(TOKENIZER.pad_token_id), max_new_tokens=10, temperature=temperature,
        generator=generator(1),
    )  # fmt: skip
    said = decode_responses(TOKENIZER, rollouts.rows.responses, rollouts.rows.response_mask)
    worth = torch.tensor(WORLD.reward([start] * len(said), said))
    error = 4 * float(worth.std()) / math.sqrt(len(said))
    assert found.optimality[start] == pytest.approx(float(worth.mean()), abs=error)
    arrived = float((worth > 0).float().mean())
    assert found.arrives[start] == pytest.approx(arrived, abs=0.02)
    assert found.mean_optimality <= found.mean_arrives <= 1
