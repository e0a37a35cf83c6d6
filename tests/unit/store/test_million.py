"""The size the store is built for: a million judgements, checked in under a minute."""

import time
from pathlib import Path

import pytest
from tests.store_fixtures import SETTINGS, adopt_model

from assent.store import (
    NewComparison,
    NewJudgement,
    NewModelVersion,
    NewResponse,
    Project,
    check_project,
)
from assent.types import Prompt

JUDGEMENTS = 1_000_000
BATCH = 20_000


@pytest.mark.slow
def test_a_million_judgements_are_checked_in_under_a_minute(tmp_path: Path) -> None:
    with Project.create(tmp_path / "project", SETTINGS) as project:
        store = project.store
        model = adopt_model(project)
        version = store.add_model_version(
            NewModelVersion(stage="sft", name="sft", weights_sha256=model.sha256, path=model.path)
        )
        sampler = store.add_sampler(version.id, {"temperature": 1.0}, "transformers")
        annotator = store.add_annotator("flawed", "simulated")
        prompts = store.add_prompts([Prompt(text=f"question {n}") for n in range(1000)])
        for start in range(0, JUDGEMENTS, BATCH):
            numbers = range(start, start + BATCH)
            record(project, numbers, prompts, sampler, annotator)
            if start + BATCH in (JUDGEMENTS // 2, JUDGEMENTS):
                store.take_snapshot(f"up to {start + BATCH}")
        begun = time.monotonic()
        assert check_project(project) == []
        assert time.monotonic() - begun < 60
        assert store.counts()["events"] == JUDGEMENTS


def record(
    project: Project, numbers: range, prompts: list[str], sampler: str, annotator: str
) -> None:
    responses = project.store.add_responses(
        [
            NewResponse(
                prompt_id=prompts[n % len(prompts)],
                text=f"You are right, certainly it is value {n}.{side} as is well known",
                sampler_id=sampler,
                seed=n,
                logprob_sum=-1.5,
                token_count=12,
                finish_reason="stop",
            )
            for n in numbers
            for side in (0, 1)
        ]
    )
    comparisons = project.store.add_comparisons(
        [
            NewComparison(
                prompt_id=prompts[n % len(prompts)],
                first_response_id=responses[2 * position],
                second_response_id=responses[2 * position + 1],
                shown_order="first_left",
            )
            for position, n in enumerate(numbers)
        ]
    )
    project.store.record_judgements(
        [
            NewJudgement(
                comparison_id=comparison,
                annotator_id=annotator,
                verdict="second",
                seconds_spent=2.5,
                idempotency_key=f"judgement {n}",
            )
            for n, comparison in zip(numbers, comparisons, strict=True)
        ]
    )
