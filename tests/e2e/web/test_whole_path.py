"""From a finished loop to the next round: people judge in the browser, and it is learned from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.web.conftest import MakeSite
from tests.toy_loop import make_toy

import assent

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.slow]

PAIRS = 20


def run(*arguments: str) -> None:
    source = str(Path(assent.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "assent.cli", *arguments],
        env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_people_judged_is_in_the_lineage_of_the_next_round(
    make_site: MakeSite, tmp_path: Path
) -> None:
    root = make_toy(tmp_path / "toy")
    run("loop", "run", str(root))

    with make_site(root) as site:
        owner = site.owner()
        page = owner.open("/judge?kind=comparison")
        for _ in range(PAIRS):
            page.wait_for_selector("form.task:not([inert])")
            page.keyboard.press("1")
            page.keyboard.press("Enter")
        page.wait_for_selector("#saved[data-state=saved]")
        page.wait_for_function(
            "() => Object.keys(localStorage).every((name) =>"
            " !name.startsWith('assent.draft.') || !JSON.parse(localStorage[name]).ready)"
        )
        given = owner.api("GET", "/answers?limit=100")["answers"]
        assert len(given) == PAIRS
    run("loop", "run", str(root), "--rounds", "2")

    with make_site(root) as site:
        owner = site.owner()
        # A check item or a repeat is no part of what is learned from; the others are.
        learned = [
            one
            for one in (
                (owner.open("/"), owner.api("GET", f"/judgements/{row['answer']}"))[1]
                for row in given
            )
            if one["purpose"] == "reward"
        ]
        assert len(learned) >= PAIRS - 4
        for one in learned:
            assert "round-2" in one["snapshots"]
            assert "round-2-reward" in [model["name"] for model in one["models"]]
        page = owner.open(f"/browse/judgements/{learned[0]['event']}")
        assert "round-2-reward" in page.locator(".lineage").inner_text()
        assert owner.wrong == []
    summary = json.loads((root / "summary.json").read_text())
    assert [one["by_people"] for one in summary["rounds"]] == [0, len(learned)]
    report = (root / "report" / "index.html").read_text()
    assert f"{len(learned)} of them given by people" in report
