"""Best-of-n and RAFT: draw many responses, keep the best by their reward, learn those.

Best-of-n fine-tuning draws once, from the policy it is given, and learns what best-of-n sampling
would have said. RAFT does the same again and again, each time from the policy as it is by then;
with a price on KL it ranks by the reward less that price, and its fixed point is the tilted
reference. What is learned are the drawn tokens themselves, by the loss of supervised fine-tuning.
Dropout is off throughout.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.best_of import BestOfNSettings, RaftSettings
from assent.errors import ModelError
from assent.models.loading import require_fit, require_match
from assent.models.lora import Adapter
from assent.models.rewards import checked_rewards
from assent.models.sampling import Rollouts, sample
from assent.models.scoring import chunks
from assent.models.tokens import decode_responses, encode_prompts, end_ids
from assent.objectives.advantages import apply_missing_eos
from assent.objectives.kl import k1
from assent.objectives.seeds import generator
from assent.objectives.selection import Best, keep_best
from assent.training.actors import reference_logprobs
from assent.training.asked import PromptMix, figures_by_kind, fitting_prompts
from assent.training.batches import epoch_batches
from assent.training.draws import Draw, DrawsFolder
from assent.training.language import LanguagePlan, LearnedText, accumulate
from assent.training.memory import memory_advice
from assent.training.optimising import build_optimiser, optimiser_step
from assent.training.points import OnPoint, Points
from assent.training.preparing import prepare
from assent.training.run_folder import RunFolder, fingerprint
from assent.types import (
    MetricSink,
    Progress,
    ProgressTask,
    RewardFunction,
    SilentProgress,
)

logger = logging.getLogger(__name__)

SAMPLES = "samples"


def train_best_of(
    policy: PreTrainedModel,
    reference: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    reward: RewardFunction,
    settings: BestOfNSettings,
    run: RunFolder,
    *,
    seed: int,
    mix: PromptMix | None = None,
    points: Sequence[int] = (),
    on_point: OnPoint | None = None,
    progress: Progress | None = None,
) -> PreTrainedModel:
    r"""Run best-of-n fine-tuning, or RAFT if given `RaftSettings`, and write `run.model`.

    .. math:: L = -\frac1N \sum_{(x, y) \in \text{kept}} \log \pi(y | x), \qquad
              \text{kept by } r(x, y) - \beta \log \frac{\pi_k(y | x)}{\pi_0(y | x)}

    with N the kept tokens of a mean batch, :math:`\pi_k` the policy that drew, and beta 0 for
    best-of-n. On unlimited samples and to convergence the policy becomes the best-of-n distribution
    of its start (`objectives.tilting.best_of_n`).

    Args:
        policy: a causal LM, changed in place.
        reference: what KL is measured to, and held near where `kl_coef` is above 0; never changed.
            None with `settings.lora`: the policy as it is now, its adapter switched off.
        tokenizer: with pad and eos, two tokens.
        prompts: at least one; each batch takes the next of a shuffled pass over them. Those that
            leave no room for a response are left out and counted in the log.
        reward: any function of texts; see `types.RewardFunction`.
        settings: of best-of-n, or of RAFT.
        run: where to write and where to go on from; what was drawn is kept in `samples/`.
        seed: every draw derives from it.
        mix: of what kinds the prompts are, and which are asked when.
        points: numbers of optimiser steps after which a checkpoint is kept and `on_point` called;
            0 is the start. The run can go on from each of them.
        on_point: as in `training.ppo.train_ppo`.
        progress: shows parts drawn and steps taken, together.

    Returns:
        The policy, an adapter merged into it.

    Raises:
        DataError: there are no prompts, one has no token, or none leaves room for a response.
        RewardError: the reward returned the wrong count or a value that is not finite, or did not
            answer.
        ModelError: policy and reference are one object, or there is no reference and no adapter.
        CannotResume: what was drawn cannot be read back.
        NonFinite: a loss or a gradient is NaN or infinite.
        OutOfMemory: memory ran out; says what to change.

    Source: Dong et al. 2023, "RAFT: Reward ranked fine-tuning for generative foundation model
    alignment", algorithm 1 and section 3.3 (the price of KL); Stiennon et al. 2020 (best-of-n).
    """
    stage, iterations = _stage_of(settings)
    fitting = _fitting(policy, reference, tokenizer, prompts, settings)
    run.begin(settings, seed=seed, data=fingerprint(prompts))
    adapter = prepare(
        policy, settings.lora, recompute=settings.gradient_checkpointing, seed=seed, stage=stage
    )
    if reference is not None:
        reference.requires_grad_(requires_grad=False).train(mode=False)
    drawer = _Drawer(policy, reference, adapter, tokenizer, prompts, reward, settings, seed)
    samples, mix = DrawsFolder(run.path / SAMPLES), mix or PromptMix()
    kept = Points(
        run=run, policy=policy, tokenizer=tokenizer, adapter=adapter, at=points, on_point=on_point
    )
    learner = _Learner(policy, tokenizer, settings, run, kept, seed)
    parts = len(range(0, settings.prompts, settings.sampling_batch))
    at = learner.done // settings.steps
    samples.forget_after(at + 1)
    shown = learner.done + at * parts + samples.parts_done(at + 1, parts)
    micro_batch = settings.micro_batch_size or settings.batch_size
    with (
        memory_advice(stage, micro_batch=micro_batch, device=policy.device),
        run.sink(learner.done) as sink,
        (progress or SilentProgress()).task(
            stage.replace("_", "-"), iterations * (parts + settings.steps), shown
        ) as bar,
    ):
        if learner.is_new:
            kept.passed(0)
        for iteration in range(at, iterations):
            began = time.perf_counter()
            numbers = mix.prompts_of(iteration, settings.prompts, fitting, seed, stage=stage)
            asked = [
                [number for number in numbers[part] for _ in range(settings.n)]
                for part in chunks(len(numbers), settings.sampling_batch)
            ]
            drawn = samples.batch(
                iteration + 1,
                asked,
                partial(drawer.draw, iteration),
                drawn=lambda: bar.advance(1, "drawing"),
                may_draw=learner.done <= iteration * settings.steps,
            )
            best = _ranked(drawn, settings)
            figures = _figures(drawn, best)
            if mix.kinds is not None:
                figures |= figures_by_kind([mix.kinds[one.prompt] for one in drawn], _rows(drawn))
            figures["time/step_seconds"] = time.perf_counter() - began
            chosen = best.kept.flatten().tolist()
            learner.learn(
                drawer.examples([one for one, good in zip(drawn, chosen, strict=True) if good]),
                iteration,
                figures | {"data/episodes": (iteration + 1) * len(drawn)},
                sink,
                bar,
            )
            if kept.stopped:
                break
    return kept.finish()


class _Learner:
    """Learns the responses of one iteration after the other, from where the run folder stands."""

    def __init__(
        self,
        policy: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: BestOfNSettings,
        run: RunFolder,
        kept: Points,
        seed: int,
    ) -> None:
        self._policy, self._tokenizer, self._settings = policy, tokenizer, settings
        self._run, self._kept, self._seed = run, kept, seed
        self._stage, iterations = _stage_of(settings)
        self._total = iterations * settings.steps
        self._plan = LanguagePlan(
            stage=self._stage,
            batches=(),
            micro_batch_size=settings.micro_batch_size,
            precision=settings.precision,
            checkpoint_every=settings.checkpoint_every,
            optimiser=settings.optimiser,
            seed=seed,
            gradient_checkpointing=settings.gradient_checkpointing,
        )
        self._optimiser = build_optimiser([policy], settings.optimiser)
        state = run.restore({"policy": policy}, self._optimiser)
        self.done = int(state["step"])
        """Optimiser steps taken."""
        self.is_new = "seen" not in state
        self._seen, self._tokens = int(state.get("seen", 0)), int(state.get("tokens", 0))

    def learn(
        self,
        examples: Sequence[LearnedText],
        iteration: int,
        drawn: Mapping[str, float],
        sink: MetricSink,
        bar: ProgressTask,
    ) -> None:
        """Take the steps of an iteration that are still to be taken.

        Args:
            examples: prompts and responses that were kept.
            iteration: 0 is the first.
            drawn: figures of what was drawn for it, logged with its first step.
            sink: where metrics go.
            bar: moved a step at a time.
        """
        settings, first = self._settings, iteration * self._settings.steps
        batches = epoch_batches(
            [len(one.tokens) for one in examples],
            settings.batch_size,
            settings.epochs,
            self._seed,
            self._stage,
            iteration,
        )
        # Not the tokens of each batch: short responses would count for more than they were drawn.
        a_batch = settings.epochs * sum(map(_learned_tokens, examples)) / settings.steps
        while self.done < first + settings.steps and not self._kept.stopped:
            began, step = time.perf_counter(), self.done
            batch = batches[step - first]
            loss, learned = accumulate(
                self._policy, self._tokenizer, examples, batch, self._plan, step,
                normaliser=a_batch,
            )  # fmt: skip
            figures = optimiser_step(
                self._optimiser, settings.optimiser, step=step, total=self._total, stage=self._stage
            )
            self.done, self._seen, self._tokens = (
                step + 1, self._seen + len(batch), self._tokens + learned,
            )  # fmt: skip
            figures |= {
                "loss/nll_nats": loss,
                "data/examples": self._seen,
                "data/tokens": self._tokens,
                "time/step_seconds": time.perf_counter() - began,
            }
            if step == first:
                seconds = figures["time/step_seconds"] + drawn["time/step_seconds"]
                figures |= {**drawn, "time/step_seconds": seconds}
            sink.log(step + 1, figures)
            self._kept.passed(step + 1)
            self._save(is_last=step + 1 == first + settings.steps)
            bar.advance(1, self._kept.note or f"loss {loss:.3f}")

    def _save(self, *, is_last: bool) -> None:
        wanted = is_last or self.done in self._kept.at
        if not (wanted or self.done % self._settings.checkpoint_every == 0):
            return
        if self.done < self._total and not self._kept.stopped:
            counters = {"seen": self._seen, "tokens": self._tokens}
            self._run.save_state(self.done, {"policy": self._policy}, self._optimiser, counters)


class _Drawer:
    """Draws responses from the policy as it is, scores them, and measures them on the reference."""

    def __init__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel | None,
        adapter: Adapter | None,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        reward: RewardFunction,
        settings: BestOfNSettings,
        seed: int,
    ) -> None:
        self._policy, self._reference, self._adapter = policy, reference, adapter
        self._tokenizer, self._prompts, self._reward = tokenizer, prompts, reward
        self._settings, self._seed = settings, seed
        self._stage, _ = _stage_of(settings)
        self._encoded = encode_prompts(tokenizer, prompts)

    def draw(self, iteration: int, place: int, asked: Sequence[int]) -> list[Draw]:
        """One response to each prompt asked, from a seed of this place alone."""
        sampling, tokenizer = self._settings.sampling, self._tokenizer
        texts = [self._prompts[number] for number in asked]
        rollouts = sample(
            self._policy,
            [self._encoded[number] for number in asked],
            eos_id=end_ids(tokenizer, self._policy),
            pad_id=int(tokenizer.pad_token_id),
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            generator=generator(
                self._seed, self._stage, "samples", iteration, place, device=self._policy.device
            ),
        )
        rows = rollouts.rows
        said = decode_responses(tokenizer, rows.responses, rows.response_mask)
        rewards = checked_rewards(self._reward, texts, said)
        kl = k1(rollouts.logprobs, self._reference_logprobs(rollouts)).sum(1)
        entropies = -rollouts.logprobs.sum(1)
        return [
            Draw(
                prompt=number,
                tokens=tuple(row[mask].tolist()),
                response=text,
                finished=finished,
                reward=paid,
                entropy_nats=entropy,
                kl_nats=nats,
            )
            for number, row, mask, text, finished, paid, entropy, nats in zip(
                asked,
                rows.responses,
                rows.response_mask,
                said,
                rollouts.finished.tolist(),
                rewards,
                entropies.tolist(),
                kl.tolist(),
                strict=True,
            )
        ]

    def examples(self, draws: Sequence[Draw]) -> list[LearnedText]:
        """What is learned of each: its tokens as they were drawn, after its prompt's."""
        asked = [(self._encoded[one.prompt], one.tokens) for one in draws]
        return [LearnedText([*prompt, *tokens], len(prompt)) for prompt, tokens in asked]

    def _reference_logprobs(self, rollouts: Rollouts) -> Tensor:
        rows = rollouts.rows
        parts = [
            rows.select(range(part.start, part.stop))
            for part in chunks(len(rows.tokens), self._settings.micro_batch_size)
        ]
        return reference_logprobs(
            self._policy, self._reference, self._adapter, parts, self._settings
        )


