r"""How much memory a stage will take, from the shape of its models alone.

All weights are float32, whatever precision the forward pass runs in. With P parameters, of which T
are trained, in bytes:

    weights        4 P for each model that is held
    gradients      4 T
    Adam           8 T
    activations    4 b s L (10 h + 4 f), kept for the backward pass
    logits         4 b w V c: the logits, their log-softmax and the gradients of both
    KV cache       8 r s L k d, while r rollouts are sampled

b rows of s tokens in a forward pass, w of them scored; L layers of width h, f in the feed-forward
part, k heads that keep keys and values of d numbers; V words. bfloat16 halves the activations and
adds 2 P for copies of the weights. With gradient checkpointing L h b s numbers are kept and one
layer's activations besides. A mixture of experts computes as many f as experts a token is sent to.

It is an estimate: kernels, buffers and the allocator add their own. What tensors take at the peak
of a step lies within a factor of 1.5 of it for Llama- and GPT-2-type models in float32.

Source: Korthikanti et al. 2022, "Reducing activation recomputation in large transformer models",
section 4. Differs: no dropout masks, no attention matrix (torch's kernels keep none), and the
factors of h and f are those of today's modules, counted at 4 bytes a number.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig
from transformers.pytorch_utils import Conv1D

from assent.config.lora import LoraSettings
from assent.models.quiet import quiet_transformers

FLOAT = 4
LOGIT_COPIES = 4
RESERVED = ("lm_head", "score", "embed_out")
"""Output layers, which an adapter leaves alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of a model decides how much memory it takes."""

    parameters: int
    linear: tuple[tuple[int, int], ...]
    """(in, out) of every linear layer but the output."""
    hidden: int
    layers: int
    key_value_heads: int
    head_size: int
    feed_forward: int
    """Width of what a token passes through: of all the experts it is sent to."""
    vocabulary: int
    positions: int | None

    def adapter_parameters(self, settings: LoraSettings) -> int:
        """How many an adapter on every linear layer trains."""
        return sum(settings.rank * (wide + high) for wide, high in self.linear)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes, by what holds them; activations, logits and cache are those of the fullest moment."""

    weights: int
    gradients: int
    adam: int
    activations: int
    logits: int
    kv_cache: int

    @property
    def total(self) -> int:
        """At the fullest moment: sampling and training do not overlap."""
        held = self.weights + self.adam
        training = self.gradients + self.activations + self.logits
        return held + max(training, self.kv_cache)

    def as_dict(self) -> dict[str, int]:
        """By part, and together."""
        return {**asdict(self), "total": self.total}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One forward and backward pass of a stage, at its largest."""

    rows: int
    tokens: int
    """Of the longest row."""
    scored: int
    """Positions whose logits are needed; 0 for a reward model."""
    bfloat16: bool = False
    checkpointing: bool = False
    rollouts: int = 0
    """Sampled together."""


def shape_of(config: PretrainedConfig) -> Shape:
    """The shape of a causal LM, from its configuration alone: no weight is made."""
    text = config.get_text_config()
    with torch.device("meta"), quiet_transformers():
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    linear = [
        _sides(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name.rpartition(".")[2] not in RESERVED
    ]
    heads = int(text.num_attention_heads)
    experts = int(getattr(text, "num_experts_per_tok", None) or 1)
    width = getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None)
    return Shape(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        linear=tuple(linear),
        hidden=int(text.hidden_size),
        layers=int(text.num_hidden_layers),
        key_value_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_size=int(getattr(text, "head_dim", None) or text.hidden_size // heads),
        feed_forward=int(width or 4 * text.hidden_size) * experts,
        vocabulary=int(text.vocab_size),
        positions=getattr(text, "max_position_embeddings", None),
    )


def footprint(
    trained: Shape,
    held: int,
    work: Work,
    *,
    lora: LoraSettings | None = None,
    trained_besides: int = 0,
) -> Footprint:
    """The memory of a stage.

    Args:
        trained: the model that learns.
        held: parameters of the other models in memory: reference, reward model.
        work: the largest pass.
        lora: trains an adapter instead of the weights.
        trained_besides: parameters of a value head or a separate value model.
    """
    adapter = trained.adapter_parameters(lora) if lora else 0
    learning = (adapter or trained.parameters) + trained_besides
    number = 2 if work.bfloat16 else FLOAT
    places = work.rows * work.tokens
    layer = 10 * trained.hidden + 4 * trained.feed_forward
    kept = trained.layers * trained.hidden + layer if work.checkpointing else trained.layers * layer
    copies = 2 * trained.parameters if work.bfloat16 else 0
    cache = 2 * trained.layers * trained.key_value_heads * trained.head_size
    return Footprint(
        weights=FLOAT * (trained.parameters + adapter + trained_besides + held) + copies,
        gradients=FLOAT * learning,
        adam=2 * FLOAT * learning,
        activations=number * places * kept,
        logits=FLOAT * LOGIT_COPIES * work.rows * work.scored * trained.vocabulary,
        kv_cache=FLOAT * work.rollouts * work.tokens * cache,
    )


def memory_of(device: torch.device) -> int | None:
    """Bytes that the device has in all; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123 - not a path of ours
            return int(next(lines).split()[1]) * 1024
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _sides(module: Any) -> tuple[int, int]:  # noqa: ANN401 - Linear or Conv1D
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    return int(module.nx), int(module.nf)
