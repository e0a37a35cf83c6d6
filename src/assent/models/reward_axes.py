"""Reward models of several axes: one output each, and the stated combination that is the reward.

The folder is an ordinary sequence classifier with an output an axis; `reward_axes.json` beside it
says which output is which, what it is in the units of the ratings, and what it weighs. In memory
the combination is one output, so that whatever reads rewards reads it like any other.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from assent.config.files import write_file
from assent.errors import NotAModel
from assent.models.loading import last_layer

AXES_FILE = "reward_axes.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One output: rating = mean + scale * output, and the reward is the sum of weight * output."""

    name: str
    weight: float
    """Reward a standard deviation of the ratings on this axis."""
    mean: float = 0.0
    """Of the ratings it was trained on."""
    scale: float = 1.0
    """Their standard deviation."""


def save_axes(folder: Path, axes: Sequence[Axis]) -> None:
    """Write what the outputs of a model mean, beside it."""
    text = json.dumps({"axes": [asdict(axis) for axis in axes]}, indent=2, ensure_ascii=False)
    write_file(folder / AXES_FILE, text + "\n")


def read_axes(folder: str | Path) -> tuple[Axis, ...]:
    """What `save_axes` wrote; none for a model with one output and no such file.

    Raises:
        NotAModel: the file holds no axes with finite numbers.
    """
    file = Path(folder) / AXES_FILE
    if not file.is_file():
        return ()
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        axes = tuple(
            Axis(
                name=str(one["name"]),
                weight=float(one["weight"]),
                mean=float(one["mean"]),
                scale=float(one["scale"]),
            )
            for one in given["axes"]
        )
    except KeyError as error:
        message = f"{file} does not say what the axes are: it holds no {error}"
        raise NotAModel(message) from error
    except (OSError, ValueError, TypeError, OverflowError) as error:
        message = f"{file} does not say what the axes are: {error}"
        raise NotAModel(message) from error
    sound = all(
        math.isfinite(one.weight) and math.isfinite(one.mean) and 0 < one.scale < math.inf
        for one in axes
    )
    if not axes or not sound:
        message = f"{file} does not say what the axes are: finite weights and scales above 0"
        raise NotAModel(message)
    return axes


def combine_outputs(model: PreTrainedModel, weights: Sequence[float]) -> None:
    r"""Make the weighted sum of a classifier's outputs its only output, in place.

    .. math:: w^\top (W h + b) = (w^\top W) h + w^\top b

    Raises:
        NotAModel: the model has another number of outputs, or no linear last layer.
    """
    layer = last_layer(model)
    if layer.out_features != len(weights):
        message = f"the model has {layer.out_features} outputs and {len(weights)} axes are named"
        raise NotAModel(message)
    with torch.no_grad():
        mix = torch.tensor(weights, dtype=torch.float64)[None]
        device, dtype = layer.weight.device, layer.weight.dtype
        layer.weight = torch.nn.Parameter(
            (mix @ layer.weight.double().cpu()).to(device=device, dtype=dtype)
        )
        if layer.bias is not None:
            layer.bias = torch.nn.Parameter(
                (mix @ layer.bias.double().cpu()).to(device=device, dtype=dtype)
            )
    layer.out_features = 1
    model.config.num_labels = 1
    if hasattr(model, "num_labels"):
        model.num_labels = 1  # type: ignore[assignment]
