"""Our side of the comparison: one job, a timed unit at each turn. Runs in Assent's environment."""

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import material as m
import torch
from turns import Turns, say

from assent.config.optimiser import OptimiserSettings
from assent.config.policy_gradient import PolicyGradientSettings
from assent.config.ppo import PpoSettings, SamplingSettings, SeparateValue
from assent.config.preference import DpoSettings
from assent.config.reward import RewardSettings
from assent.config.sft import SftSettings
from assent.models.candidates import Candidates
from assent.models.rewards import TextReward
from assent.models.sampling import sample
from assent.models.scoring import learned_logprobs, score
from assent.models.tokens import encode, join
from assent.objectives.masks import right_pad
from assent.training.policy_gradient import train_policy_gradient
from assent.training.ppo import train_ppo
from assent.training.preference import train_preference
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import Demonstration, PreferencePair

NEVER = 10**9
EPISODES, MINIBATCHES, EPOCHS, BATCH = 64, 4, 4, 16
STEPS = 4
"""Of supervised jobs, in a turn: an epoch, so that every turn is over the same examples."""
LR = 1e-6


class Bench:
    """One job at one size and precision."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.size, self.precision, self.cache = given.size, given.dtype, given.cache
        self.batch, self.new_tokens, self.turns = given.batch, given.new_tokens, given.turns
        self.job: str = given.job
        self.tokenizer = m.tokenizer(self.cache, self.size)
        self.turn = Turns()
        self.folder = RunFolder(Path(tempfile.mkdtemp(prefix="assent-bench-")) / "run")
        self.optimiser = OptimiserSettings(lr=LR, schedule="constant")

    def text(self, ids: list[int]) -> str:
        """Tokens as text."""
        return self.tokenizer.decode(ids)

    def generation(self) -> None:
        """Responses of full length to prompts that all differ."""
        model = m.causal_lm(self.size)
        if self.precision == "bfloat16":
            model = model.to(torch.bfloat16)
        prompts = m.windows(self.cache, self.size, self.batch, m.PROMPT, 1)
        draw = partial(
            sample, model, prompts, pad_id=m.PAD, max_new_tokens=self.new_tokens, temperature=1.0,
            eos_id=-1, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        self._again(lambda: self.batch * draw().rows.response_mask.shape[1])

    def scoring(self) -> None:
        """Eight fixed answers to each of a number of prompts."""
        model = m.causal_lm(self.size)
        asked, answers = [], []
        for number in range(self.batch):
            found = m.pairs(self.cache, self.size, self.batch * m.GROUP)
            asked.append(self.text(found[number * m.GROUP][0]))
            part = found[number * m.GROUP : (number + 1) * m.GROUP]
            answers.append([self.text(one[1]) for one in part])
        candidates = Candidates(self.tokenizer, asked, answers)
        self._again(lambda: candidates.logprobs(model).numel())

    def sft(self) -> None:
        """Fine-tuning on texts of unlike length; the first token is the prompt."""
        texts = m.demonstrations(self.cache, self.size, BATCH * STEPS)
        shown = [
            Demonstration(prompt=self.text(one[:1]), response=self.text(one[1:])) for one in texts
        ]
        tokens = sum(map(len, encode(self.tokenizer, [one.response for one in shown])))
        settings = SftSettings(
            epochs=self.turns + 1, batch_size=BATCH, max_tokens=400, precision=self.precision,
            checkpoint_every=NEVER, optimiser=self.optimiser,
        )  # fmt: skip
        train_sft(
            m.causal_lm(self.size), self.tokenizer, shown, settings, self.folder, seed=0,
            progress=_Steps(self.turn, tokens, STEPS),
        )  # fmt: skip

    def reward(self) -> None:
        """A reward model on pairs of unlike length."""
        settings = RewardSettings(
            epochs=self.turns + 1, batch_size=BATCH, max_tokens=400, precision=self.precision,
            checkpoint_every=NEVER, optimiser=self.optimiser,
        )  # fmt: skip
        train_reward(
            m.reward_model(self.size), self.tokenizer, self._pairs(), None, settings, self.folder,
            seed=0, progress=_Steps(self.turn, BATCH * STEPS, STEPS),
        )  # fmt: skip

    def dpo(self) -> None:
        """DPO with the reference's log-probabilities computed before."""
        settings = DpoSettings(
            epochs=self.turns + 1, batch_size=BATCH, max_tokens=400, precision=self.precision,
            checkpoint_every=NEVER, optimiser=self.optimiser,
        )  # fmt: skip
        train_preference(
            m.causal_lm(self.size), m.causal_lm(self.size, 3), self.tokenizer, self._pairs(),
            settings, self.folder, seed=0, progress=_Steps(self.turn, BATCH * STEPS, STEPS),
        )  # fmt: skip

    def ppo(self, *, varied: bool = False, shared: bool = False) -> None:
        """PPO: 64 episodes an update, four epochs of four minibatches."""
        settings = PpoSettings(
            updates=self.turns + 1, rollouts_per_update=EPISODES, minibatches=MINIBATCHES,
            epochs=EPOCHS, precision=self.precision, optimiser=self.optimiser,
            sampling=SamplingSettings(max_new_tokens=self.new_tokens),
            **({} if shared else {"value_model": SeparateValue(lr=LR)}),
        )  # fmt: skip
        policy, reference = m.causal_lm(self.size), m.causal_lm(self.size)
        if varied:
            for model in (policy, reference):
                m.end_now_and_then(model, self.size)
        train_ppo(
            policy, reference, self.tokenizer, self._prompts(EPISODES * (self.turns + 1)),
            self._reward(), settings, self.folder, seed=0, progress=_Steps(self.turn, EPISODES),
        )  # fmt: skip

    def policy_gradient(self, advantage: str) -> None:
        """RLOO or GRPO: 64 episodes an update, eight a prompt, one step."""
        settings = PolicyGradientSettings(
            advantage=advantage, updates=self.turns + 1, prompts_per_update=EPISODES // m.GROUP,
            samples_per_prompt=m.GROUP, precision=self.precision, optimiser=self.optimiser,
            sampling=SamplingSettings(max_new_tokens=self.new_tokens),
        )  # fmt: skip
        train_policy_gradient(
            m.causal_lm(self.size), m.causal_lm(self.size), self.tokenizer,
            self._prompts(EPISODES // m.GROUP * (self.turns + 1)), self._reward(), settings,
            self.folder, seed=0, progress=_Steps(self.turn, EPISODES),
        )  # fmt: skip

    def check(self) -> None:
        """What both sides must find alike: greedy tokens, losses, log-probabilities."""
        model = m.causal_lm(self.size)
        prompts = m.windows(self.cache, self.size, 4, m.PROMPT, 1)
        greedy = sample(
            model, prompts, pad_id=m.PAD, max_new_tokens=16, temperature=1e-6, eos_id=-1,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        padded = right_pad(m.demonstrations(self.cache, self.size, 8), m.PAD)
        found = m.pairs(self.cache, self.size, 8)
        asked = [one[0] for one in found]
        with torch.no_grad():
            learned = learned_logprobs(model, padded.tokens, padded.mask, padded.mask)
            sides = [
                score(model, join(asked, [one[side] for one in found], m.PAD), temperature=1.0)
                for side in (1, 2)
            ]
            reward = TextReward(m.reward_model(self.size), self.tokenizer)
            texts = [(self.text(one[0]), self.text(one[1])) for one in found]
            scores = reward.raw([one[0] for one in texts], [one[1] for one in texts])
        say(
            greedy=greedy.rows.responses.tolist(),
            sft_loss=-float(learned.mean()),
            chosen=sides[0].logprobs.double().sum(1).tolist(),
            rejected=sides[1].logprobs.double().sum(1).tolist(),
            rewards=scores,
        )

    def _again(self, unit: Callable[[], float]) -> None:
        unit()
        self.turn.wait()
        for _ in range(self.turns):
            self.turn.next(unit())

    def _pairs(self) -> list[PreferencePair]:
        return [
            PreferencePair(
                prompt=self.text(asked), chosen=self.text(chosen), rejected=self.text(rejected)
            )
            for asked, chosen, rejected in m.pairs(self.cache, self.size, BATCH * STEPS)
        ]

    def _prompts(self, count: int) -> list[str]:
        return [self.text(ids) for ids in m.windows(self.cache, self.size, count, m.PROMPT, 7)]

    def _reward(self) -> TextReward:
        return TextReward(m.reward_model(self.size), self.tokenizer)


class _Steps:
    """A progress bar of which so many steps are a turn; the first turn warms up."""

    def __init__(self, turn: Turns, work: float, steps: int = 1) -> None:
        self._turn, self._work, self._steps, self._seen = turn, work, steps, 0

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Any:  # noqa: ANN401
        """All bars are this one."""
        del name, total, done
        yield self

    def advance(self, steps: int = 1, note: str = "") -> None:
        """A step is done."""
        del note
        self._seen += steps
        if self._seen % self._steps == 0:
            self._turn.next(self._work)


def main() -> None:
    """Do one job."""
    asked = argparse.ArgumentParser(description=__doc__)
    for name in ("job", "size", "dtype"):
        asked.add_argument(f"--{name}", required=True)
    asked.add_argument("--cache", type=Path, required=True)
    for name, default in (("batch", 0), ("new-tokens", 0), ("turns", 5), ("threads", 2)):
        asked.add_argument(f"--{name}", type=int, default=default)
    given = asked.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(given.threads)
    bench = Bench(given)
    jobs = {
        "generation": bench.generation,
        "scoring": bench.scoring,
        "sft": bench.sft,
        "reward": bench.reward,
        "dpo": bench.dpo,
        "ppo": bench.ppo,
        "ppo_varied": partial(bench.ppo, varied=True),
        "ppo_shared": partial(bench.ppo, shared=True),
        "rloo": partial(bench.policy_gradient, "rloo"),
        "grpo": partial(bench.policy_gradient, "grpo"),
        "check": bench.check,
    }
    jobs[given.job]()


if __name__ == "__main__":
    main()
