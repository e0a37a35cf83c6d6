"""Keys and values of a response that grows: one buffer a layer, of the rows still being written."""

from torch import Tensor
from transformers import DynamicCache, DynamicLayer, PreTrainedModel


class GrowingLayer(DynamicLayer):
    """A cache layer that writes new positions into room it already has.

    `DynamicLayer` copies everything it holds at every token.
    """

    MORE = 32
    """Positions of new room at least, so that short responses find theirs at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._key_room: Tensor | None = None
        self._value_room: Tensor | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Keep these too, and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        held, new = self.get_seq_length(), key_states.shape[-2]
        self._key_room, self.keys = _append(self._key_room, self.keys, key_states, held, new)
        self._value_room, self.values = _append(
            self._value_room, self.values, value_states, held, new
        )
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows; their order is that of the indices."""
        super().batch_select_indices(indices)
        self._key_room = self._value_room = None


def _append(
    room: Tensor | None, held_states: Tensor, states: Tensor, held: int, new: int
) -> tuple[Tensor, Tensor]:
    """The room, made where there is none or too little, and what of it is filled."""
    if room is None or room.shape[-2] < held + new:
        batch, heads, _, width = states.shape
        spare = max(GrowingLayer.MORE, (held + new) // 2)
        room = states.new_empty(batch, heads, held + new + spare, width)
        if held:
            room[:, :, :held] = held_states
    room[:, :, held : held + new] = states
    return room, room[:, :, : held + new]


def new_cache(model: PreTrainedModel) -> DynamicCache:
    """An empty cache for a model: full attention in growing buffers, other layers as they come."""
    cache = DynamicCache(config=model.config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def can_drop_rows(cache: DynamicCache) -> bool:
    """Whether rows may leave the cache, or be repeated: every layer holds keys and values only."""
    return all(isinstance(layer, DynamicLayer) for layer in cache.layers)
