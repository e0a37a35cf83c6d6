"""Checkpoint folders: ordinary Hugging Face folders."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.models.quiet import quiet_transformers


def save_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write model and tokenizer as a Hugging Face folder (inside `config.files.whole_folder`)."""
    with quiet_transformers():
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
