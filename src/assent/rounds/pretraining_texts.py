"""What PPO goes on learning beside its rewards: the world's corpus, or a file of texts."""

from pathlib import Path

from assent.errors import ConfigError, DataError
from assent.formats import Problem
from assent.formats.containers import open_rows
from assent.rounds.workspace import Workspace
from assent.worlds.almanac import pretraining_documents


def pretraining_texts(workspace: Workspace) -> list[str]:
    """The texts of `ppo.pretraining`; none where it is not set.

    Of the world's corpus as many documents as PPO learns, from the beginning.

    Raises:
        ConfigError: no file is named, and there is no world that has a corpus.
        UnreadableFile, DataError: the file cannot be read, or a row of it holds no text.
    """
    settings = workspace.settings.ppo
    mix = settings.pretraining
    if mix is None:
        return []
    if mix.texts is not None:
        path = Path(mix.texts)
        return texts_of(path if path.is_absolute() else workspace.project.root / path)
    if workspace.world is None:
        message = (
            "ppo.pretraining.texts: name a file of texts, one a line; only the embedded world "
            "brings a corpus of its own"
        )
        raise ConfigError(message)
    learned = settings.updates * settings.epochs * settings.minibatches * mix.batch_size
    made = workspace.settings.pretrain
    count = min(learned, made.steps * made.batch_size)
    return pretraining_documents(workspace.world, count, workspace.seed)


def texts_of(path: Path) -> list[str]:
    """The texts of a file: a line each, or the column `text` of JSON lines, CSV or Parquet.

    Raises:
        UnreadableFile: it is missing, empty or broken.
        DataError: a row holds no text; names it.
    """
    source = open_rows(path)
    column = "prompt" if source.kind == "text" else "text"
    found: list[str] = []
    for row in source.rows:
        if isinstance(row, Problem):
            raise DataError(str(row))
        cell = row.cells.get(column)
        if not isinstance(cell, str):
            message = (
                f"{row.where}: no column {column!r} with a text; pretraining texts stand there"
            )
            raise DataError(message)
        if cell.strip():
            found.append(cell)
    return found
