"""Checkpoint folders: ordinary Hugging Face folders."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.models.lora import ADAPTER_FOLDER, Adapter
from assent.models.quiet import quiet_transformers
from assent.models.tokens import end_ids


def save_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    adapter: Adapter | None = None,
) -> None:
    """Write model and tokenizer as a Hugging Face folder (inside `config.files.whole_folder`).

    An adapter is merged into what is written, and kept in `adapter/` beside it; the model in memory
    goes on as it is. A policy's generation config names every token that ends a response, so that
    other engines stop where it learned to.
    """
    whole = model if adapter is None else adapter.merged()
    if whole.can_generate():
        _name_ends(whole, tokenizer)
    with quiet_transformers():
        whole.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
    if adapter is not None:
        adapter.save(folder / ADAPTER_FOLDER)


def weights_hash(model: nn.Module, *, adapter: bool) -> str:
    """SHA-256 of a model's weights, with those of an adapter in it or without them."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if ".lora_" in name and not adapter:
            continue
        digest.update(name.replace(".base_layer", "").encode())
        content = parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(content.numpy().tobytes())
    return digest.hexdigest()


def _name_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.eos_token_id is None:
        return
    config: Any = model.generation_config
    ends = end_ids(tokenizer, model)
    if len(ends) > 1:
        config.eos_token_id = list(ends)
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
