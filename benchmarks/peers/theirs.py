"""The peer's side: TRL's own trainers and Hugging Face `generate`, a timed unit at each turn.

Runs in the peer's environment. `tuned` is the fastest setting found for it on a CPU: bf16 autocast
really on, no checkpointing, eager attention (of generation: the default one), fused AdamW, and
memory that is kept; `default` is what a user gets. PPO left TRL after 1.12, which is found beside
this environment; it ignores `bf16` and obeys `ACCELERATE_MIXED_PRECISION` only.
"""

import argparse
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import material as m
import torch
from datasets import Dataset
from transformers import PreTrainedModel, TrainerCallback
from turns import Turns, say

EPISODES, MINIBATCH, EPOCHS, BATCH = 64, 16, 4, 16
STEPS = 4
"""Of supervised jobs, in an epoch, which is a turn."""


class Bench:
    """One job at one size and precision."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.size, self.dtype, self.mode = given.size, given.dtype, given.mode
        self.cache, self.batch, self.new_tokens = given.cache, given.batch, given.new_tokens
        self.count: int = given.turns
        self.job: str = given.job
        self.tokenizer = m.tokenizer(self.cache, self.size)
        self.turn = Turns()
        self.attention = "eager" if self.mode == "tuned" else "sdpa"

    def common(self, **more: object) -> dict[str, object]:
        """Arguments of every trainer."""
        return {
            "output_dir": tempfile.mkdtemp(prefix="peer-bench-"), "report_to": "none",
            "logging_strategy": "no", "save_strategy": "no", "eval_strategy": "no",
            "disable_tqdm": True, "use_cpu": True, "dataloader_num_workers": 0, "seed": 0,
            "lr_scheduler_type": "constant", "learning_rate": 1e-6,
            "optim": "adamw_torch_fused", "bf16": self.dtype == "bfloat16",
            "gradient_checkpointing": self.mode == "default", **more,
        }  # fmt: skip

    def text(self, ids: list[int]) -> str:
        """Tokens as text."""
        return self.tokenizer.decode(ids)

    def generation(self) -> None:
        """`generate` with its dynamic cache, responses of full length."""
        model = m.causal_lm(self.size)
        if self.dtype == "bfloat16":
            model = model.to(torch.bfloat16)
        ids = torch.tensor(m.windows(self.cache, self.size, self.batch, m.PROMPT, 1))
        draw = partial(
            model.generate, ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0,
            top_p=1.0, max_new_tokens=self.new_tokens, min_new_tokens=self.new_tokens,
            use_cache=True, pad_token_id=m.PAD,
        )  # fmt: skip

        def unit() -> float:
            with torch.inference_mode():
                return self.batch * (draw().shape[1] - m.PROMPT)

        self._again(unit)

    def scoring(self) -> None:
        """A loop of forward passes over the answers, sixteen at a time, padded."""
        model = m.causal_lm(self.size)
        found = m.pairs(self.cache, self.size, self.batch * m.GROUP)
        texts = []
        for number in range(self.batch):
            part = found[number * m.GROUP : (number + 1) * m.GROUP]
            texts += [(part[0][0], one[1] + [m.EOS]) for one in part]

        def unit() -> float:
            with torch.inference_mode():
                for start in range(0, len(texts), BATCH):
                    summed_logprobs(model, texts[start : start + BATCH])
            return len(texts)

        self._again(unit)

    def sft(self, *, packing: bool = False) -> None:
        """SFTTrainer on texts of unlike length, padded."""
        from trl import SFTConfig, SFTTrainer

        texts = m.demonstrations(self.cache, self.size, BATCH * STEPS)
        data = Dataset.from_list([{"input_ids": one} for one in texts])
        given = SFTConfig(
            **self.common(
                per_device_train_batch_size=BATCH, num_train_epochs=self.count + 1,
                max_length=m.LONGEST_TEXT,
                packing=packing, train_sampling_strategy="sequential",
            )
        )  # fmt: skip
        SFTTrainer(
            model=self._lm(), args=given, train_dataset=data, processing_class=self.tokenizer,
            callbacks=[_Epochs(self.turn, sum(map(len, texts)))],
        ).train()  # fmt: skip

    def reward(self) -> None:
        """RewardTrainer on pairs of unlike length."""
        from trl import RewardConfig, RewardTrainer

        found = m.pairs(self.cache, self.size, BATCH * STEPS)
        data = Dataset.from_list(
            [{"chosen_ids": p + c + [m.EOS], "rejected_ids": p + r + [m.EOS]} for p, c, r in found]
        )
        given = RewardConfig(
            **self.common(
                per_device_train_batch_size=BATCH, num_train_epochs=self.count + 1, max_length=200,
                train_sampling_strategy="sequential",
            )
        )  # fmt: skip
        RewardTrainer(
            model=m.reward_model(self.size, attention=self.attention), args=given,
            train_dataset=data, processing_class=self.tokenizer,
            callbacks=[_Epochs(self.turn, BATCH * STEPS)],
        ).train()  # fmt: skip

    def dpo(self) -> None:
        """DPOTrainer with the reference's log-probabilities computed before."""
        from trl import DPOConfig, DPOTrainer

        found = m.pairs(self.cache, self.size, BATCH * STEPS)
        data = Dataset.from_list(
            [
                {"prompt": self.text(p), "chosen": self.text(c), "rejected": self.text(r)}
                for p, c, r in found
            ]
        )
        given = DPOConfig(
            **self.common(
                per_device_train_batch_size=BATCH, num_train_epochs=self.count + 1, max_length=400,
                precompute_ref_log_probs=True, train_sampling_strategy="sequential",
            )
        )  # fmt: skip
        DPOTrainer(
            model=self._lm(), ref_model=self._lm(3), args=given, train_dataset=data,
            processing_class=self.tokenizer, callbacks=[_Epochs(self.turn, BATCH * STEPS)],
        ).train()  # fmt: skip

    def ppo(self, *, varied: bool = False) -> None:
        """PPO of TRL 1.12: its policy and value models are always two."""
        from trl.experimental.ppo import PPOConfig, PPOTrainer

        policy, reference = self._lm(), self._lm()
        if varied:
            for model in (policy, reference):
                m.end_now_and_then(model, self.size)
        asked = m.windows(self.cache, self.size, EPISODES * (self.count + 1), m.PROMPT, 7)
        given = PPOConfig(
            **self.common(
                per_device_train_batch_size=MINIBATCH,
                gradient_accumulation_steps=EPISODES // MINIBATCH,
                num_mini_batches=EPISODES // MINIBATCH, num_ppo_epochs=EPOCHS,
                response_length=self.new_tokens, total_episodes=EPISODES * (self.count + 1),
                local_rollout_forward_batch_size=EPISODES, num_sample_generations=0,
                temperature=1.0, stop_token="eos" if varied else None,
            )
        )  # fmt: skip
        trainer = PPOTrainer(
            args=given, processing_class=self.tokenizer, model=policy, ref_model=reference,
            reward_model=m.reward_model(self.size, attention=self.attention),
            value_model=m.reward_model(self.size, 2, attention=self.attention),
            train_dataset=Dataset.from_list([{"input_ids": one} for one in asked]),
        )  # fmt: skip
        precision = trainer.accelerator.mixed_precision
        trainer.add_callback(_Steps(self.turn, EPISODES, precision=precision))
        trainer.log = lambda *_, **__: None
        trainer.train()

    def policy_gradient(self, name: str) -> None:
        """RLOOTrainer or GRPOTrainer: eight responses a prompt, one step."""
        import trl

        configs = {"rloo": trl.RLOOConfig, "grpo": trl.GRPOConfig}
        trainers = {"rloo": trl.RLOOTrainer, "grpo": trl.GRPOTrainer}
        count = EPISODES // m.GROUP * (self.count + 1)
        asked = m.windows(self.cache, self.size, count, m.PROMPT, 9)
        more = {"beta": 0.04} if name == "grpo" else {}
        given = configs[name](
            **self.common(
                per_device_train_batch_size=EPISODES, num_generations=m.GROUP,
                max_completion_length=self.new_tokens, num_train_epochs=1, temperature=1.0,
                generation_kwargs={"min_new_tokens": self.new_tokens}, steps_per_generation=1,
                num_iterations=1, max_steps=self.count + 1, **more,
            )
        )  # fmt: skip
        rewarded = self._saved(m.reward_model(self.size, attention=self.attention))
        trainers[name](
            model=self._saved(self._lm()), reward_funcs=rewarded, args=given,
            train_dataset=Dataset.from_list([{"prompt": self.text(ids)} for ids in asked]),
            processing_class=self.tokenizer, reward_processing_classes=self.tokenizer,
            callbacks=[_Steps(self.turn, EPISODES)],
        ).train()  # fmt: skip

    def check(self) -> None:
        """What both sides must find alike, by transformers' own forward passes."""
        model = m.causal_lm(self.size)
        asked = torch.tensor(m.windows(self.cache, self.size, 4, m.PROMPT, 1))
        texts = m.demonstrations(self.cache, self.size, 8)
        found = m.pairs(self.cache, self.size, 8)
        rewarding = m.reward_model(self.size)
        with torch.inference_mode():
            greedy = model.generate(
                asked, attention_mask=torch.ones_like(asked), do_sample=False, max_new_tokens=16,
                min_new_tokens=16, pad_token_id=m.PAD,
            )  # fmt: skip
            total, count = 0.0, 0
            for one in texts:
                ids = torch.tensor([one])
                total += float(model(ids, labels=ids).loss) * (len(one) - 1)
                count += len(one) - 1
            scores = []
            for prompt, chosen, _ in found:
                said = self.tokenizer(self.text(prompt))["input_ids"]
                said += self.tokenizer(self.text(chosen))["input_ids"] + [m.EOS]
                scores.append(float(rewarding(torch.tensor([said])).logits[0, 0]))
            sides = [
                summed_logprobs(model, [(one[0], one[side]) for one in found]) for side in (1, 2)
            ]
        say(
            greedy=greedy[:, m.PROMPT :].tolist(),
            sft_loss=total / count,
            chosen=sides[0],
            rejected=sides[1],
            rewards=scores,
        )

    def _again(self, unit: Callable[[], float]) -> None:
        unit()
        self.turn.wait()
        for _ in range(self.count):
            self.turn.next(unit())

    def _lm(self, seed: int = 0) -> PreTrainedModel:
        return m.causal_lm(self.size, seed, self.attention)

    def _saved(self, model: PreTrainedModel) -> PreTrainedModel:
        """GRPO and RLOO look the model's folder up for their reference."""
        folder = tempfile.mkdtemp(prefix="peer-bench-")
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        model.config._name_or_path = model.name_or_path = folder
        return model


