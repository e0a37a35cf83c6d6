"""`assent init`: a project around a causal LM that exists already.

Everything is made in a folder beside the one asked for, which takes its place when it is whole.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent import __version__
from assent.config.files import whole_folder
from assent.config.project import ProjectSettings
from assent.config.sizes import own_settings
from assent.config.write import dump_toml
from assent.errors import NotAModel, ProjectError
from assent.models.chat import has_template
from assent.models.checkpoints import save_model
from assent.models.loading import (
    add_pad_token,
    load_causal_lm,
    max_positions,
    open_tokenizer,
    require_fit,
    require_match,
)
from assent.models.tokens import encode_prompts
from assent.rounds.material import BASE
from assent.rounds.prompts import add_prompts
from assent.store import NewModelVersion, Project
from assent.store.project import RUNS_FOLDER

logger = logging.getLogger(__name__)

PARTS = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
"""Of a hub repository what a model and its tokenizer are made of; no pickles and no code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What `assent init` made, to tell the user."""

    project: Path
    model: str
    """Where the project keeps the base model, relative to its folder."""
    weights_sha256: str
    parameters: int
    positions: int | None
    """Longest text the model reads, in tokens."""
    chat: str
    """How chat prompts are read."""
    pad_token: str
    prompts: dict[str, int]
    """Imported, by split."""
    dropped: dict[str, int]
    """Rows that were left out, by reason."""
    too_long: int
    """Prompts that leave no room for a response: they are stored, and never asked."""


def init_project(
    root: Path,
    *,
    model: str,
    prompts: Path | None,
    size: str,
    seed: int,
) -> Started:
    """Make a project around a model: copy it, import the prompts, write assent.toml.

    Args:
        root: a new or empty folder.
        model: a Hugging Face folder or a hub id.
        prompts: a text file with a prompt a line, or any file that `assent data import` reads.
        size: of the runs; see `config/own`.
        seed: of every draw.

    Raises:
        ProjectError: the folder holds something.
        ConfigError: no such size.
        NotAModel, TokenizerUnfit: the model cannot be used; says why.
        DataError: the prompts cannot be used; names the row.
        DiskFull: no room. Whatever is raised, nothing is left behind.
    """
    settings = own_settings(size, {"seed": seed, "base_model": model})
    source = _folder_of(model)
    with _made_whole(root.absolute()) as made:
        project = Project.create(made, _settings_text(settings))
        with project:
            policy, tokenizer, added_pad = _open(source)
            folder = made / RUNS_FOLDER / BASE
            with whole_folder(folder) as aside:
                if added_pad:
                    save_model(aside, policy, tokenizer)
                else:
                    _copy(source, aside)
            artifact = project.artifacts.adopt_folder(folder, BASE, BASE)
            project.store.add_model_version(
                NewModelVersion(
                    stage=BASE,
                    name=BASE,
                    weights_sha256=artifact.sha256,
                    path=artifact.path,
                    code_version=__version__,
                )
            )
            dropped = add_prompts(project, prompts) if prompts else {}
            stored = [prompt.text for prompt in project.store.prompts()]
            lengths = [len(ids) for ids in encode_prompts(tokenizer, stored)]
            room = settings.sampling.max_new_tokens
            counted = {
                split: len(project.store.prompts(split))
                for split in ("train", "validation", "test")
            }
    most = max_positions(policy)
    return Started(
        project=root,
        model=artifact.path,
        weights_sha256=artifact.sha256,
        parameters=policy.num_parameters(),
        positions=most,
        chat=(
            "the tokenizer's chat template"
            if has_template(tokenizer)
            else "no chat template: turns are written as `Human:` and `Assistant:`"
        ),
        pad_token=(
            f"{tokenizer.pad_token!r}"
            + (", added: the tokenizer had none of its own" if added_pad else "")
        ),
        prompts={split: count for split, count in counted.items() if count},
        dropped=dict(dropped),
        too_long=sum(length + room > (most or length + room) for length in lengths),
    )


def _settings_text(settings: ProjectSettings) -> str:
    return dump_toml(settings, leave_out=("pretrain",))


def _open(source: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, bool]:
    """Model and tokenizer, and whether they had to be given a pad token."""
    tokenizer = open_tokenizer(source)
    policy = load_causal_lm(source, torch.device("cpu"))
    if tokenizer.eos_token_id is None:
        require_fit(tokenizer, str(source))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the new embedding is drawn near the mean of the others
        added = add_pad_token(policy, tokenizer)
    require_fit(tokenizer, str(source))
    require_match(policy, tokenizer)
    return policy, tokenizer, added


def _copy(source: Path, target: Path) -> None:
    """The files of a model and its tokenizer as they are; links of the hub's cache become files."""
    for pattern in PARTS:
        for file in source.glob(pattern):
            shutil.copyfile(file, target / file.name)


def _folder_of(model: str) -> Path:
    """The local folder of a model, downloaded first where a hub id is given.

    Raises:
        NotAModel: there is no such folder, or the hub cannot be reached or has no such model.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        message = f"{model} does not exist; give a Hugging Face model folder or a hub id"
        raise NotAModel(message)
    try:
        return Path(snapshot_download(model, allow_patterns=PARTS))
    except Exception as error:  # the hub's client, its transport and the system share no base
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        message = (
            f"{model} is no folder here, and the Hugging Face hub gave no model of that name "
            f"({type(error).__name__}: {reason}); check the name and the network, or download it "
            "elsewhere and give its folder"
        )
        raise NotAModel(message) from error


@contextmanager
def _made_whole(root: Path) -> Iterator[Path]:
    """A folder beside `root` that takes its place at the end, or is removed.

    Raises:
        ProjectError: `root` is there and not an empty folder.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        message = f"{root} is not empty; give a new or empty folder"
        raise ProjectError(message)
    aside = root.with_name(f".{root.name}.init")
    shutil.rmtree(aside, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield aside
        aside.replace(root)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
