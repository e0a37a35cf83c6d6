"""Several reward models in place of one: kept apart and combined, or averaged into one.

Each member is an ordinary run in `run/member-N`, which resumes by itself; a member that is done is
not trained again. What is left behind is one folder: the members with a manifest, or one model.

Source: Coste et al. 2023, "Reward model ensembles help mitigate overoptimization", section 3; Rame
et al. 2024, "WARM: On the benefits of weight averaged reward models", section 3. Differs: members
start from one policy, and an average from one head that is drawn, where WARM first trains it alone.
"""

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.files import whole_folder
from assent.config.reward import EnsembleSettings, RewardSettings
from assent.config.sinks import MetricRow, read_metrics
from assent.errors import ConfigError
from assent.models.checkpoints import save_model
from assent.models.loading import draw_head, load_reward_model
from assent.models.reward_axes import Axis, read_axes, save_axes
from assent.models.reward_ensembles import MEMBER, LearnedReward, load_reward, save_manifest
from assent.models.rewards import (
    Normalisation,
    TextReward,
    read_suffix,
    save_normalisation,
    save_suffix,
)
from assent.objectives.seeds import derive_seed, generator
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.types import Progress, RewardExample

Samples = tuple[Sequence[str], Sequence[str]]
"""Prompts and responses of the reference policy."""


def train_ensemble(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[RewardExample],
    reference_samples: Samples | None,
    settings: RewardSettings,
    run: RunFolder,
    *,
    seed: int,
    progress: Progress | None = None,
) -> LearnedReward:
    """Train the members that `settings.ensemble` asks for and write `run.model`.

    Args:
        model: what every member begins as; each draws a last layer of its own, but for an average.
            It is left as it is.
        tokenizer: the model's.
        examples: as `train_reward`.
        reference_samples: as `train_reward`; each member is normalised by itself, an average once.
        settings: of each member, and how they become one.
        run: where to write and where to go on from.
        seed: members derive theirs from it.
        progress: shows a bar a member.

    Raises:
        ConfigError: the settings ask for one reward model.
        And as `train_reward`.
    """
    wanted = settings.ensemble
    if wanted is None:
        message = "reward.ensemble.members: how many reward models; train_reward trains one"
        raise ConfigError(message)
    run.begin(settings, seed=seed)
    alone = settings.model_copy(update={"ensemble": None})
    is_average = wanted.aggregate == "average_weights"
    members = [RunFolder(run.path / MEMBER.format(number)) for number in range(wanted.members)]
    for number, member in enumerate(members):
        if member.is_done:
            continue
        own = derive_seed(seed, "member", number)
        start = copy.deepcopy(model)
        if not is_average:
            draw_head(start, own)
        train_reward(
            start,
            tokenizer,
            _resampled(examples, own) if wanted.bootstrap else examples,
            None if is_average else reference_samples,
            alone,
            member,
            seed=own,
            progress=progress,
            name=f"reward {number + 1} of {wanted.members}",
        )
    with run.sink(0) as sink:
        for row in _mean_metrics(members):
            sink.log(row.step, row.values)
    folders = [member.model for member in members]
    with whole_folder(run.model) as aside:
        if is_average:
            _average(folders, aside, tokenizer, reference_samples, model.device)
        else:
            _together(folders, aside, wanted)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    run.finish()
    return load_reward(run.model, model.device)


def _resampled(examples: Sequence[RewardExample], seed: int) -> list[RewardExample]:
    """As many, drawn with replacement."""
    count = len(examples)
    drawn = torch.randint(max(count, 1), (count,), generator=generator(seed, "bootstrap"))
    return [examples[int(place)] for place in drawn]


def _together(folders: Sequence[Path], aside: Path, wanted: EnsembleSettings) -> None:
    for number, folder in enumerate(folders):
        shutil.copytree(folder, aside / MEMBER.format(number))
    assert wanted.aggregate != "average_weights"
    save_manifest(aside, len(folders), wanted.aggregate, wanted.uncertainty_coef)


def _average(
    folders: Sequence[Path],
    aside: Path,
    tokenizer: PreTrainedTokenizerBase,
    samples: Samples | None,
    device: torch.device,
) -> None:
    """One model with the mean of the weights, and a normalisation of its own."""
    axes = [read_axes(folder) for folder in folders]
    outputs = max(len(axes[0]), 1)
    mean = load_reward_model(folders[0], device, outputs=outputs)
    sums = {name: tensor.double() for name, tensor in mean.state_dict().items()}
    for folder in folders[1:]:
        for name, tensor in load_reward_model(folder, device, outputs=outputs).state_dict().items():
            sums[name] += tensor
    with torch.no_grad():
        for name, tensor in mean.state_dict().items():
            tensor.copy_(sums[name] / len(folders))
    save_model(aside, mean, tokenizer)
    save_normalisation(aside, Normalisation())
    if suffix := read_suffix(folders[0]):
        save_suffix(aside, suffix)
    if axes[0]:
        save_axes(aside, [_mean_axis(same) for same in zip(*axes, strict=True)])
    if samples is not None:
        raw = TextReward.load(aside, device).raw(*samples)
        save_normalisation(aside, Normalisation.fit(raw))


def _mean_axis(same: Sequence[Axis]) -> Axis:
    """One axis of all members: with resamples their scales differ a little."""
    return Axis(
        name=same[0].name,
        weight=same[0].weight,
        mean=sum(one.mean for one in same) / len(same),
        scale=sum(one.scale for one in same) / len(same),
    )


def _mean_metrics(members: Sequence[RunFolder]) -> list[MetricRow]:
    """Each figure of each step, averaged over the members that have it."""
    steps: dict[int, dict[str, list[float]]] = {}
    for member in members:
        for row in read_metrics(member.path / "metrics.jsonl"):
            for name, value in row.values.items():
                steps.setdefault(row.step, {}).setdefault(name, []).append(value)
    return [
        MetricRow(step, {name: sum(found) / len(found) for name, found in figures.items()})
        for step, figures in sorted(steps.items())
    ]
