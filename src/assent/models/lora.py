r"""LoRA adapters, by PEFT: put into a model in place, switched off, merged, saved beside it.

.. math:: W' = W + (\alpha / r)\, B A

B begins at zero, so a new adapter changes nothing. Whatever is written as a model has the adapter
merged in and is an ordinary Hugging Face folder; the adapter is kept in `adapter/` beside it.

Source: Hu et al. 2021, "LoRA: Low-rank adaptation of large language models", section 4.1.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from assent.config.lora import LoraSettings
from assent.errors import NotAModel
from assent.models.loading import HEADS
from assent.models.quiet import quiet_transformers

ADAPTER_FOLDER = "adapter"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class Adapter:
    """A trainable adapter inside a model; the model's own weights are frozen."""

    def __init__(self, peft: PeftModel, model: PreTrainedModel) -> None:
        self._peft, self.model = peft, model

    @contextmanager
    def off(self) -> Iterator[None]:
        """The model as it was before the adapter, while the context is open."""
        with self._peft.disable_adapter():
            yield

    def merge(self) -> PreTrainedModel:
        """Add the adapter to the weights for good; the model is an ordinary one afterwards."""
        self._peft.merge_and_unload()
        for parameter in self.model.parameters():
            parameter.requires_grad = True
        return self.model

    def merged(self) -> PreTrainedModel:
        """An ordinary model with the adapter merged in; this one goes on as it is."""
        with torch.device("meta"):
            plain: PreTrainedModel = type(self.model)(self.model.config)
        plain.load_state_dict(_merged_weights(self.model), strict=True, assign=True)
        for name, buffer in self.model.named_buffers():  # those that no folder keeps
            owner, _, last = name.rpartition(".")
            plain.get_submodule(owner).register_buffer(last, buffer, persistent=False)
        plain.tie_weights()
        if self.model.can_generate():
            plain.generation_config = self.model.generation_config
        plain.train(mode=False)
        return plain

    def save(self, folder: Path) -> None:
        """Write the adapter alone, as PEFT reads it."""
        with quiet_transformers():
            self._peft.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # a model card of empty headings
        file = folder / ADAPTER_CONFIG
        config = json.loads(file.read_text(encoding="utf-8"))
        # PEFT writes sets as they come, and where the base lay; the same adapter is the same file.
        if Path(config["base_model_name_or_path"] or "").is_absolute():
            config["base_model_name_or_path"] = None
        ordered = {
            key: sorted(value) if isinstance(value, list) else value
            for key, value in config.items()
        }
        file.write_text(json.dumps(ordered, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take the weights of an adapter of the same shape that `save` wrote.

        Raises:
            NotAModel: the folder holds no adapter, or one of another shape.
        """
        file = folder / ADAPTER_WEIGHTS
        try:
            report: Any = set_peft_model_state_dict(self._peft, load_file(file))
        except (OSError, SafetensorError, RuntimeError) as error:
            message = f"{folder} holds no adapter that fits: {' '.join(str(error).split())[:200]}"
            raise NotAModel(message) from error
        if report.unexpected_keys:
            message = f"{folder} holds no adapter that fits: {report.unexpected_keys[0]} is odd"
            raise NotAModel(message)


def add_adapter(model: PreTrainedModel, settings: LoraSettings, *, seed: int) -> Adapter:
    """Put a new adapter into a model; its weights come from the seed alone.

    A reward model's head is trained whole beside the adapter.

    Args:
        model: changed in place: its weights are frozen, its linear layers wrapped.
        settings: rank, scale and which layers.
        seed: of A; B is zero.

    Raises:
        NotAModel: no layer has one of the names; says which there are.
    """
    heads = [name for name in HEADS if isinstance(getattr(model, name, None), nn.Module)]
    targets = settings.target_modules
    if targets is not None:
        _require_layers(model, targets)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type] # PEFT divides; any number does
        lora_dropout=0.0,
        target_modules="all-linear" if targets is None else list(targets),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        # PEFT adds the two usual names of a classifier's head itself.
        modules_to_save=[name for name in heads if name not in ("score", "classifier")] or None,
        task_type="SEQ_CLS" if heads else "CAUSAL_LM",
    )
    devices = [model.device] if model.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        quiet_transformers(),
        warnings.catch_warnings(),
    ):
        # PEFT asks transformers by a name that transformers has given up.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        # A mixture's experts are adapted by patterns that name layers it has nowhere else.
        warnings.filterwarnings(
            "ignore", ".*(rank|alpha)_pattern keys did not match", RuntimeWarning
        )
        torch.manual_seed(seed)
        peft: Any = get_peft_model(model, config)
    peft.train(mode=False)
    return Adapter(peft, model)


def _require_layers(model: PreTrainedModel, targets: tuple[str, ...]) -> None:
    layers = [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)
    ]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in layers):
            known = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
            message = (
                f"lora.target_modules: no linear layer is called {target!r}; there are {known}"
            )
            raise NotAModel(message)


def _merged_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The weights of the model without an adapter, under their own names."""
    weights = {
        name.replace(".base_layer", "").replace(".modules_to_save.default.", "."): tensor
        for name, tensor in model.state_dict().items()
        if ".lora_" not in name and ".original_module." not in name
    }
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            delta: Tensor = cast("Any", module).get_delta_weight("default")
            # A mixture's experts are parameters of one layer, wrapped one in the other.
            parameter = getattr(module, "parameter_name", "weight")
            own = f"{name.replace('.base_layer', '')}.{parameter}"
            weights[own] = weights[own] + delta.to(weights[own].dtype)
    return weights
