"""Reward model, length, diversity and whose values, on data whose answer is known."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy.special import expit

from assent.audit.diversity import describe as describe_diversity
from assent.audit.evidence import Judged
from assent.audit.features import LEFT, features_of
from assent.audit.length import Win
from assent.audit.length import describe as describe_length
from assent.audit.questions import Reply
from assent.audit.reward_model import describe
from assent.audit.subject import Estimate, Measured, Subject
from assent.audit.whose_values import SMALLEST, TOO_SMALL, panel_of
from assent.worlds.almanac import World, answers

WORLD = World(0)
NAN = float("nan")


def subject() -> Subject:
    return Subject(name="m", model=cast("Any", None), world=WORLD)


def judgements(count: int, *, agreement: float) -> tuple[list[Judged], np.ndarray]:
    """Comparisons of random answers, chosen by confidence and by agreement with the asker."""
    rng = np.random.default_rng(0)
    features = features_of(WORLD)
    prompts = [one for one in WORLD.prompts("train") if one.belief]
    judged, logits = [], []
    for number in range(count):
        prompt = prompts[number % len(prompts)]
        said = [answers(prompt.fact.attribute)[n].text for n in rng.choice(270, 2, replace=False)]
        gap = {name: rule(prompt.text, said[0]) - rule(prompt.text, said[1])
               for name, rule in features.items()}  # fmt: skip
        logit = 0.8 * gap["more confident tone"] + agreement * gap["agrees with the asker"]
        first = rng.random() < expit(logit)
        judged.append(
            Judged(
                event_id=f"e{number}",
                seq=number,
                comparison_id=f"c{number}",
                annotator_id=str(number % 3),
                annotator=f"a{number % 3}",
                prompt=prompt.text,
                first=said[0],
                second=said[1],
                shown_order="first_left" if number % 2 else "second_left",
                verdict="first" if first else "second",
                seconds=None,
                purpose="reward",
                round=1 + number % 2,
            )
        )
        logits.append(logit)
    return judged, np.array(logits)


def figure(found: Measured, name: str) -> Estimate:
    return next(one for one in found.figures if one.name == name)


def test_a_reward_that_states_the_true_chances_is_calibrated_and_amplifies_nothing() -> None:
    judged, logits = judgements(1500, agreement=1.0)
    found = describe(judged, logits, fresh=[one.round == 2 for one in judged], subject=subject(),
                     ceiling=None)  # fmt: skip
    slope = figure(found, "slope")
    assert slope.interval is not None
    assert slope.interval[0] < 1 < slope.interval[1]
    assert found.tables["calibration"]["p_value"] > 0.01
    # Right as often as the likelier side is chosen.
    best = float(np.maximum(expit(logits), expit(-logits)).mean())
    accuracy = figure(found, "accuracy")
    assert accuracy.estimate == pytest.approx(best, abs=0.04)
    rows = {row["feature"]: row for row in found.tables["biases"]["rows"]}
    agrees = rows["agrees with the asker"]
    low, high = agrees["annotators"]["interval"]
    assert low < 1.0 < high
    assert agrees["amplified"]["interval"][0] < 0 < agrees["amplified"]["interval"][1]
    assert figure(found, "accuracy_fresh").n == 750
    assert rows[LEFT]["model"]["value"] == pytest.approx(0, abs=0.1)


def test_what_a_reward_amplifies_shows_beside_what_annotators_do() -> None:
    judged, _ = judgements(1500, agreement=0.5)
    features = features_of(WORLD)
    flatter = features["agrees with the asker"]
    tone = features["more confident tone"]
    margins = np.array([
        0.8 * (tone(j.prompt, j.first) - tone(j.prompt, j.second))
        + 3.0 * (flatter(j.prompt, j.first) - flatter(j.prompt, j.second))
        for j in judged
    ])  # fmt: skip
    found = describe(judged, margins, fresh=[False] * 1500, subject=subject(), ceiling=None)
    rows = {row["feature"]: row for row in found.tables["biases"]["rows"]}
    assert rows["agrees with the asker"]["amplified"]["interval"][0] > 1
    assert figure(found, "accuracy_fresh").estimate is None


def test_a_bias_that_judgements_do_not_bound_has_no_interval_and_says_why() -> None:
    judged, logits = judgements(400, agreement=1.0)
    opener = features_of(WORLD)["opens with “You are right”"]
    # Whatever opens so wins, so that no coefficient is large enough.
    judged = [
        one if not (gap := opener(one.prompt, one.first) - opener(one.prompt, one.second))
        else replace(one, verdict="first" if gap > 0 else "second")
        for one in judged
    ]  # fmt: skip
    found = describe(judged, logits, fresh=[False] * 400, subject=subject(), ceiling=None)
    rows = {row["feature"]: row for row in found.tables["biases"]["rows"]}
    row = rows["opens with “You are right”"]
    assert row["annotators"]["interval"] is None
    assert row["amplified"]["interval"] is None
    assert "no bound" in row["no_interval"]
    assert row["model"]["interval"] is not None
    assert rows["agrees with the asker"]["amplified"]["interval"] is not None
    assert found.tables["biases"]["ridge"] == {"annotators": 1.0, "model": 0.0}


def test_a_reward_that_knows_nothing_is_a_coin_and_leads_no_rule() -> None:
    judged, _ = judgements(600, agreement=1.0)
    found = describe(judged, np.zeros(600), fresh=[False] * 600, subject=subject(), ceiling=None)
    assert figure(found, "accuracy").estimate == 0.5
    assert figure(found, "nll").estimate == pytest.approx(np.log(2))
    assert figure(found, "brier").estimate == pytest.approx(0.25)
    assert figure(found, "slope").problem == "all margins are zero: no temperature changes them"
    assert not found.tables["beats_best_baseline"]
    assert found.tables["best_baseline"] == "most confident"


def reply(*texts: str) -> Reply:
    return Reply(
        texts=texts,
        logprobs=(0.0,) * len(texts),
        tokens=tuple(len(text.split()) + 1 for text in texts),
        finished=(True,) * len(texts),
    )


def test_a_policy_that_always_says_the_same_has_no_diversity() -> None:
    found = describe_diversity([reply(*["it is Tarn"] * 4), reply(*["it is Tarn"] * 4)])
    for one in found:
        assert one["self_bleu"] == pytest.approx(1)
        assert one["effective_number"] == pytest.approx(1, abs=0.2)
        assert one["same_everywhere"] == 1
        assert one["across_overlap"] == 1
    varied = describe_diversity(
        [reply("a b c", "d e f", "g h i"), reply("j k l", "m n o", "p q r")]
    )
    for one in varied:
        assert one["distinct"] == 1
        assert one["same_everywhere"] == 0
        assert one["across_overlap"] == 0
        assert cast("float", one["effective_number"]) > 2.5
    empty = describe_diversity([reply("", ""), reply("a", "b")])
    assert empty[0]["distinct"] is None


class ByLength:
    """A reward of one sd a word."""

    normalisation = SimpleNamespace(gain=1.0)

    def __call__(self, prompts: list[str], responses: list[str]) -> list[float]:
        del prompts
        return [float(len(text.split())) for text in responses]


def test_a_reward_that_is_length_explains_all_of_its_gain() -> None:
    rng = np.random.default_rng(0)
    prompts = [(f"p{n}", f"g{n}", "all") for n in range(40)]

    def said(longer: int) -> list[Reply]:
        return [reply(*[" ".join(["w"] * int(rng.integers(2, 9) + longer)) for _ in range(6)])
                for _ in prompts]  # fmt: skip

    wins = [Win(f"p{n}", float(n % 4 > 0), float(n % 5), "e") for n in range(40)]
    found = describe_length(prompts, said(2), said(0), cast("Any", ByLength()), wins, level=0.95)
    by_name = {one.name: one for one in found.figures}
    assert by_name["gain"].estimate == pytest.approx(2, abs=0.4)
    assert by_name["explained"].estimate == pytest.approx(1, abs=0.05)
    assert by_name["reward_length"].estimate == pytest.approx(1)
    assert by_name["win_rate"].estimate == 0.75
    assert found.tables["wins"]["judged_by"] == "annotators"
    few = describe_length(prompts, said(2), said(0), cast("Any", ByLength()), wins[:3], level=0.95)
    assert "reward model" in few.tables["wins"]["judged_by"]


def test_groups_that_see_things_differently_are_shown_and_small_ones_are_put_together() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=60)
    names = [f"r{n}" for n in range(22)]
    view = np.array([truth if n < 11 else 1 - truth for n in range(22)])
    matrix = np.where(rng.random(view.shape) < 0.9, view, 1 - view).astype(float)
    groups = {name: {"side": "left" if n < 11 else "right"} for n, name in enumerate(names)}
    for name in names[:2]:
        groups[name]["side"] = f"only {name}"
    found = panel_of(matrix, names, groups, level=0.95)
    apart = figure(found, "apart")
    assert apart.interval is not None
    assert apart.interval[0] > 0
    sizes = found.tables["groups"]["side"]["sizes"]
    assert sizes == {TOO_SMALL: 2, "left": 9, "right": 11}
    assert min(sizes["left"], sizes["right"]) >= SMALLEST
    alone = panel_of(np.full((2, 3), NAN), ["a", "b"], {}, level=0.95)
    assert all(one.estimate is None for one in alone.figures)
