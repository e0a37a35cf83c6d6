"""Checkpoint folders: ordinary Hugging Face folders."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.models.lora import ADAPTER_FOLDER, Adapter
from assent.models.quiet import quiet_transformers


def save_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    adapter: Adapter | None = None,
) -> None:
    """Write model and tokenizer as a Hugging Face folder (inside `config.files.whole_folder`).

    An adapter is merged into what is written, and kept in `adapter/` beside it; the model in memory
    goes on as it is.
    """
    whole = model if adapter is None else adapter.merged()
    with quiet_transformers():
        whole.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
    if adapter is not None:
        adapter.save(folder / ADAPTER_FOLDER)