def _ranked(drawn: Sequence[Draw], settings: BestOfNSettings) -> Best:
    """Which of the draws are kept: by reward, an unfinished response's as the settings say."""
    coef = settings.kl_coef if isinstance(settings, RaftSettings) else 0.0
    paid = apply_missing_eos(
        torch.tensor([one.reward for one in drawn], dtype=torch.float64),
        torch.tensor([one.finished for one in drawn]),
        penalty=settings.missing_eos.penalty,
        mode=settings.missing_eos.mode,
    )
    kl = torch.tensor([one.kl_nats for one in drawn], dtype=torch.float64)
    shaped = (paid - coef * kl if coef else paid).reshape(-1, settings.n)
    best = keep_best(shaped, settings.keep, within=settings.ranked == "prompt")
    if bool(best.undecided.all()):
        logger.warning(
            "the reward gives all %d responses to each prompt the same score: nothing is chosen, "
            "and the policy learns its own samples", settings.n,
        )  # fmt: skip
    return best


def _rows(drawn: Sequence[Draw]) -> dict[str, list[float]]:
    """Reward, KL and length of each draw, by the metric they make."""
    return {
        "reward/proxy_mean": [one.reward for one in drawn],
        "policy/kl_nats": [one.kl_nats for one in drawn],
        "policy/length_tokens": [float(len(one.tokens)) for one in drawn],
    }


