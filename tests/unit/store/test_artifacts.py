"""Artifacts: adopted whole, once, under the hash of what they hold."""

import hashlib
import os
from pathlib import Path

import pytest

from assent.errors import DataError, StoreDamaged, StoreError
from assent.store import Project
from assent.store.disk import hash_tree


def folder(project: Project, name: str = "finished", weights: str = "weights") -> Path:
    path = project.root / "runs" / name
    (path / "b").mkdir(parents=True)
    (path / "model").write_text(weights)
    (path / "b" / "config.json").write_text("{}")
    return path


def test_a_folder_moves_to_its_place_under_its_hash(sqlite_project: Project) -> None:
    source = folder(sqlite_project)
    lines = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in (("b/config.json", b"{}"), ("model", b"weights"))
    )
    expected = hashlib.sha256(lines.encode()).hexdigest()

    artifact = sqlite_project.artifacts.adopt_folder(source, "checkpoints", "sft")

    assert artifact.sha256 == expected
    assert artifact.path == f"artifacts/checkpoints/sft-{expected[:12]}"
    assert artifact.size_bytes == len(b"{}") + len(b"weights")
    assert not source.exists()
    path = sqlite_project.artifacts.path(artifact)
    assert (path / "model").read_text() == "weights"
    assert sqlite_project.store.artifacts() == [artifact]
    assert sqlite_project.artifacts.verify(artifact) is None


def test_the_hash_of_a_folder_does_not_depend_on_the_order_of_files(tmp_path: Path) -> None:
    for name, order in (("one", ("a.b", "a/c", "z")), ("two", ("z", "a/c", "a.b"))):
        for file in order:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file)
    assert hash_tree(tmp_path / "one") == hash_tree(tmp_path / "two")
    (tmp_path / "two" / "z").rename(tmp_path / "two" / "y")
    assert hash_tree(tmp_path / "one") != hash_tree(tmp_path / "two")


def test_adopting_the_same_content_again_changes_nothing(sqlite_project: Project) -> None:
    first = sqlite_project.artifacts.adopt_folder(folder(sqlite_project), "checkpoints", "sft")
    again = folder(sqlite_project)
    assert sqlite_project.artifacts.adopt_folder(again, "checkpoints", "sft") == first
    assert not again.exists()
    assert sqlite_project.store.artifacts() == [first]


def test_a_file_is_an_artifact_too(sqlite_project: Project) -> None:
    file = sqlite_project.root / "runs" / "report.html"
    file.write_text("<p>")
    artifact = sqlite_project.artifacts.adopt_folder(file, "reports", "loop")
    assert artifact.sha256 == hashlib.sha256(b"<p>").hexdigest()
    assert sqlite_project.artifacts.path(artifact.path).read_text() == "<p>"


def test_a_process_killed_between_move_and_record_loses_nothing(sqlite_project: Project) -> None:
    source = folder(sqlite_project)
    sha256, _ = hash_tree(source)
    target = sqlite_project.root / "artifacts" / "checkpoints" / f"sft-{sha256[:12]}"
    target.parent.mkdir()
    source.rename(target)  # as far as the killed process came

    artifact = sqlite_project.artifacts.adopt_folder(source, "checkpoints", "sft")

    assert artifact.sha256 == sha256
    assert sqlite_project.artifacts.find("checkpoints", "sft") == [artifact]
    with pytest.raises(StoreError, match="does not exist"):
        sqlite_project.artifacts.adopt_folder(source, "checkpoints", "sft")


def test_artifacts_are_found_by_kind_and_name(sqlite_project: Project) -> None:
    adopt = sqlite_project.artifacts.adopt_folder
    sft = adopt(folder(sqlite_project, weights="1"), "checkpoints", "sft")
    ppo = adopt(folder(sqlite_project, weights="2"), "checkpoints", "sft-and-ppo")
    rollouts = adopt(folder(sqlite_project, weights="3"), "rollouts", "sft")
    assert sqlite_project.artifacts.find("checkpoints", "sft") == [sft]
    assert sqlite_project.artifacts.find("checkpoints") == [sft, ppo]
    assert sqlite_project.artifacts.find("rollouts") == [rollouts]


def test_an_artifact_that_was_changed_is_neither_reused_nor_overwritten(
    sqlite_project: Project,
) -> None:
    artifact = sqlite_project.artifacts.adopt_folder(folder(sqlite_project), "checkpoints", "sft")
    damaged = sqlite_project.artifacts.path(artifact) / "model"
    damaged.write_text("forged!")
    source = folder(sqlite_project)
    with pytest.raises(StoreDamaged, match="was changed since it was stored"):
        sqlite_project.artifacts.adopt_folder(source, "checkpoints", "sft")
    assert source.exists()
    assert damaged.read_text() == "forged!"


@pytest.mark.parametrize("name", ["", "../sft", "a/b", ".hidden", "a b", "x" * 101])
def test_a_name_that_is_no_plain_name_is_refused(sqlite_project: Project, name: str) -> None:
    source = folder(sqlite_project)
    with pytest.raises(DataError, match="cannot name an artifact"):
        sqlite_project.artifacts.adopt_folder(source, "checkpoints", name)
    with pytest.raises(DataError, match="cannot name an artifact"):
        sqlite_project.artifacts.adopt_folder(source, name, "sft")
    assert source.exists()


def test_a_folder_with_a_link_is_refused(sqlite_project: Project) -> None:
    source = folder(sqlite_project)
    (source / "link").symlink_to(source / "model")
    with pytest.raises(StoreError, match="neither a plain file nor a folder"):
        sqlite_project.artifacts.adopt_folder(source, "checkpoints", "sft")


def test_a_folder_on_another_disk_is_copied_whole(sqlite_project: Project) -> None:
    shared_memory = Path("/dev/shm")  # noqa: S108 - another file system on Linux
    if (
        not shared_memory.is_dir()
        or shared_memory.stat().st_dev == sqlite_project.root.stat().st_dev
    ):
        pytest.skip("there is no second file system here")
    source = shared_memory / f"assent-{os.getpid()}"
    source.mkdir()
    (source / "model").write_text("weights")
    artifact = sqlite_project.artifacts.adopt_folder(source, "checkpoints", "sft")
    assert not source.exists()
    assert sqlite_project.artifacts.verify(artifact) is None
    place = sqlite_project.artifacts.path(artifact).parent
    assert [one.name for one in place.iterdir()] == [Path(artifact.path).name]
