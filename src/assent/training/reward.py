"""The reward model: learns from judgements, rankings or ratings what people prefer."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.files import whole_folder, write_file
from assent.config.reward import RewardSettings
from assent.errors import ConfigError, DataError
from assent.models.checkpoints import save_model
from assent.models.loading import max_positions, require_match
from assent.models.lora import add_adapter
from assent.models.reading import HeadReading, Read, reading_of, with_room
from assent.models.reward_axes import Axis, combine_outputs, save_axes
from assent.models.rewards import Normalisation, TextReward, save_normalisation, save_suffix
from assent.models.scoring import chunks
from assent.objectives.seeds import derive_seed
from assent.training.batches import epoch_batches
from assent.training.memory import enable_recomputing, memory_advice, recomputing
from assent.training.optimising import build_optimiser, optimiser_step, require_finite
from assent.training.reward_data import FEWEST, Element, Material, axis_weights, material_of
from assent.training.reward_objectives import FIGURES, Count, RewardObjective, read_order
from assent.training.reward_stopping import Best, parted
from assent.training.run_folder import RunFolder, fingerprint
from assent.types import Progress, RewardExample, SilentProgress

logger = logging.getLogger(__name__)

LIKELIHOOD_FILE = "reward_likelihood.json"
"""What davidson and ordinal learn beside the model, in the units of raw scores."""


def train_reward(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[RewardExample],
    reference_samples: tuple[Sequence[str], Sequence[str]] | None,
    settings: RewardSettings,
    run: RunFolder,
    *,
    seed: int,
    progress: Progress | None = None,
    name: str = "reward",
) -> TextReward:
    """Train one reward model and write `run.model`, normalisation beside it.

    Args:
        model: a sequence classifier, a decoder or an encoder of the BERT kind, changed in place;
            dropout is off throughout. It has one output, or for ratings one an axis.
        tokenizer: the model's; a decoder's has pad and eos, two tokens.
        examples: pairs, rankings, ratings; `settings.objective` takes those it can learn from.
        reference_samples: prompts and responses of the reference policy, on which scores get mean 0
            and standard deviation 1; None keeps raw scores.
        settings: objective, epochs, batch and optimiser. Of an ensemble this trains one member.
        run: where to write and where to go on from.
        seed: of the order.
        progress: shows steps and accuracy.
        name: of the bar.

    Returns:
        The reward, normalised; of several axes, their combination.

    Raises:
        TokenizerUnfit: the tokenizer has no place for ends or padding, or does not fit the model.
        ConfigError: the model has another number of outputs than the objective.
        DataError: nothing can be learned: fewer than two elements fit into `settings.max_tokens`
            and the model, all are ties, or no rating differs.
        RewardError: all reference samples get one score: nothing was learned.

    Source: Stiennon et al. 2020, section 3.4; Ouyang et al. 2022, section 3.5.
    """
    material = material_of(examples, settings)
    weights = axis_weights(examples, settings.axes) if settings.objective == "ratings" else {}
    _require_outputs(model, len(weights) or 1)
    reading = reading_of(model, tokenizer, suffix=settings.suffix)
    require_match(model, tokenizer)
    reads = _read(reading, material.elements)
    lengths = [max(one.length for one in responses) for responses in reads]
    fitting = _fitting(model, material, lengths, settings)
    learned, looked = parted(material.elements, fitting, settings.early_stopping)
    _require_both(learned, looked, settings)
    objective = RewardObjective(settings, material, learned).to(model.device)
    numbers = epoch_batches(
        [lengths[number] for number in learned], settings.batch_size, settings.epochs, seed,
        "reward",
    )  # fmt: skip
    run.begin(settings, seed=seed, data=_fingerprint(reads, material.elements, settings))
    adapter = (
        add_adapter(model, settings.lora, seed=derive_seed(seed, "reward", "adapter"))
        if settings.lora
        else None
    )
    if settings.gradient_checkpointing:
        enable_recomputing(model)
    model.train(mode=False)  # no dropout: the sides of a pair must be read by the same model
    micro_batch = min(settings.micro_batch_size or settings.batch_size, len(learned))
    with memory_advice("reward", micro_batch=micro_batch, device=model.device):
        batches = [[learned[number] for number in batch] for batch in numbers]
        plan = _Plan(name, material.elements, reads, batches, looked)
        _Steps(model, reading, objective, plan, settings, run).take(progress or SilentProgress())
        mix = list(weights.values()) or [1.0]
        normalisation = Normalisation()
        if reference_samples is not None:
            raw = _raw(model, reading, mix, *reference_samples)
            normalisation = Normalisation.fit(raw)
    with whole_folder(run.model) as aside:
        save_model(aside, model, tokenizer, adapter)
        save_normalisation(aside, normalisation)
        if settings.suffix:
            save_suffix(aside, settings.suffix)
        if weights:
            scales = zip(weights.items(), objective.scales, strict=True)
            save_axes(
                aside,
                [
                    Axis(name=axis, weight=weight, mean=scale.mean, scale=scale.deviation)
                    for (axis, weight), scale in scales
                ],
            )
        if said := objective.said():
            write_file(aside / LIKELIHOOD_FILE, json.dumps(said, indent=2) + "\n")
    run.finish()
    if adapter is not None:
        adapter.merge()
    if weights:
        combine_outputs(model, mix)
    return TextReward(model, tokenizer, normalisation, reading=reading)


class _Plan(NamedTuple):
    name: str
    elements: Sequence[Element]
    reads: Sequence[Sequence[Read]]
    """Of each element, one a response."""
    batches: Sequence[Sequence[int]]
    """Numbers of the elements of each optimiser step."""
    looked: Sequence[int]
    """Numbers of the elements that early stopping looks at."""


class _Steps(NamedTuple):
    model: PreTrainedModel
    reading: HeadReading
    objective: RewardObjective
    plan: _Plan
    settings: RewardSettings
    run: RunFolder

    def take(self, progress: Progress) -> None:
        """Every step that is still to do; the model has the best weights where that was asked."""
        settings, plan, total = self.settings, self.plan, len(self.plan.batches)
        modules: dict[str, nn.Module] = {"model": self.model}
        optimiser = self._optimiser()
        if self.objective.learned.numel():
            modules["objective"] = self.objective
        best = Best(modules) if settings.early_stopping else None
        kept = modules | ({"best": best} if best else {})
        state = self.run.restore(kept, optimiser)
        if best:
            best.restore(state)
        done, seen = int(state["step"]), int(state.get("seen", 0))
        with self.run.sink(done) as sink, progress.task(plan.name, total, done) as bar:
            for step in range(done, total):
                began = time.perf_counter()
                batch = plan.batches[step]
                sums = self._gradients(step)
                figures = optimiser_step(
                    optimiser, settings.optimiser, step=step, total=total, stage="reward"
                )
                seen += len(batch)
                looked = self._look(best, step + 1) if best else {}
                sink.log(
                    step + 1,
                    {
                        **sums,
                        **looked,
                        **figures,
                        "data/examples": seen,
                        "time/step_seconds": time.perf_counter() - began,
                    },
                )
                bar.advance(1, _note(sums))
                if best and best.looks_since >= _patience(settings):
                    break
                if (step + 1) % settings.checkpoint_every == 0 and step + 1 < total:
                    values = {"seen": seen, **(best.counters() if best else {})}
                    self.run.save_state(step + 1, kept, optimiser, values)
        if best:
            best.put_back()
            logger.info("the weights of step %d of %d were judged best", best.step, total)

    def _optimiser(self) -> Optimizer:
        """The objective's own parameters have a learning rate that fits logarithms."""
        learned = self.objective.learned.numel() > 0
        apart = [(self.objective, self.settings.likelihood_lr)] if learned else []
        return build_optimiser([self.model], self.settings.optimiser, apart=apart)

    def _gradients(self, step: int) -> dict[str, float]:
        """Of one batch, in forward passes of `micro_batch_size`; its loss and figures."""
        batch = self.plan.batches[step]
        whole = Count.of([self.plan.elements[number] for number in batch])
        sums: dict[str, float] = {"loss/reward": 0.0}
        for part in chunks(len(batch), self.settings.micro_batch_size):
            numbers = batch[part]
            with recomputing(self.model, enabled=self.settings.gradient_checkpointing):
                loss, figures = self._loss(numbers, whole)
            require_finite(loss, stage="reward", step=step, examples=numbers)
            torch.autograd.backward(loss)
            _add(sums, loss, figures)
        return sums

    def _loss(self, numbers: Sequence[int], whole: Count) -> tuple[Tensor, dict[str, float]]:
        elements = [self.plan.elements[number] for number in numbers]
        reads = [self.plan.reads[numbers[row]][place] for row, place in read_order(elements)]
        outputs = self.reading.outputs(self.model, reads, self.settings.precision)
        return self.objective.loss(outputs, elements, whole)

    @torch.no_grad()
    def _look(self, best: Best, done: int) -> dict[str, float]:
        """What the looked-at prompts say after a step, every so many steps and at the end."""
        asked = self.settings.early_stopping
        if asked is None or (done % asked.every and done < len(self.plan.batches)):
            return {}
        whole = Count.of([self.plan.elements[number] for number in self.plan.looked])
        sums: dict[str, float] = {"loss/reward": 0.0}
        size = self.settings.micro_batch_size or self.settings.batch_size
        for part in chunks(len(self.plan.looked), size):
            _add(sums, *self._loss(self.plan.looked[part], whole))
        best.look(sums["loss/reward"], done)
        return {f"{name}_validation": sums[name] for name in _LOOKED if name in sums}


