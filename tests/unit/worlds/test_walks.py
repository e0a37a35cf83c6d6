"""Walks: the graph, what a walk is worth, and the expectation over all of them."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import shortest_path

from assent.worlds.walks import WalksWorld, build_tokenizer

WORLD = WalksWorld()


def test_it_is_the_published_world() -> None:
    """1,000 walks, 20 starts, and cloned walks about 0.79 optimal."""
    assert len(WORLD.walks) == 1000
    assert WORLD.edges.shape == (21, 21)
    assert WORLD.prompts == list("bcdefghijklmnopqrstu")
    worth = [WORLD.optimality(walk[0], walk[1:]) for walk in WORLD.walks]
    assert sum(worth) / 1000 == pytest.approx(0.79, abs=0.005)
    assert WORLD.walks[:3] == ["oseotba", "qka", "jrmhnba"], "the stream of draws is trlX's"


def test_walks_follow_edges_and_end_at_the_goal_or_after_ten_nodes() -> None:
    index = WORLD.letters.index
    for walk in WORLD.walks:
        assert all(WORLD.edges[index(one), index(other)] for one, other in pairwise(walk))
        assert "a" not in walk[:-1]
        assert walk[-1] == "a" or len(walk) == 10


@pytest.mark.parametrize("seed", [1002, 1, 2, 3])
def test_shortest_ways_are_those_of_scipy(seed: int) -> None:
    world = WalksWorld(seed=seed)
    distances = shortest_path(world.edges.astype(float), unweighted=True)[:, 0]
    expected = {
        world.letters[node]: int(distance) + 1
        for node, distance in enumerate(distances.tolist())
        if node and math.isfinite(distance)
    }
    assert world.shortest == expected


@pytest.mark.parametrize(
    ("prompt", "response", "worth"),
    [
        ("b", "a", 1.0),
        ("c", "ua", 1.0),
        ("q", "ka", 1.0),
        ("b", "", 0.0),
        ("b", "b", 0.0),
        ("b", "ab and then anything", 1.0),
        ("b", " a", 0.0),
        ("b", "z", 0.0),
        ("b", "\u00e9a", 0.0),
        ("o", "seotba", (10 - 7) / (10 - 4)),
    ],
)
def test_what_a_walk_is_worth(prompt: str, response: str, worth: float) -> None:
    assert WORLD.optimality(prompt, response) == pytest.approx(worth)
    assert WORLD.reward([prompt], [response]) == [WORLD.optimality(prompt, response)]


def test_a_walk_that_arrives_too_late_or_never_is_worth_nothing() -> None:
    late = [walk for walk in WORLD.walks if len(walk) == 10]
    assert len(late) > 5
    assert {WORLD.optimality(walk[0], walk[1:]) for walk in late} == {0.0}


@given(
    walk=st.text(alphabet=WORLD.letters + "? ", max_size=14), start=st.sampled_from(WORLD.prompts)
)
def test_the_worth_of_any_text_is_a_number_from_0_to_1(walk: str, start: str) -> None:
    worth = WORLD.optimality(start, walk)
    listed = [
        one for one in WORLD.arrivals if one.prompt == start and walk.startswith(one.response)
    ]
    assert worth == (listed[0].optimality if listed else 0.0)
    assert 0 <= worth <= 1


def test_the_listed_ways_give_the_expectation_of_random_walks() -> None:
    """Against 1,000 sampled walks, start by start, within sampling error."""
    expected = dict.fromkeys(WORLD.prompts, 0.0)
    for way in WORLD.arrivals:
        nodes = way.prompt + way.response[:-1]
        chance = math.prod(1 / WORLD.edges[WORLD.letters.index(node)].sum() for node in nodes)
        expected[way.prompt] += chance * way.optimality
    for start, worth in expected.items():
        seen = [WORLD.optimality(start, walk[1:]) for walk in WORLD.walks if walk[0] == start]
        error = 4 * float(np.std(seen)) / math.sqrt(len(seen))
        assert sum(seen) / len(seen) == pytest.approx(worth, abs=error + 1e-9)


def test_a_start_that_is_none_is_refused() -> None:
    for wrong in ("a", "z", "", "bc"):
        with pytest.raises(ValueError, match="no walk starts at"):
            WORLD.optimality(wrong, "a")


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"nodes": 27}, "nodes is 27"),
        ({"nodes": 1}, "nodes is 1"),
        ({"max_length": 2}, "max_length is 2"),
        ({"edge_chance": 0.0}, "edge_chance is 0.0"),
    ],
)
def test_settings_of_which_no_world_can_be_made_are_refused(
    given_: dict[str, float], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        WalksWorld(**given_)  # type: ignore[arg-type]


def test_every_letter_is_one_token_and_comes_back() -> None:
    tokenizer = build_tokenizer(WORLD.letters)
    assert len(tokenizer) == 24
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    for walk in WORLD.walks[:20]:
        ids = tokenizer(walk)["input_ids"]
        assert len(ids) == len(walk)
        assert tokenizer.decode(ids) == walk
    assert torch.tensor(tokenizer("b?")["input_ids"]).tolist()[1] == tokenizer.unk_token_id