def _figures(drawn: Sequence[Draw], best: Best) -> dict[str, float]:
    """Of all draws of a batch, and of those that were kept."""
    kept = best.kept.flatten().tolist()
    chosen = [one for one, is_kept in zip(drawn, kept, strict=True) if is_kept]
    return {
        **{name: sum(values) / len(values) for name, values in _rows(drawn).items()},
        **{f"{name}/kept": sum(all_) / len(all_) for name, all_ in _rows(chosen).items()},
        "policy/entropy_nats": sum(one.entropy_nats for one in drawn) / len(drawn),
        "policy/missing_eos_share": sum(not one.finished for one in drawn) / len(drawn),
        "reward/undecided_share": float(best.undecided.double().mean()),
    }


def _learned_tokens(example: LearnedText) -> int:
    return len(example.tokens) - example.learned_from


def _stage_of(settings: BestOfNSettings) -> tuple[str, int]:
    """The stage's section, and how often it draws."""
    if isinstance(settings, RaftSettings):
        return "raft", settings.iterations
    return "best_of_n", 1


def _fitting(
    policy: PreTrainedModel,
    reference: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    settings: BestOfNSettings,
) -> list[int]:
    """The prompts that can be asked, once everything handed in has been checked."""
    require_fit(tokenizer)
    require_match(policy, tokenizer)
    if policy is reference:
        message = "policy and reference must be two models; copy the policy first"
        raise ModelError(message)
    stage, _ = _stage_of(settings)
    if reference is None and settings.lora is None:
        message = (
            f"without an adapter ({stage}.lora) KL needs a reference to be measured to: a second "
            "model"
        )
        raise ModelError(message)
    return fitting_prompts(
        policy, tokenizer, prompts, settings.sampling.max_new_tokens, stage=stage
    )