_LOOKED = ("loss/reward", "reward_model/accuracy")


def _add(sums: dict[str, float], loss: Tensor, figures: Mapping[str, float]) -> None:
    sums["loss/reward"] += float(loss.detach())
    for name, value in figures.items():
        sums[name] = sums.get(name, 0.0) + value


def _note(sums: Mapping[str, float]) -> str:
    if FIGURES[0] in sums:
        return f"accuracy {sums[FIGURES[0]]:.2f}"
    return f"loss {sums['loss/reward']:.2f}"


def _patience(settings: RewardSettings) -> int:
    assert settings.early_stopping is not None
    return settings.early_stopping.patience


def _read(reading: HeadReading, elements: Sequence[Element]) -> list[list[Read]]:
    """The tokens of every response with its prompt."""
    prompts = [one.prompt for one in elements for _ in one.responses]
    found = iter(reading.encode(prompts, [text for one in elements for text in one.responses]))
    return [[next(found) for _ in one.responses] for one in elements]


def _fitting(
    model: PreTrainedModel, material: Material, lengths: Sequence[int], settings: RewardSettings
) -> list[int]:
    """Numbers of the elements that can be read whole.

    Raises:
        DataError: fewer than two of them.
    """
    room = min(settings.max_tokens, max_positions(model) or settings.max_tokens)
    fitting = [number for number, length in enumerate(lengths) if length <= room]
    if len(fitting) < FEWEST:
        message = (
            f"{len(fitting)} of {len(lengths)} {material.noun} can be learned from (room for "
            f"{room} tokens, reward.max_tokens = {settings.max_tokens}); collect more "
            f"{'ratings' if material.axes else 'judgements that prefer one side'}"
        )
        raise DataError(message)
    if len(fitting) < len(lengths):
        logger.warning(
            "%d of %d %s are longer than %d tokens and were left out",
            len(lengths) - len(fitting), len(lengths), material.noun, room,
        )  # fmt: skip
    return fitting


