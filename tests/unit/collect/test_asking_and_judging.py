"""Pairs are drawn from the seed, shown either way round, and judged once, on the side shown."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tests.store_fixtures import adopt_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.collect.asking import ask_comparisons, draw_responses, storable
from assent.collect.judging import judge_all
from assent.config.ppo import SamplingSettings
from assent.errors import DataError
from assent.models.loading import new_llama
from assent.store import NewComparison, NewModelVersion, NewResponse, Project, check_project
from assent.types import Judge, Prompt, ResponsePair, SilentProgress, Verdict
from assent.worlds.almanac import World, build_tokenizer

SAMPLING = SamplingSettings(max_new_tokens=6)
WORLD = World(0)
COUNT = 41


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    return new_llama(
        tokenizer,
        hidden_size=16,
        intermediate_size=16,
        layers=1,
        heads=2,
        max_positions=64,
        initial_std=0.2,
        seed=1,
    )


class LeftIsBetter:
    """Always prefers what is shown first."""

    def judge(self, pairs: Sequence[ResponsePair], seed: int) -> list[Verdict]:
        del seed
        return ["first" for _ in pairs]


class LongerIsBetter:
    """Looks at the texts and never at their places."""

    def judge(self, pairs: Sequence[ResponsePair], seed: int) -> list[Verdict]:
        del seed
        return ["first" if len(pair.first) >= len(pair.second) else "second" for pair in pairs]


class NeverDecides:
    """Gives the verdicts without a winner in turn."""

    def judge(self, pairs: Sequence[ResponsePair], seed: int) -> list[Verdict]:
        del seed
        without: tuple[Verdict, ...] = ("tie", "both_bad", "cannot_judge")
        return [without[number % 3] for number in range(len(pairs))]


class Remembers:
    """Keeps what it was shown and with which seed."""

    def __init__(self) -> None:
        self.shown: list[ResponsePair] = []
        self.seeds: list[int] = []

    def judge(self, pairs: Sequence[ResponsePair], seed: int) -> list[Verdict]:
        self.shown += pairs
        self.seeds.append(seed)
        return ["second" for _ in pairs]


def ask(
    project: Project,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    count: int = COUNT,
    seed: int = 3,
    round_number: int = 1,
) -> list[str]:
    store = project.store
    store.add_prompts([prompt.as_prompt() for prompt in WORLD.prompts("train")[:12]])
    if not store.model_versions():
        artifact = adopt_model(project)
        store.add_model_version(
            NewModelVersion(
                stage="sft", name="sft", weights_sha256=artifact.sha256, path=artifact.path
            )
        )
    sampler = store.add_sampler(store.model_versions()[0].id, {"temperature": 1.0}, "assent")
    return ask_comparisons(
        store,
        model,
        tokenizer,
        store.prompts("train"),
        count=count,
        sampler_id=sampler,
        sampling=SAMPLING,
        round_number=round_number,
        purpose="reward",
        seed=seed,
        progress=SilentProgress(),
    )


def test_two_responses_that_read_the_same_are_never_compared(
    sqlite_project: Project, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    ids = ask(sqlite_project, model, tokenizer)
    comparisons = sqlite_project.store.comparisons()
    assert [one.id for one in comparisons] == ids
    assert len(set(ids)) == COUNT
    assert [one for one in comparisons if one.first == one.second] == []


def test_another_pair_is_drawn_for_one_that_reads_the_same(
    sqlite_project: Project, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    # One token at a low temperature: most pairs are equal, so waves must make up for them.
    short = SamplingSettings(max_new_tokens=1, temperature=0.25)
    store = sqlite_project.store
    ask(sqlite_project, model, tokenizer, count=1)
    prompts = store.prompts("train")
    texts = [prompt.text for prompt in prompts]
    one, other = (draw_responses(model, tokenizer, texts, short, 0, side) for side in "ab")
    equal = sum(a.text == b.text for a, b in zip(one, other, strict=True))
    assert equal > 0
    ids = ask_comparisons(
        store,
        model,
        tokenizer,
        prompts,
        count=COUNT,
        sampler_id=store.add_sampler(store.model_versions()[0].id, {"temperature": 0.25}, "x"),
        sampling=short,
        round_number=2,
        purpose="reward",
        seed=0,
        progress=SilentProgress(),
    )
    assert len(ids) == COUNT
    assert all(one.first != one.second for one in store.comparisons(round=2))


def test_each_side_is_shown_first_equally_often_and_in_no_fixed_turn(
    sqlite_project: Project, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    ask(sqlite_project, model, tokenizer)
    orders = [one.shown_order for one in sqlite_project.store.comparisons()]
    found = Counter(orders)
    assert abs(found["first_left"] - found["second_left"]) <= 1
    changes = sum(left != right for left, right in pairwise(orders))
    assert 10 <= changes <= 30  # of 40; alternating would be 40, blocks would be 1


def test_another_seed_or_round_asks_something_else(
    sqlite_project: Project, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    first = ask(sqlite_project, model, tokenizer)
    assert not {*first} & {*ask(sqlite_project, model, tokenizer, seed=4)}
    assert not {*first} & {*ask(sqlite_project, model, tokenizer, round_number=2)}


def test_every_prompt_is_asked_about_as_often_as_the_others(
    sqlite_project: Project, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    ask(sqlite_project, model, tokenizer, count=36)
    asked = Counter(one.prompt_id for one in sqlite_project.store.comparisons())
    assert len(asked) == 12
    assert max(asked.values()) - min(asked.values()) <= 2


def test_what_is_stored_of_a_response_is_how_it_was_drawn(
    sqlite_project: Project, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    ask(sqlite_project, model, tokenizer)
    responses = sqlite_project.store.responses()
    assert len(responses) == 2 * COUNT
    for one in responses:
        assert one.logprob_sum is not None
        assert one.logprob_sum < 0
        assert one.token_count is not None
        assert 1 <= one.token_count <= SAMPLING.max_new_tokens
        assert one.finish_reason == "stop" or one.token_count == SAMPLING.max_new_tokens


def test_asking_again_after_a_kill_adds_nothing(
    sqlite_project: Project, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    store = sqlite_project.store
    judges: dict[str, Judge] = {
        store.add_annotator("left", "simulated"): LeftIsBetter(),
        store.add_annotator("longer", "simulated"): LongerIsBetter(),
    }
    asked = []
    counted = []
    for _ in range(2):
        asked.append(ask(sqlite_project, model, tokenizer))
        judge_all(store, store.comparisons(), judges, seed=1, progress=SilentProgress())
        counted.append(store.counts())
    assert asked[0] == asked[1]
    assert counted[0] == counted[1]
    assert counted[0]["events"] == COUNT
    assert check_project(sqlite_project) == []


def test_a_policy_that_always_says_the_same_is_told_in_one_line(
    sqlite_project: Project, tokenizer: PreTrainedTokenizerBase
) -> None:
    mute = new_llama(
        tokenizer,
        hidden_size=16,
        intermediate_size=16,
        layers=1,
        heads=2,
        max_positions=64,
        initial_std=0.2,
        seed=1,
    )
    with torch.no_grad():
        # The final norm's gain makes every logit but the winner's vanish.
        mute.get_parameter("model.norm.weight").mul_(1e4)
    with pytest.raises(DataError, match=r"only \d+ of 41 pairs .* round 1: .*temperature") as told:
        ask(sqlite_project, mute, tokenizer)
    assert "\n" not in str(told.value)
    assert sqlite_project.store.comparisons() == []


def test_a_judge_sees_the_order_shown_and_its_verdict_is_stored_for_the_side_stored(
    sqlite_project: Project, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    ask(sqlite_project, model, tokenizer)
    store = sqlite_project.store
    judge = LeftIsBetter()
    annotator = store.add_annotator("left", "simulated")
    comparisons = store.comparisons()
    assert judge_all(
        store, comparisons, {annotator: judge}, seed=1, progress=SilentProgress()
    ) == len(comparisons)
    stored = {p.comparison_id: p for p in store.judged_pairs(store.take_snapshot("all").id)}
    for one in comparisons:
        left = "first" if one.shown_order == "first_left" else "second"
        assert stored[one.id].verdict == left
    # Its bias for a place is no bias for a side as stored.
    won = Counter(pair.verdict for pair in stored.values())
    assert abs(won["first"] - won["second"]) <= 1


def test_a_judge_of_content_gives_the_same_verdict_whatever_the_order(
    sqlite_project: Project, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    ask(sqlite_project, model, tokenizer)
    store = sqlite_project.store
    annotator = store.add_annotator("longer", "simulated")
    judge_all(
        store, store.comparisons(), {annotator: LongerIsBetter()}, seed=1, progress=SilentProgress()
    )
    pairs = store.judged_pairs(store.take_snapshot("all").id)
    decided = [pair for pair in pairs if len(pair.first) != len(pair.second)]
    assert {pair.shown_order for pair in decided} == {"first_left", "second_left"}
    for pair in decided:
        longer = "first" if len(pair.first) > len(pair.second) else "second"
        assert pair.verdict == longer


def test_verdicts_without_a_winner_are_stored_as_they_are(
    sqlite_project: Project, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    ask(sqlite_project, model, tokenizer, count=30)
    store = sqlite_project.store
    annotator = store.add_annotator("undecided", "simulated")
    judge_all(
        store, store.comparisons(), {annotator: NeverDecides()}, seed=1, progress=SilentProgress()
    )
    pairs = store.judged_pairs(store.take_snapshot("all").id)
    assert Counter(p.verdict for p in pairs) == {"tie": 10, "both_bad": 10, "cannot_judge": 10}


def test_judges_share_the_work_evenly_each_with_a_seed_of_its_own(
    sqlite_project: Project, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    ask(sqlite_project, model, tokenizer)
    store = sqlite_project.store
    judges = {store.add_annotator(name, "simulated"): Remembers() for name in ("a", "b", "c")}
    judge_all(store, store.comparisons(), judges, seed=1, progress=SilentProgress())
    assert sorted(len(judge.shown) for judge in judges.values()) == [13, 14, 14]
    assert len({judge.seeds[0] for judge in judges.values()}) == 3
    shown = [pair for judge in judges.values() for pair in judge.shown]
    assert len({(pair.prompt, pair.first, pair.second) for pair in shown}) == len(
        {(one.prompt, frozenset((one.first, one.second))) for one in store.comparisons()}
    )
    by = {p.comparison_id: p.annotator_id for p in store.judged_pairs(store.take_snapshot("s").id)}
    assert Counter(by.values()) == {id_: len(judge.shown) for id_, judge in judges.items()}


def test_verdicts_follow_from_the_seed_and_not_from_ids(tmp_path: Path) -> None:
    """Ids hold the hash of all settings; one that draws nothing must not change a verdict."""
    seeds: list[list[int]] = []
    for settings in ("0" * 64, "1" * 64):
        noted: list[int] = []

        class Notes:
            def judge(self, pairs: Sequence[ResponsePair], seed: int) -> list[Verdict]:
                noted.append(seed)  # noqa: B023 - read before the next project is made
                return ["first"] * len(pairs)

        with Project.create(tmp_path / settings[:1], "schema_version = 1\n") as project:
            store = project.store
            (prompt,) = store.add_prompts([Prompt(text=f"Why {settings}?")])
            one, other = store.add_responses(
                [NewResponse(prompt_id=prompt, text=text, origin="import") for text in "ab"]
            )
            store.add_comparisons(
                [
                    NewComparison(
                        prompt_id=prompt,
                        first_response_id=one,
                        second_response_id=other,
                        shown_order="first_left",
                        purpose="reward",
                        round=1,
                        index=0,
                    )
                ]
            )
            judge = store.add_annotator("somebody", "simulated")
            judge_all(
                store, store.comparisons(), {judge: Notes()}, seed=1, progress=SilentProgress()
            )
        seeds.append(noted)
    assert seeds[0] == seeds[1]


def test_a_response_with_a_nul_can_be_stored() -> None:
    assert storable("a\x00b") == "a\N{REPLACEMENT CHARACTER}b"
