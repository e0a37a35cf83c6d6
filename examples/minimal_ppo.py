"""PPO in one page: the whole of reinforcement learning from a reward, with nothing left out.

    python examples/minimal_ppo.py

A tiny language model over sixteen "words" is paid for every even word it says and charged for every
odd one, and held near what it said at first by a KL penalty. Each step below is one of Assent's
tested functions; `assent.training.ppo` is the same loop with checkpoints, micro-batches, adapters
and metrics. A few seconds on one core.
"""

import copy
import sys

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from assent.models.heads import ValueHead
from assent.models.sampling import sample
from assent.models.scoring import score
from assent.objectives.advantages import gae, shaped_rewards
from assent.objectives.kl import k1
from assent.objectives.masks import masked_whiten
from assent.objectives.policy_losses import ppo_policy_loss, value_loss

PAD, EOS, WORDS = 0, 1, 16
KL_COEF, UPDATES, ROLLOUTS, EPOCHS = 0.05, 40, 64, 2


def reward(responses: Tensor, mask: Tensor) -> Tensor:
    """Even words minus odd ones, over the length; the end token is neither."""
    sign = torch.where(responses % 2 == 0, 1.0, -1.0) * (responses != EOS) * mask
    return sign.sum(1) / mask.sum(1)


def main() -> tuple[float, float]:
    """Train; the mean reward before and after."""
    torch.manual_seed(0)
    policy = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=WORDS, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=32, bos_token_id=None,
            eos_token_id=EOS, pad_token_id=PAD,
        )
    ).eval()  # fmt: skip
    reference = copy.deepcopy(policy).requires_grad_(requires_grad=False)
    value_head = ValueHead(32)
    parameters = [*policy.parameters(), *value_head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=3e-3, eps=1e-5)
    generator = torch.Generator().manual_seed(0)
    means = []
    for update in range(UPDATES):
        # 1. Sample from the policy as it is, and remember what each word was worth to it.
        prompts = [[2 + n % 4] for n in range(ROLLOUTS)]
        rows = sample(
            policy, prompts, eos_id=EOS, pad_id=PAD, max_new_tokens=12, temperature=1.0,
            generator=generator,
        ).rows  # fmt: skip
        mask = rows.response_mask
        with torch.no_grad():
            old = score(policy, rows, temperature=1.0, value_head=value_head)
            held = score(reference, rows, temperature=1.0)
        assert old.values is not None

        # 2. The reward comes at the end of a response; leaving the reference costs at every word.
        paid = reward(rows.responses, mask)
        rewards = shaped_rewards(paid, old.logprobs, held.logprobs, mask, kl_coef=KL_COEF)

        # 3. Advantages: how much better than expected each word turned out.
        found = gae(rewards, old.values, mask, discount=1.0, gae_lambda=0.95)
        advantages = masked_whiten(found.advantages, mask)

        # 4. A few steps that make better words likelier, clipped where they would go too far.
        for _ in range(EPOCHS):
            new = score(policy, rows, temperature=1.0, value_head=value_head)
            assert new.values is not None
            policy_part = ppo_policy_loss(
                new.logprobs, old.logprobs, advantages, mask, clip_range=0.2
            )
            value_part = value_loss(new.values, old.values, found.returns, mask, clip_range=0.2)
            optimiser.zero_grad()
            torch.autograd.backward(policy_part.loss + 0.5 * value_part.loss)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()

        means.append(float(paid.mean()))
        if update % 5 == 0 or update == UPDATES - 1:
            kl_nats = float(k1(old.logprobs, held.logprobs).sum(1).mean())
            sys.stdout.write(f"update {update:2}: reward {means[-1]:5.2f}, KL {kl_nats:5.2f}\n")
    return means[0], means[-1]


if __name__ == "__main__":
    main()