def summed_logprobs(
    model: PreTrainedModel, texts: list[tuple[list[int], list[int]]]
) -> list[float]:
    """Of each response given its prompt, by one padded forward pass."""
    width = max(len(prompt) + len(response) for prompt, response in texts)
    ids = torch.full((len(texts), width), m.PAD)
    mask = torch.zeros_like(ids)
    learned = torch.zeros_like(ids, dtype=torch.bool)
    for row, (prompt, response) in enumerate(texts):
        length = len(prompt) + len(response)
        ids[row, :length] = torch.tensor(prompt + response)
        mask[row, :length] = 1
        learned[row, len(prompt) : length] = True
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    logprobs = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None]).squeeze(2)
    return (logprobs * learned[:, 1:]).double().sum(1).tolist()


class _Steps(TrainerCallback):
    """Every optimiser step (of PPO: every update) is a turn; the first warms up."""

    def __init__(self, turn: Turns, work: float, **more: object) -> None:
        self._turn, self._work, self._more = turn, work, more

    def on_step_end(self, *_: object, **__: object) -> None:
        """A step is done."""
        self._turn.next(self._work, **self._more)


class _Epochs(_Steps):
    """Every epoch is a turn; the first warms up."""

    def on_step_end(self, *_: object, **__: object) -> None:
        """A step is part of a turn."""

    def on_epoch_end(self, *_: object, **__: object) -> None:
        """An epoch is done."""
        self._turn.next(self._work, **self._more)


def main() -> None:
    """Do one job."""
    asked = argparse.ArgumentParser(description=__doc__)
    for name in ("job", "size", "dtype"):
        asked.add_argument(f"--{name}", required=True)
    asked.add_argument("--mode", default="tuned", choices=["tuned", "default"])
    asked.add_argument("--cache", type=Path, required=True)
    for name, default in (("batch", 0), ("new-tokens", 0), ("turns", 5), ("threads", 2)):
        asked.add_argument(f"--{name}", type=int, default=default)
    given = asked.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(given.threads)
    bench = Bench(given)
    jobs = {
        "generation": bench.generation,
        "scoring": bench.scoring,
        "sft": bench.sft,
        "sft_packed": partial(bench.sft, packing=True),
        "reward": bench.reward,
        "dpo": bench.dpo,
        "ppo": bench.ppo,
        "ppo_varied": partial(bench.ppo, varied=True),
        "ppo_shared": bench.ppo,
        "rloo": partial(bench.policy_gradient, "rloo"),
        "grpo": partial(bench.policy_gradient, "grpo"),
        "check": bench.check,
    }
    jobs[given.job]()


if __name__ == "__main__":
    main()
