"""Enumerate: the exact log-probability (or reward) of every one of many fixed answers to a prompt.

The answers form a trie. It is cut into rows of at most `most_nodes` nodes, packed side by side
under an attention mask that lets each node see the prompt and its own ancestors only, in its row or
in others. Every node is computed once, so 270 answers that share their beginnings cost a fraction
of 270 forward passes, and the result is the same to rounding. Models that cannot look at other rows
compute what stands above a row with it.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from assent.models.answer_trees import AnswerTree, stack
from assent.models.llama import packed_states, takes_packed
from assent.models.loading import score_head
from assent.models.packing import ALL_WANTED, Block, Packed, lay_out
from assent.models.states import head_of, trunk_of
from assent.models.token_logprobs import log_sums
from assent.models.tokens import encode_prompts, encode_responses
from assent.objectives.logprobs import tempered_logprobs
from assent.objectives.masks import left_pad, position_ids, right_pad

SLOTS_AT_ONCE = 1500
"""Tokens of prompts and nodes together up to which several prompts are read in one pass."""


class Candidates:
    """Prompts and the answers to enumerate for each, tokenised and packed once.

    Args:
        tokenizer: of the models that will be asked.
        prompts: texts.
        answers: one list of answer texts a prompt, all equally long; equal lists are packed once.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        answers: Sequence[Sequence[str]],
    ) -> None:
        self._pad_id = int(tokenizer.pad_token_id)
        self._prompts = encode_prompts(tokenizer, prompts)
        encoded: dict[tuple[str, ...], list[list[int]]] = {}
        packed: dict[tuple[str, ...], AnswerTree] = {}
        for texts in answers:
            if tuple(texts) not in packed:
                encoded[tuple(texts)] = encode_responses(tokenizer, texts)
                packed[tuple(texts)] = AnswerTree.build(encoded[tuple(texts)])
        self._answers = [encoded[tuple(texts)] for texts in answers]
        self._trees = [packed[tuple(texts)] for texts in answers]
        self._suffixed: dict[tuple[int, ...], Candidates] = {}

    def __len__(self) -> int:
        return len(self._prompts)

    @torch.no_grad()
    def logprobs(
        self, model: PreTrainedModel, temperature: float = 1.0
    ) -> Float[Tensor, "prompt answer"]:
        """Log-probability of each whole answer, its end token included, in nats, float64."""
        return torch.cat([self._logprobs_of(model, part, temperature) for part in self._parts()])

    def _parts(self) -> Iterator[slice]:
        """Prompts in parts of at most SLOTS_AT_ONCE, or of one prompt."""
        start = slots = 0
        for number, (prompt, tree) in enumerate(zip(self._prompts, self._trees, strict=True)):
            more = len(prompt) + tree.tokens.numel()
            if number > start and slots + more > SLOTS_AT_ONCE:
                yield slice(start, number)
                start, slots = number, 0
            slots += more
        if self._prompts:
            yield slice(start, len(self._prompts))

    def _logprobs_of(self, model: PreTrainedModel, part: slice, temperature: float) -> Tensor:
        trunk, head = trunk_of(model), head_of(model)
        if head is not None and takes_packed(trunk):
            laid = self._laid_out(part)
            steps = _packed_steps(trunk, head, laid, temperature).double()
            every = torch.cat([steps.flatten()[laid.above], steps], dim=1)
            totals = (laid.ancestors.double() @ every[:, :, None]).squeeze(2)
            return torch.stack(self._pick(part, totals))
        run = self._run(model, part, with_logits=True)
        # Each node's token is predicted by its parent, or by the prompt's last token.
        row = torch.arange(len(run.tokens), device=run.tokens.device)[:, None]
        parent = run.parents.clamp(min=0)
        figures, asked = run.node_figures.float() / temperature, run.prompt_logits.float()
        from_parent = figures[row, parent, run.tokens] - figures.logsumexp(-1)[row, parent]
        first = tempered_logprobs(asked, temperature=temperature)
        from_prompt = first[run.prompt_of_row].gather(1, run.tokens)
        steps = torch.where(run.parents >= 0, from_parent, from_prompt).double()
        totals = (run.ancestors.double() @ steps[:, :, None]).squeeze(2)
        return torch.stack(self._pick(part, totals[:, run.above :]))

    @torch.no_grad()
    def rewards(
        self, model: PreTrainedModel, suffix: Sequence[int] = ()
    ) -> Float[Tensor, "prompt answer"]:
        """Raw score of each answer by a reward model on a decoder trunk, float64.

        Args:
            model: a sequence classifier with one output.
            suffix: tokens between each answer and its end token.
        """
        if suffix:
            return self._followed_by(tuple(suffix)).rewards(model)
        return torch.cat([self._rewards_of(model, part) for part in self._parts()])

    def _rewards_of(self, model: PreTrainedModel, part: slice) -> Tensor:
        trunk, weight = trunk_of(model), score_head(model).weight.float()
        if takes_packed(trunk):
            states = self._end_states(trunk, part)
            return (states @ weight.T).view(part.stop - part.start, -1).double()
        run = self._run(trunk, part, with_logits=False)
        scores = (run.node_figures.float() @ weight.T).squeeze(2)
        return torch.stack(self._pick(part, scores[:, run.above :].double()))

    def _followed_by(self, suffix: tuple[int, ...]) -> "Candidates":
        """The same prompts and answers, with tokens between each answer and its end."""
        if suffix not in self._suffixed:
            packed = {
                number: AnswerTree.build([[*ids[:-1], *suffix, ids[-1]] for ids in answers])
                for number, answers in {id(one): one for one in self._answers}.items()
            }
            other = copy(self)
            other._trees = [packed[id(answers)] for answers in self._answers]
            self._suffixed[suffix] = other
        return self._suffixed[suffix]

    def _pick(self, part: slice, values: Tensor) -> list[Tensor]:
        picked, start = [], 0
        for tree in self._trees[part]:
            rows = values[start : start + len(tree.tokens)].cpu()
            picked.append(rows[tree.ends[:, 0], tree.ends[:, 1]])
            start += len(tree.tokens)
        return picked

    def _end_states(self, trunk: PreTrainedModel, part: slice) -> Tensor:
        """Last states at the ends of the answers, answer after answer."""
        laid = self._laid_out(part)
        wanted, places = np.unique(laid.ends.numpy(), return_inverse=True)
        states = packed_states(trunk, laid.packed(wanted), "float32")
        return states[torch.from_numpy(places)]

    def _laid_out(self, part: slice) -> "_LaidOut":
        """Prompts in one block, and the rows of their trees in one that looks back at them."""
        trees = self._trees[part]
        asked = right_pad(self._prompts[part], self._pad_id)
        lengths = asked.mask.sum(1)
        slots = torch.arange(asked.tokens.numel()).view(asked.tokens.shape)
        which = torch.repeat_interleave(
            torch.arange(len(trees)), torch.tensor([len(tree.tokens) for tree in trees])
        )
        tokens, above, parents, ancestors, depths = stack(trees)
        count, width = tokens.shape
        back = above.shape[1]
        positions = depths[:, back:] + lengths[which][:, None]
        prompt_positions = torch.arange(asked.tokens.shape[1]).expand_as(asked.tokens)
        seen = asked.mask[which][:, None].expand(-1, width, -1)
        first = asked.tokens.numel()
        elsewhere = first + above
        own = first + torch.arange(count * width).view(count, width)
        every = torch.cat([elsewhere, own], dim=1)
        parent = parents[:, back:]
        tops = torch.tensor([len(tree.tokens) for tree in trees]).cumsum(0)
        row_of_end = torch.cat(
            [
                tree.ends[:, 0] + top - len(tree.tokens)
                for tree, top in zip(trees, tops, strict=True)
            ]
        )
        behind_prompt = slots[torch.arange(len(trees)), lengths - 1][which][:, None]
        return _LaidOut(
            tokens=tokens,
            above=above,
            ancestors=ancestors[:, back:],
            before=torch.where(parent >= 0, every.gather(1, parent.clamp(min=0)), behind_prompt),
            ends=own[row_of_end, torch.cat([tree.ends[:, 1] for tree in trees])],
            all_tokens=torch.cat([asked.tokens.flatten(), tokens.flatten()]),
            all_positions=torch.cat([prompt_positions.flatten(), positions.flatten()]),
            blocks=(
                Block(0, *asked.tokens.shape),
                Block(
                    first,
                    count,
                    width,
                    torch.cat([slots[which], elsewhere], dim=1),
                    torch.cat([seen, ancestors[:, back:]], dim=2),
                ),
            ),
        )

    def _run(self, model: PreTrainedModel, part: slice, *, with_logits: bool) -> "_Run":
        trees = self._trees[part]
        device = next(model.parameters()).device
        padded = left_pad(self._prompts[part], self._pad_id)
        tokens, mask = padded.tokens.to(device), padded.mask.to(device)
        cache = DynamicCache(config=model.config)
        prompt = model(
            input_ids=tokens,
            attention_mask=mask.long(),
            position_ids=position_ids(mask),
            past_key_values=cache,
            use_cache=True,
        )
        counts = torch.tensor([len(tree.tokens) for tree in trees], device=device)
        prompt_of_row = torch.repeat_interleave(torch.arange(len(trees), device=device), counts)
        cache.batch_select_indices(prompt_of_row)
        own, above, parents, ancestors, depths = (item.to(device) for item in stack(trees))
        node_tokens = torch.cat([own.flatten()[above], own], dim=1)
        width = node_tokens.shape[1]
        visible = torch.cat(
            [mask[prompt_of_row][:, None, :].expand(-1, width, -1), ancestors], dim=2
        )
        dtype = next(model.parameters()).dtype
        bias = torch.zeros(visible.shape, dtype=dtype, device=device)
        bias = bias.masked_fill(~visible, torch.finfo(dtype).min)[:, None]
        output = model(
            input_ids=node_tokens,
            attention_mask=bias,
            position_ids=depths + mask.sum(1)[prompt_of_row][:, None],
            past_key_values=cache,
            use_cache=True,
        )
        empty = torch.empty(0, device=device)
        return _Run(
            tokens=node_tokens,
            parents=parents,
            ancestors=ancestors,
            above=above.shape[1],
            prompt_of_row=prompt_of_row,
            prompt_logits=prompt.logits[:, -1] if with_logits else empty,
            node_figures=output.logits if with_logits else output.last_hidden_state,
        )


