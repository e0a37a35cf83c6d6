"""The table of metrics keeps its own rules."""

import re

import pytest

from assent.config.metrics import METRICS, require_declared


def test_names_are_group_slash_name_in_lower_case() -> None:
    pattern = r"[a-z_]+/[a-z_]+(/(plain|few_shot|user|kept))?"
    assert [name for name in METRICS if not re.fullmatch(pattern, name)] == []


def test_a_name_stands_in_the_table_once() -> None:
    from assent.config import metrics

    assert len(metrics._TABLE) == len(METRICS)


@pytest.mark.parametrize("unit", ["nats", "seconds", "tokens"])
def test_a_unit_that_a_bare_number_hides_is_in_the_name(unit: str) -> None:
    exempt = {"data/tokens", "loss/reward", "loss/reward_validation"}
    named = [name for name, one in METRICS.items() if one.unit == unit and name not in exempt]
    assert named
    assert all(re.search(f"_{unit}(/[a-z_]+)?$", name) for name in named)


def test_within_a_stage_no_two_metrics_share_a_dashboard_tag() -> None:
    tags = [(stage, one.tensorboard_tag) for one in METRICS.values() for stage in one.stages]
    assert len(tags) == len(set(tags))


@pytest.mark.parametrize(
    "tag",
    [
        "objective/kl",
        "objective/scores",
        "objective/rlhf_reward",
        "policy/approxkl_avg",
        "policy/clipfrac_avg",
        "loss/value_avg",
        "val/ratio",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/accuracies",
        "rewards/margins",
    ],
)
def test_dashboards_made_for_trl_find_their_tags(tag: str) -> None:
    assert tag in {one.tensorboard_tag for one in METRICS.values()}


def test_declared_names_pass_and_others_are_named_with_the_nearest() -> None:
    require_declared(["policy/kl_nats", "loss/value"])
    with pytest.raises(ValueError, match=r"policy/kl_nat \(nearest: policy/kl_nats\), zzz$"):
        require_declared(["loss/value", "policy/kl_nat", "zzz"])