def _require_both(learned: Sequence[int], looked: Sequence[int], settings: RewardSettings) -> None:
    """Refuse early stopping with nothing to look at, or nothing left to learn from."""
    asked = settings.early_stopping
    if asked is None or (looked and len(learned) >= FEWEST):
        return
    message = (
        f"reward.early_stopping.share = {asked.share}: {len(looked)} elements to look at and "
        f"{len(learned)} to learn from; collect more judgements, or leave early stopping out"
    )
    raise DataError(message)


def _require_outputs(model: PreTrainedModel, wanted: int) -> None:
    if model.config.num_labels != wanted:
        message = (
            f"the reward model has {model.config.num_labels} outputs and the objective {wanted}; "
            f"make it with reward_model_from(folder, seed, outputs={wanted})"
        )
        raise ConfigError(message)


@torch.no_grad()
def _raw(
    model: PreTrainedModel,
    reading: HeadReading,
    weights: Sequence[float],
    prompts: Sequence[str],
    responses: Sequence[str],
) -> list[float]:
    """Raw scores: of several axes, their weighted sum."""
    reads = with_room(model, reading.encode(prompts, responses))
    found: list[float] = []
    for part in chunks(len(reads), 256):
        outputs = reading.outputs(model, reads[part])
        mixed = outputs[:, 0] if len(weights) == 1 else outputs @ outputs.new_tensor(weights)
        found += mixed.tolist()
    return found


def _fingerprint(
    reads: Sequence[Sequence[Read]], elements: Sequence[Element], settings: RewardSettings
) -> str:
    """Of the tokens, side by side; and of what was said, where it is more than who won."""
    width = max(len(responses) for responses in reads)
    sides = [
        [tokens for responses in reads if place < len(responses) for tokens in responses[place][:2]]
        for place in range(width)
    ]
    probabilities = [str(one.probability) for one in elements if one.probability is not None]
    if settings.objective == "bradley_terry" and settings.margins is None:
        return fingerprint(*sides, probabilities) if probabilities else fingerprint(*sides)
    said = [f"{one.ranks}/{one.strength}/{one.ratings}" for one in elements]
    return fingerprint(*sides, said)
