"""`kill -9` in an import: run again, it ends with what an import in one go gives."""

import json
import random
import time
from pathlib import Path

from tests.store_fixtures import SETTINGS, start_python

from assent.collect.importing import import_file
from assent.store import Project, check_project

ROWS = 3000
KILLS = 4

IMPORTER = """
import pathlib, sys
from assent.collect.importing import import_file
from assent.store import Project
with Project.open(pathlib.Path(sys.argv[1])) as project:
    print('begun', flush=True)
    import_file(project.store, pathlib.Path(sys.argv[2]))
"""


def test_an_import_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    with file.open("w") as lines:
        for n in range(ROWS):
            row = {"prompt": f"q {n % 2000}", "chosen": f"good {n}", "rejected": f"bad {n}"}
            lines.write(json.dumps(row) + "\n")
    with Project.create(tmp_path / "whole", SETTINGS) as whole:
        import_file(whole.store, file)
        said = [(one.seq, one.id, one.comparison_id, one.payload) for one in whole.store.events()]
        content = (whole.store.prompts(), whole.store.comparisons())
    chance, reached = random.Random(3), list[int]()
    with Project.create(tmp_path / "killed", SETTINGS) as project:
        for _ in range(KILLS):
            process = start_python(IMPORTER, str(project.root), str(file))
            assert process.stdout is not None
            process.stdout.readline()
            before = project.store.counts()["events"]
            while process.poll() is None and project.store.counts()["events"] == before:
                time.sleep(chance.uniform(0.0, 0.02))
            process.kill()
            process.communicate()
            reached.append(project.store.counts()["events"])
            assert check_project(project) == []
        import_file(project.store, file)
        events = [
            (one.seq, one.id, one.comparison_id, one.payload) for one in project.store.events()
        ]
        assert events == said
        assert (project.store.prompts(), project.store.comparisons()) == content
        assert check_project(project) == []
    assert any(0 < count < ROWS for count in reached), reached
