"""Prompts, samplers, responses, comparisons and annotators, on both databases."""

from dataclasses import replace

import pytest
from tests.store_fixtures import fill, judge

from assent.errors import DataError, IdempotencyConflict, UnknownRecord
from assent.store import NewComparison, NewResponse, Project, StoredAnnotator, StoredPrompt
from assent.types import Prompt


def test_prompts_come_back_in_the_order_added_with_every_field(project: Project) -> None:
    new = [
        Prompt(text="zebra", kind="few_shot", source="almanac", split="test", group="animals"),
        Prompt(text="ant \N{ANT} naïve\n\tline", source="almanac"),
        Prompt(text="middle", split="validation"),
    ]
    ids = project.store.add_prompts(new)
    assert project.store.prompts() == [
        StoredPrompt(
            id=id_,
            text=one.text,
            kind=one.kind,
            source=one.source,
            split=one.split,
            group=one.group,
        )
        for id_, one in zip(ids, new, strict=True)
    ]
    assert [one.text for one in project.store.prompts(split="test")] == ["zebra"]
    almanac = project.store.prompts(split="train", source="almanac")
    assert [one.id for one in almanac] == [ids[1]]


def test_adding_the_same_record_again_gives_the_same_id_and_adds_nothing(project: Project) -> None:
    once = fill(project)
    counts = project.store.counts()
    assert fill_again(project) == once.responses
    assert project.store.counts() == counts


def fill_again(project: Project) -> list[str]:
    store = project.store
    store.add_prompts([Prompt(text=f"question {n}") for n in range(3)])
    store.add_annotator("flawed", "simulated", {"bias": 0.5})
    stored = store.responses()
    return store.add_responses(
        [
            NewResponse(
                prompt_id=one.prompt_id,
                text=one.text,
                sampler_id=one.sampler_id,
                seed=one.seed,
                logprob_sum=one.logprob_sum,
                token_count=one.token_count,
                finish_reason=one.finish_reason,
                index=one.index,
            )
            for one in stored
        ]
    )


def test_a_prompt_repeated_within_one_call_is_stored_once(project: Project) -> None:
    first, second, third = project.store.add_prompts(
        [Prompt(text="a"), Prompt(text="b"), Prompt(text="a")]
    )
    assert first == third != second
    assert [one.text for one in project.store.prompts()] == ["a", "b"]


def test_equal_draws_are_told_apart_by_their_index(project: Project) -> None:
    world = fill(project)
    same = NewResponse(prompt_id=world.prompts[0], text="again", sampler_id=world.sampler, seed=1)
    first, second = project.store.add_responses([same, replace(same, index=1)])
    assert first != second
    stored = project.store.responses(prompt_id=world.prompts[0])[-2:]
    assert stored[0].content_sha256 == stored[1].content_sha256


def test_a_response_keeps_what_was_measured(project: Project) -> None:
    world = fill(project)
    stored = project.store.responses(sampler_id=world.sampler, origin="sample")
    assert [one.id for one in stored] == world.responses
    assert {(one.logprob_sum, one.token_count, one.finish_reason, one.seed) for one in stored} == {
        (-1.25, 4, "stop", 7)
    }
    (sampler,) = project.store.samplers()
    assert sampler.parameters == {"temperature": 1.0}
    assert sampler.model_version_id == world.model.id


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
def test_text_that_cannot_be_stored_is_refused_and_nothing_is_kept(
    project: Project, text: str
) -> None:
    with pytest.raises(DataError, match="prompt 2: character 1 is"):
        project.store.add_prompts([Prompt(text="fine"), Prompt(text=text)])
    assert project.store.prompts() == []


def test_a_sample_without_sampler_is_refused(project: Project) -> None:
    world = fill(project)
    with pytest.raises(DataError, match="response 1: origin is 'sample'"):
        project.store.add_responses([NewResponse(prompt_id=world.prompts[0], text="x")])
    with pytest.raises(DataError, match="origin is 'import'"):
        project.store.add_responses(
            [
                NewResponse(
                    prompt_id=world.prompts[0], text="x", origin="import", sampler_id=world.sampler
                )
            ]
        )


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_log_probability_that_is_not_finite_is_refused(project: Project, value: float) -> None:
    world = fill(project)
    new = NewResponse(
        prompt_id=world.prompts[0], text="x", sampler_id=world.sampler, logprob_sum=value
    )
    with pytest.raises(DataError, match="response 1: logprob_sum"):
        project.store.add_responses([new])