def _packed_steps(
    trunk: PreTrainedModel, head: nn.Module, laid: "_LaidOut", temperature: float
) -> Float[Tensor, "row node"]:
    """Log-probability of each node's token, given its parent, or the prompt's last token."""
    wanted, places = np.unique(laid.before.numpy(), return_inverse=True)
    if len(wanted) > ALL_WANTED * len(laid.all_tokens):
        states = packed_states(trunk, laid.packed(None), "float32")[torch.from_numpy(wanted)]
    else:
        states = packed_states(trunk, laid.packed(wanted), "float32")
    logits = head(states)
    place = torch.from_numpy(places.reshape(laid.tokens.shape))
    sums: Tensor = log_sums(logits, temperature)
    steps: Tensor = logits[place, laid.tokens].float() / temperature - sums[place]
    return steps


class _Run(NamedTuple):
    tokens: Tensor
    """[row, above + node], as are the next two."""
    parents: Tensor
    ancestors: Tensor
    above: int
    """Columns that stand before a row's own."""
    prompt_of_row: Tensor
    prompt_logits: Tensor
    node_figures: Tensor
    """[row, above + node, ...] logits or last hidden states."""


class _LaidOut(NamedTuple):
    """Prompts and trees in slots: the prompts first, padded on the right."""

    tokens: Tensor
    """[row, node]"""
    above: Tensor
    """[row, above] number of each in `tokens`, flat."""
    ancestors: Tensor
    """[row, node, above + node]"""
    before: Tensor
    """[row, node] slot of what each node follows: its parent, or its prompt's last token."""
    ends: Tensor
    """Slot of each answer's last token."""
    all_tokens: Tensor
    """[slot]"""
    all_positions: Tensor
    """[slot]"""
    blocks: tuple[Block, ...]

    def packed(self, wanted: NDArray[np.int64] | None) -> Packed:
        """For states at some of the slots, or at all."""
        return lay_out(self.all_tokens, self.all_positions, self.blocks, wanted)
