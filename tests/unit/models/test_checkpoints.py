"""A checkpoint folder is whole or absent, whatever goes wrong while it is written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.unit.models.architectures import causal_lm
from transformers import AutoModelForCausalLM, AutoTokenizer

from assent.config.files import whole_folder, write_file
from assent.errors import DiskFull
from assent.models.checkpoints import save_model
from assent.models.quiet import quiet_transformers
from assent.worlds.almanac import build_tokenizer

TOKENIZER = build_tokenizer()

ON_A_SMALL_DISK = """
import os, sys
from pathlib import Path
from assent.errors import DiskFull
from assent.config.files import whole_folder
from assent.models.checkpoints import save_model
from assent.models.loading import load_causal_lm, load_tokenizer
disk, source = Path(sys.argv[1]), Path(sys.argv[2])
small, tokenizer = load_causal_lm(source), load_tokenizer(source)
target = disk / 'checkpoint'
with whole_folder(target) as aside:
    save_model(aside, small, tokenizer)
before = {path.name: path.read_bytes() for path in target.iterdir()}
ballast = disk / 'ballast'
room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
refused = 0
for pages in range(64):
    ballast.write_bytes(bytes(room - 4096 * pages))
    try:
        with whole_folder(target) as aside:
            save_model(aside, small, tokenizer)
    except DiskFull as error:
        assert 'the disk is full' in str(error) and str(target) in str(error), error
        assert '\\n' not in str(error), error
        refused += 1
    else:
        break
    finally:
        ballast.unlink()
    assert [path.name for path in disk.iterdir()] == ['checkpoint'], list(disk.iterdir())
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
assert refused >= 5 and pages < 63, (refused, pages)  # it stopped in each of the files in turn
assert {path.name: path.read_bytes() for path in target.iterdir()} == before
print('refused', refused)
"""


def listing(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with whole_folder(target) as aside:
        (aside / "weights").write_text("new")
        assert not target.exists()
    assert listing(target) == {"weights": "new"}
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_a_folder_is_replaced_and_nothing_of_the_old_one_stays(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with whole_folder(tmp_path / "model") as aside:
            (aside / name).write_text(name)
    assert listing(tmp_path / "model") == {"second": "second"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_inside_leaves_the_old_folder_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    with whole_folder(tmp_path / "model") as aside:
        (aside / "weights").write_text("old")

    def interrupted() -> None:
        with whole_folder(tmp_path / "model") as aside:
            (aside / "weights").write_text("half")
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert listing(tmp_path / "model") == {"weights": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        Exception("No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_however_it_is_reported(tmp_path: Path, error: Exception) -> None:
    with whole_folder(tmp_path / "model") as aside:
        (aside / "weights").write_text("old")
    with (
        pytest.raises(DiskFull, match=r"the disk is full: .*model was not written") as caught,
        whole_folder(tmp_path / "model"),
    ):
        raise error
    assert "\n" not in str(caught.value)
    assert listing(tmp_path / "model") == {"weights": "old"}


def test_another_error_of_the_system_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), whole_folder(tmp_path / "model"):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_while_flushing_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with whole_folder(tmp_path / "model") as aside:
        (aside / "weights").write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(descriptor))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull), whole_folder(tmp_path / "model") as aside:
        (aside / "weights").write_text("new")
    with pytest.raises(DiskFull):
        write_file(tmp_path / "settings.json", "{}")
    assert listing(tmp_path / "model") == {"weights": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failure_between_the_two_renames_brings_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    with whole_folder(target) as aside:
        (aside / "weights").write_text("old")
    rename = Path.rename

    def second_fails(self: Path, new: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(OSError, match="Input/output"), whole_folder(target) as aside:
        (aside / "weights").write_text("new")
    assert listing(target) == {"weights": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_killed_writer_left_is_cleared_and_the_old_folder_comes_back(
    tmp_path: Path,
) -> None:
    """As after kill -9 between the two renames: the old folder aside, the new one half known."""
    for name, text in ((".model.old", "old"), (".model.tmp", "half")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(text)
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "model"):
        raise RuntimeError
    assert listing(tmp_path / "model") == {"weights": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_disk_that_fills_anywhere_in_a_checkpoint_leaves_the_last_one(tmp_path: Path) -> None:
    """A tmpfs is filled so that each file of the model in turn does not fit; needs root."""
    disk, source = tmp_path / "disk", tmp_path / "source"
    disk.mkdir()
    with whole_folder(source) as aside:
        save_model(aside, causal_lm("llama", vocabulary=len(TOKENIZER)), TOKENIZER)
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"']
    run = [*mount, str(disk)]
    if subprocess.run([*run, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here: run as root to test a full disk")
    program = [sys.executable, "-c", ON_A_SMALL_DISK, str(disk), str(source)]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [*run, *program],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused")


def test_a_checkpoint_is_an_ordinary_hugging_face_folder(tmp_path: Path) -> None:
    model = causal_lm("llama", vocabulary=len(TOKENIZER))
    with whole_folder(tmp_path / "model") as aside:
        save_model(aside, model, TOKENIZER)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for name, weight in model.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], weight), name
    assert AutoTokenizer.from_pretrained(tmp_path / "model").get_vocab() == TOKENIZER.get_vocab()
    assert not list((tmp_path / "model").glob("*.bin"))


def test_saving_shows_no_bar_and_leaves_transformers_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    with whole_folder(tmp_path / "model") as aside:
        save_model(aside, causal_lm("llama", vocabulary=len(TOKENIZER)), TOKENIZER)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    with pytest.raises(RuntimeError), quiet_transformers():
        raise RuntimeError
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_file(tmp_path / "settings.json", "old")
    write_file(tmp_path / "settings.json", "grüße")
    assert (tmp_path / "settings.json").read_text(encoding="utf-8") == "grüße"
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "absent" / "settings.json", "x")