def test_a_seed_that_no_column_holds_is_refused(project: Project) -> None:
    world = fill(project)
    new = NewResponse(
        prompt_id=world.prompts[0], text="x", sampler_id=world.sampler, seed=(1 << 63) - 1
    )
    project.store.add_responses([new])
    with pytest.raises(DataError, match="response 1: seed is 9223372036854775808"):
        project.store.add_responses([replace(new, seed=1 << 63)])


def test_an_unknown_reference_is_named_and_nothing_is_kept(project: Project) -> None:
    world = fill(project)
    before = project.store.counts()
    good = NewResponse(prompt_id=world.prompts[0], text="x", origin="import")
    with pytest.raises(UnknownRecord, match="prompts has no record nowhere"):
        project.store.add_responses([good, replace(good, prompt_id="nowhere")])
    with pytest.raises(UnknownRecord, match="responses has no record nothing"):
        project.store.add_comparisons([comparison(world.prompts[0], world.responses[0], "nothing")])
    with pytest.raises(UnknownRecord, match="model_versions has no record none"):
        project.store.add_sampler("none", {}, "engine")
    assert project.store.counts() == before


def comparison(prompt: str, first: str, second: str) -> NewComparison:
    return NewComparison(
        prompt_id=prompt,
        first_response_id=first,
        second_response_id=second,
        shown_order="first_left",
        purpose="promotion",
    )


def test_two_responses_that_read_the_same_are_never_compared(project: Project) -> None:
    world = fill(project)
    first, second = project.store.add_responses(
        [
            NewResponse(prompt_id=world.prompts[0], text="equal", sampler_id=world.sampler, index=n)
            for n in (0, 1)
        ]
    )
    with pytest.raises(DataError, match="read the same"):
        project.store.add_comparisons([comparison(world.prompts[0], first, second)])


def test_a_response_to_another_prompt_is_refused_in_a_comparison(project: Project) -> None:
    world = fill(project)
    with pytest.raises(DataError, match="answers prompt"):
        project.store.add_comparisons(
            [comparison(world.prompts[0], world.responses[0], world.responses[2])]
        )


def test_the_same_pair_with_its_sides_swapped_needs_another_index(project: Project) -> None:
    world = fill(project)
    first, second = world.responses[:2]
    project.store.add_comparisons([comparison(world.prompts[0], first, second)])
    swapped = comparison(world.prompts[0], second, first)
    with pytest.raises(IdempotencyConflict, match="another index"):
        project.store.add_comparisons([swapped])
    project.store.add_comparisons([replace(swapped, index=1), replace(swapped, round=1)])
    assert project.store.counts()["comparisons"] == 6


def test_comparisons_come_with_their_texts_and_the_order_shown(project: Project) -> None:
    fill(project)
    stored = project.store.comparisons(purpose="reward", round=0)
    assert [(one.prompt, one.first, one.second, one.shown_order) for one in stored] == [
        ("question 0", "answer 0 to 0", "answer 1 to 0", "second_left"),
        ("question 1", "answer 0 to 1", "answer 1 to 1", "first_left"),
        ("question 2", "answer 0 to 2", "answer 1 to 2", "second_left"),
    ]
    assert project.store.comparisons(purpose="promotion") == []
    assert project.store.comparisons(round=1) == []


def test_unjudged_comparisons_are_those_without_a_standing_judgement(project: Project) -> None:
    world = fill(project)
    flawed, ada = world.annotators
    events = judge(project.store, world.comparisons[:2], ada)
    judge(project.store, world.comparisons, flawed)
    project.store.retract(events[0], ada, "undo")
    waiting = project.store.comparisons(unjudged_by=ada)
    assert [one.id for one in waiting] == [world.comparisons[0], world.comparisons[2]]
    assert project.store.comparisons(unjudged_by=flawed) == []
    with pytest.raises(UnknownRecord, match="annotators"):
        project.store.comparisons(unjudged_by="nobody")


def test_an_annotator_keeps_kind_and_parameters(project: Project) -> None:
    id_ = project.store.add_annotator("eve", "model", {"prompt": "judge", "temperature": 0})
    assert project.store.annotators() == [
        StoredAnnotator(
            id=id_, name="eve", kind="model", parameters={"prompt": "judge", "temperature": 0}
        )
    ]
    with pytest.raises(IdempotencyConflict, match="annotator 'eve' exists as model"):
        project.store.add_annotator("eve", "human")


def test_parameters_that_are_not_json_are_refused(project: Project) -> None:
    with pytest.raises(DataError, match="cannot be stored as JSON"):
        project.store.add_annotator("eve", "simulated", {"bias": float("nan")})
    with pytest.raises(DataError, match="cannot be stored as JSON"):
        project.store.add_annotator("eve", "simulated", {"bias": object()})
