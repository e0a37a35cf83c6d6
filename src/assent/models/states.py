"""Hidden states of a causal model where they are wanted, computed without the padding.

A row is pad, prompt, response, pad. Here the rows are moved to the left, so that only their ends
are padded, and read a few of like length at a time. No token of a causal model looks ahead, so what
stands behind a row's end changes nothing and no mask is needed. Whether a model really reads so is
tried once on two short rows; one that does not is read as it comes, with masks and positions.
"""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import cast
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from assent.models.attention import use_fast_attention
from assent.models.bfloat16 import tell_if_slow
from assent.models.llama import packed_states, takes_packed
from assent.models.packing import LONGEST, alike, pack
from assent.models.quiet import quiet_transformers
from assent.models.tokens import Rows, join
from assent.objectives.masks import position_ids

_log = logging.getLogger(__name__)

SPARE_TOKENS = 256
"""Padding that costs about as much as one more forward pass of few rows, on a CPU."""
SPARE_TOKENS_GPU = 32_768

_reads_ahead: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_heads: WeakKeyDictionary[nn.Module, nn.Module | None] = WeakKeyDictionary()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """The context in which a forward pass runs at a precision."""
    if precision == "float32":
        return nullcontext()
    if device.type == "cpu":
        tell_if_slow()
    context: AbstractContextManager[None] = torch.autocast(device.type, dtype=torch.bfloat16)
    return context


def trunk_of(model: PreTrainedModel) -> PreTrainedModel:
    """What makes the hidden states that the model's head reads."""
    return cast("PreTrainedModel", model.base_model)


def states_at(
    trunk: PreTrainedModel, rows: Rows, picks: Bool[Tensor, "batch seq"], precision: str
) -> Float[Tensor, "picked hidden"]:
    """Last hidden states at the positions picked, row after row.

    Args:
        trunk: of a causal model; the caller decides on gradients.
        rows: each a run of real tokens.
        picks: which columns of which rows; real tokens only.
        precision: "bfloat16" runs the trunk under autocast.
    """
    if takes_packed(trunk) and rows.tokens.shape[1] <= LONGEST:
        packing = pack(rows, picks)
        return packed_states(trunk, packing.packed, precision)[packing.places]
    if precision == "bfloat16":
        use_fast_attention(trunk)
    if not _ignores_what_follows(trunk):
        return _states_with_masks(trunk, rows, precision)[picks]
    return _states_by_length(trunk, rows, picks, precision)


def head_of(model: PreTrainedModel) -> nn.Module | None:
    """What turns hidden states into logits, if that and the trunk are all the model is.

    Some models scale or cap their logits besides; for them None, and that is logged once.
    """
    if model not in _heads:
        _heads[model] = _find_head(model)
    return _heads[model]


def _states_with_masks(trunk: PreTrainedModel, rows: Rows, precision: str) -> Tensor:
    with autocast(rows.tokens.device, precision):
        output = trunk(
            input_ids=rows.tokens,
            attention_mask=rows.mask.long(),
            position_ids=position_ids(rows.mask),
            use_cache=False,
        )
    states: Tensor = output.last_hidden_state
    return states


def _states_by_length(trunk: PreTrainedModel, rows: Rows, picks: Tensor, precision: str) -> Tensor:
    lengths = rows.mask.sum(dim=1).tolist()
    device = rows.tokens.device
    starts = rows.mask.int().argmax(dim=1)
    found: list[Tensor] = []
    places: list[Tensor] = []
    for numbers in alike(lengths, SPARE_TOKENS if device.type == "cpu" else SPARE_TOKENS_GPU):
        index = torch.tensor(numbers, device=device)
        width = max(lengths[number] for number in numbers)
        columns = starts[index, None] + torch.arange(width, device=device)
        columns = columns.clamp(max=rows.tokens.shape[1] - 1)
        ends = rows.mask.sum(dim=1)[index, None]
        inside = torch.arange(width, device=device) < ends
        wanted = picks[index].gather(1, columns) & inside
        # Some models warn of padding that comes without a mask; here it stands behind the ends.
        with autocast(device, precision), quiet_transformers():
            output = trunk(input_ids=rows.tokens[index].gather(1, columns), use_cache=False)
        found.append(output.last_hidden_state[wanted])
        row, column = wanted.nonzero(as_tuple=True)
        places.append(index[row] * rows.tokens.shape[1] + columns[row, column])
    if len(found) == 1 and numbers == sorted(numbers):
        return found[0]
    return torch.cat(found)[torch.cat(places).argsort()]


def _probe(model: PreTrainedModel) -> Rows:
    """Two short rows, the first padded on both sides."""
    words = min(int(model.config.get_text_config().vocab_size), 7)
    prompts = [[1 % words], [2 % words, 3 % words, 5 % words]]
    responses = [[4 % words, 1 % words], [6 % words, 5 % words, 2 % words]]
    return join(prompts, responses, 0).to(model.device)


def _ignores_what_follows(trunk: PreTrainedModel) -> bool:
    if trunk not in _reads_ahead:
        rows = _probe(trunk)
        with torch.no_grad():
            by_mask = _states_with_masks(trunk, rows, "float32")[rows.mask]
            by_length = _states_by_length(trunk, rows, rows.mask, "float32")
        same = _close(by_length, by_mask)
        if not same:
            _log.info("%s is read with its padding: it needs masks", type(trunk).__name__)
        _reads_ahead[trunk] = same
    return _reads_ahead[trunk]


def _find_head(model: PreTrainedModel) -> nn.Module | None:
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    trunk = trunk_of(model)
    if not isinstance(head, nn.Module) or trunk is model:
        return None
    rows = _probe(model)
    with torch.no_grad():
        whole = model(
            input_ids=rows.tokens,
            attention_mask=rows.mask.long(),
            position_ids=position_ids(rows.mask),
            use_cache=False,
        ).logits[rows.mask]
        split = head(states_at(trunk, rows, rows.mask, "float32"))
    if _close(split, whole):
        return head
    _log.info(
        "%s makes more of its logits than a linear layer: all of them are computed",
        type(model).__name__,
    )
    return None


def _close(one: Tensor, other: Tensor) -> bool:
    """Equal but for rounding in the precision of the weights."""
    tolerance = 1e-4 if one.dtype == torch.float32 else 4 * torch.finfo(one.dtype).eps
    scale = max(1.0, float(other.abs().max()))
    return one.shape == other.shape and bool(
        torch.allclose(one.float(), other.float(), rtol=0, atol=tolerance * scale)
    )
