"""`assent train reward` on a project of one's own, with everything that people can say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.own_project import make_own
from transformers import AutoConfig

from assent.errors import DataError
from assent.models.reward_ensembles import RewardEnsemble, load_reward
from assent.models.rewards import TextReward
from assent.rounds.planning import plan_stage
from assent.rounds.single import run_stage
from assent.store import (
    NewComparison,
    NewJudgement,
    NewRanking,
    NewRating,
    NewResponse,
    NewResponseSet,
    Project,
)
from assent.types import SilentProgress, Verdict

SAID = ("red", "red red", "blue and green", "it is red red red")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every prompt a judgement (some clear, some ties), a ranking, and ratings."""
    root = tmp_path_factory.mktemp("own") / "project"
    make_own(root, {"reward": {"epochs": 1, "batch_size": 8, "normalise_samples": 16}})
    with Project.open(root) as project, project.writing():
        store = project.store
        ada = store.add_annotator("ada", "human")
        for number, prompt in enumerate(store.prompts("train")):
            ids = tuple(
                store.add_responses(
                    [NewResponse(prompt_id=prompt.id, text=text, origin="import") for text in SAID]
                )
            )
            (asked,) = store.add_comparisons(
                [
                    NewComparison(
                        prompt_id=prompt.id,
                        first_response_id=ids[0],
                        second_response_id=ids[1],
                        shown_order="first_left",
                        purpose="reward",
                        round=1,
                    )
                ]
            )
            verdict: Verdict = "tie" if number % 5 == 0 else "second"
            store.record_judgements(
                [
                    NewJudgement(
                        comparison_id=asked,
                        annotator_id=ada,
                        verdict=verdict,
                        strength=None if number % 2 or verdict == "tie" else 3,
                        idempotency_key=f"judgement-{number}",
                    )
                ]
            )
            (set_,) = store.add_response_sets(
                [NewResponseSet(prompt_id=prompt.id, response_ids=ids)]
            )
            store.record_rankings(
                [
                    NewRanking(
                        response_set_id=set_,
                        annotator_id=ada,
                        ranks=dict(zip(ids, (2, 1, 3, 0), strict=True)),
                        idempotency_key=f"ranking-{number}",
                    )
                ]
            )
            store.record_ratings(
                [
                    NewRating(
                        response_id=id_,
                        annotator_id=ada,
                        axes={"red": float(text.count("red")), "length": float(len(text))},
                        idempotency_key=f"rating-{number}-{place}",
                    )
                    for place, (id_, text) in enumerate(zip(ids, SAID, strict=True))
                ]
            )
    return root


def train(root: Path, **given: object) -> Mapping[str, Any]:
    overrides = [f"reward.{key.replace('__', '.')}={value}" for key, value in given.items()]
    return run_stage(
        root, "reward", config=[], overrides=overrides, resume=False, progress=SilentProgress()
    )


@pytest.mark.parametrize("objective", ["rankings", "pick_best", "davidson", "ordinal"])
def test_an_objective_is_one_setting_away(objective: str, root: Path) -> None:
    found = train(root, objective=objective)
    assert found["objective"] == objective
    assert found["n"] > 0
    assert 0 <= found["accuracy"] <= 1
    assert (found["ties"] == 0) == (objective in ("davidson", "ordinal"))
    folder = root / found["model"]
    assert isinstance(load_reward(folder), TextReward)
    if objective == "ordinal":
        learned = json.loads((folder / "reward_likelihood.json").read_text())
        assert learned["ties"] is True
        assert learned["strengths"] == [3]


def test_ratings_train_an_output_an_axis_and_are_measured_by_axis(root: Path) -> None:
    found = train(root, objective="ratings", epochs=4)
    assert set(found["axes"]) == {"red", "length"}
    assert found["axes"]["red"]["weight"] == 0.5
    assert found["axes"]["red"]["n"] > 3
    assert found["axes"]["length"]["error"] > 0
    assert AutoConfig.from_pretrained(root / found["model"]).num_labels == 2
    with pytest.raises(DataError, match=r"reward.axes: none of \d+ ratings is on 'kind'"):
        train(root, objective="ratings", axes__kind=1)


def test_an_ensemble_is_one_setting_away_and_says_how_far_its_members_are_apart(
    root: Path,
) -> None:
    found = train(root, ensemble__members=2, ensemble__aggregate="min")
    assert found["disagreement"] > 0
    reward = load_reward(root / found["model"])
    assert isinstance(reward, RewardEnsemble)
    assert reward.how == "min"
    metrics = (root / found["metrics"]).read_text().splitlines()
    assert json.loads(metrics[-1])["loss/reward"] > 0


def test_the_plan_counts_members_and_ratings(root: Path) -> None:
    def planned(*overrides: str) -> dict[str, int]:
        given = [f"reward.{one}" for one in overrides]
        return plan_stage(root, "reward", config=[], overrides=given).schedule

    one, three = planned(), planned("ensemble.members=3")
    assert three["optimiser_steps"] == 3 * one["optimiser_steps"]
    assert three["members"] == 3
    assert planned("objective=ratings")["ratings_about"] == pytest.approx(
        2 * one["pairs_about"], abs=2
    )


def test_a_policy_that_asks_an_ensemble_holds_all_of_its_members(root: Path) -> None:
    def weights(*overrides: str) -> int:
        return plan_stage(root, "ppo", config=[], overrides=list(overrides)).memory.weights

    one, three = weights(), weights("reward.ensemble.members=3")
    average = weights("reward.ensemble.members=3", "reward.ensemble.aggregate=average_weights")
    assert one == average < three
