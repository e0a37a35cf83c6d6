r"""PPO-ptx: at every step of PPO the policy also learns some of the text it was pretrained on.

.. math:: \nabla L = \nabla L_{PPO} + \gamma \, \nabla \, E_{text}[-\log \pi_\theta]

Source: Ouyang et al. 2022, eq. 2. Differs: the language loss is a mean over tokens and the policy
loss one over whitened advantages, so that gamma is of another size than the paper's 27.8.
"""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.ppo import PpoSettings
from assent.errors import DataError
from assent.models.loading import max_positions
from assent.models.tokens import encode_responses
from assent.training.batches import endless_batch
from assent.training.language import LanguagePlan, LearnedText, accumulate


class PretrainingMix:
    """Texts, and which of them are learned at which optimiser step."""

    def __init__(
        self,
        policy: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        settings: PpoSettings,
        *,
        seed: int,
    ) -> None:
        """Take the texts as tokens, each ended by eos; long ones are cut into stretches.

        Raises:
            DataError: no text has two tokens.
        """
        mix = settings.pretraining
        assert mix is not None
        longest = min(mix.max_tokens, max_positions(policy) or mix.max_tokens)
        self.examples = [
            LearnedText(tokens[start : start + longest], 0)
            for tokens in encode_responses(tokenizer, texts)
            for start in range(0, len(tokens), longest)
            if len(tokens) - start > 1  # the first token of a text is predicted by nothing
        ]
        if not self.examples:
            message = (
                f"ppo.pretraining needs texts of two tokens or more, and {len(texts)} were given; "
                "name a file of texts in ppo.pretraining.texts"
            )
            raise DataError(message)
        self.policy, self.tokenizer = policy, tokenizer
        self.coef, self.batch_size, self.seed = mix.coef, mix.batch_size, seed
        self.plan = LanguagePlan(
            stage="ppo",
            batches=(),
            micro_batch_size=settings.micro_batch_size,
            precision=settings.precision,
            checkpoint_every=1,
            optimiser=settings.optimiser,
            seed=seed,
            gradient_checkpointing=settings.gradient_checkpointing,
        )

    def add_gradient(self, step: int) -> float:
        """Add the gradient of a step's texts to what is there; their mean loss in nats a token.

        Raises:
            NonFinite: the loss is NaN or infinite.
        """
        batch = endless_batch(
            len(self.examples), self.batch_size, step, self.seed, "ppo", "pretraining"
        )
        learned = sum(len(self.examples[number].tokens) - 1 for number in batch)
        nats, _ = accumulate(
            self.policy,
            self.tokenizer,
            self.examples,
            batch,
            self.plan,
            step,
            normaliser=learned / self.coef,
        )
        return nats
