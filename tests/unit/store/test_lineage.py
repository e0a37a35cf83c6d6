"""Runs and model versions, and the way back from a policy to the judgements behind it."""

from dataclasses import replace

import pytest
from tests.store_fixtures import adopt_model, fill, judge

from assent.errors import DataError, IdempotencyConflict, UnknownRecord
from assent.store import NewModelVersion, NewRun, Project

RUN = NewRun(
    stage="reward",
    name="round 1",
    settings={"lr": 1e-3, "nested": {"epochs": 2}},
    seed=3,
    code_version="0.1.0",
    git_commit="c" * 40,
)


def test_a_run_is_recorded_with_its_settings_and_finished(project: Project) -> None:
    started = project.store.start_run(RUN)
    assert (started.status, started.finished_at) == ("running", None)
    assert started.settings == {"lr": 1e-3, "nested": {"epochs": 2}}
    done = project.store.finish_run(started.id)
    assert done.status == "done"
    assert done.finished_at is not None
    assert done.finished_at > done.started_at
    assert project.store.finish_run(started.id) == done
    assert project.store.runs() == [done]


def test_a_run_that_was_killed_goes_on_as_the_same_run(project: Project) -> None:
    started = project.store.start_run(RUN)
    assert project.store.start_run(RUN) == started
    later_code = replace(RUN, code_version="0.2.0")
    assert project.store.start_run(later_code) == started


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_run_that_ended_badly_is_running_again_when_started_again(
    project: Project, status: str
) -> None:
    started = project.store.start_run(RUN)
    ended = project.store.finish_run(started.id, status, problem="out of memory")  # type: ignore[arg-type]
    assert (ended.status, ended.problem) == (status, "out of memory")
    assert project.store.start_run(RUN) == started


def test_a_run_that_is_done_stays_done(project: Project) -> None:
    started = project.store.start_run(RUN)
    done = project.store.finish_run(started.id)
    assert project.store.start_run(RUN) == done
    with pytest.raises(IdempotencyConflict, match="is done and cannot become failed"):
        project.store.finish_run(started.id, "failed")
    with pytest.raises(DataError, match="finish it as"):
        project.store.finish_run(started.id, "running")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"settings": {}}, {"name": "round 2"}, {"stage": "ppo"}]
)
def test_other_settings_are_another_run(project: Project, change: dict[str, object]) -> None:
    started = project.store.start_run(RUN)
    other = replace(RUN, **change)  # type: ignore[arg-type]
    assert project.store.start_run(other).id != started.id
    with pytest.raises(IdempotencyConflict, match=r"exists with (an)?other"):
        project.store.start_run(replace(other, id=started.id))


def test_a_run_with_other_settings_names_those_that_differ(project: Project) -> None:
    was = {"epochs": 1, "optimiser": {"lr": 0.1, "eps": 1e-5}, "a": 1, "b": 2}
    now = {"epochs": 1, "optimiser": {"lr": 0.2, "eps": 1e-5}, "a": 2, "b": 3, "c": 4}
    started = project.store.start_run(replace(RUN, settings=was))
    said = r"settings \(a was 1 and is 2; b was 2 and is 3; optimiser.lr was 0.1 and is 0.2; …\)"
    with pytest.raises(IdempotencyConflict, match=f"exists with other {said}"):
        project.store.start_run(replace(RUN, settings=now, id=started.id))
    nearly = {**was, "optimiser": {"lr": 0.2, "eps": 1e-5}}
    with pytest.raises(IdempotencyConflict, match=r"\(optimiser.lr was 0.1 and is 0.2\)"):
        project.store.start_run(replace(RUN, settings=nearly, id=started.id))


def test_a_run_may_only_name_what_exists(project: Project) -> None:
    with pytest.raises(DataError, match="run 'round 1': seed is"):
        project.store.start_run(replace(RUN, seed=-(1 << 64)))
    with pytest.raises(UnknownRecord, match="model_versions has no record none"):
        project.store.start_run(replace(RUN, parents={"policy": "none"}))
    with pytest.raises(UnknownRecord, match="snapshots has no record none"):
        project.store.start_run(replace(RUN, snapshot_id="none"))
    with pytest.raises(UnknownRecord, match="runs has no record none"):
        project.store.run("none")
    assert project.store.runs() == []


def test_a_policy_leads_back_to_the_judgements_behind_its_reward_model(project: Project) -> None:
    world = fill(project)
    judge(project.store, world.comparisons, world.annotators[1])
    snapshot = project.store.take_snapshot("round 1")
    store, sft = project.store, world.model.id
    trained = store.start_run(
        replace(RUN, snapshot_id=snapshot.id, parents={"initial": sft}, id="reward-run")
    )
    reward = store.add_model_version(version(project, "reward", sft, snapshot.id, trained.id))
    optimised = store.start_run(
        replace(RUN, stage="ppo", parents={"policy": sft, "reward_model": reward.id})
    )
    policy = store.add_model_version(version(project, "ppo", sft, None, optimised.id))

    chain = store.lineage(policy.id)

    assert [(one.role, one.of_id, one.version.id) for one in chain] == [
        ("self", None, policy.id),
        ("parent", policy.id, sft),
        ("reward_model", policy.id, reward.id),
    ]
    assert chain[0].run == optimised
    assert chain[2].run == trained
    assert chain[2].snapshot == snapshot
    assert [one.id for one in store.model_versions()] == [sft, reward.id, policy.id]


def version(
    project: Project, stage: str, parent: str, snapshot: str | None, run: str
) -> NewModelVersion:
    artifact = adopt_model(project, name=stage, weights=stage)
    return NewModelVersion(
        stage=stage,
        name=f"{stage} round 1",
        weights_sha256=artifact.sha256,
        path=artifact.path,
        settings_sha256="5" * 64,
        code_version="0.1.0",
        parent_id=parent,
        snapshot_id=snapshot,
        run_id=run,
    )


def test_a_model_version_is_recorded_once(project: Project) -> None:
    world = fill(project)
    again = NewModelVersion(
        stage="sft",
        name="sft",
        weights_sha256=world.artifact.sha256,
        path=world.artifact.path,
    )
    assert project.store.add_model_version(again) == world.model
    with pytest.raises(IdempotencyConflict, match="exists with another name"):
        project.store.add_model_version(replace(again, name="other", id=world.model.id))
    with pytest.raises(UnknownRecord, match="adopt the model folder first"):
        project.store.add_model_version(replace(again, path="artifacts/nowhere"))
    with pytest.raises(UnknownRecord, match="model_versions has no record none"):
        project.store.model_version("none")
