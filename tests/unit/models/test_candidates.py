"""Enumerated log-probabilities and rewards are those of each answer on its own."""

import math

import pytest
import torch
from tests.unit.models.architectures import (
    ARCHITECTURES,
    EOS,
    causal_lm,
    logprobs_alone,
    reward_model,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from assent.models.answer_trees import AnswerTree, stack
from assent.models.candidates import Candidates
from assent.models.reading import ResponseEnd
from assent.models.rewards import TextReward
from assent.models.scoring import score
from assent.models.tokens import rows_of
from assent.worlds.almanac import World, answers, build_tokenizer

TOKENIZER = build_tokenizer()
WORLD = World(3)
SUFFIX = "\nA reader remarks:"
PROMPTS = [WORLD.prompts("test")[i] for i in (0, 1, 40, 77, 143)]


def almanac(prompts: int, every: int) -> tuple[list[str], list[list[str]]]:
    chosen = PROMPTS[:prompts]
    texts = [[a.text for a in answers(p.fact.attribute)[::every]] for p in chosen]
    return [p.text for p in chosen], texts


def one_by_one(
    model: PreTrainedModel, prompts: list[str], texts: list[list[str]], temperature: float
) -> torch.Tensor:
    found = []
    for prompt, few in zip(prompts, texts, strict=True):
        rows = rows_of(TOKENIZER, [prompt] * len(few), few)
        with torch.no_grad():
            scored = score(model, rows, temperature=temperature)
        found.append(scored.logprobs.double().sum(1))
    return torch.stack(found)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_of_answers_are_those_of_scoring(architecture: str, temperature: float) -> None:
    model = causal_lm(architecture, vocabulary=len(TOKENIZER))
    prompts, texts = almanac(3, every=9)
    found = Candidates(TOKENIZER, prompts, texts).logprobs(model, temperature)
    assert found.dtype == torch.float64
    expected = one_by_one(model, prompts, texts, temperature)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_all_270_answers_to_prompts_of_unlike_length_in_several_batches() -> None:
    model = causal_lm("llama", vocabulary=len(TOKENIZER))
    prompts, texts = almanac(5, every=1)
    found = Candidates(TOKENIZER, prompts * 2, texts * 2).logprobs(model)
    assert found.shape == (10, 270)
    expected = one_by_one(model, prompts, texts, 1.0)
    torch.testing.assert_close(found, torch.cat([expected, expected]), rtol=0, atol=3e-4)


def test_the_probability_of_all_answers_is_below_one() -> None:
    model = causal_lm("llama", vocabulary=len(TOKENIZER))
    prompts, texts = almanac(3, every=1)
    total = Candidates(TOKENIZER, prompts, texts).logprobs(model).exp().sum(1)
    assert bool((total > 0).all())
    assert bool((total < 1).all())


def test_all_texts_of_up_to_two_words_lack_only_the_probability_of_going_on() -> None:
    words = ["<pad>", "<eos>", "a", "b", "c"]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    backend.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>"
    )
    model = causal_lm("llama", vocabulary=len(words))
    going_on = [w for w in words if w != "<eos>"]
    texts = ["", *going_on, *(f"{x} {y}" for x in going_on for y in going_on)]
    prompts = ["a b", "c"]
    ended = Candidates(tokenizer, prompts, [texts] * 2).logprobs(model).exp().sum(1)
    for number, prompt in enumerate(prompts):
        ids = tokenizer(prompt)["input_ids"]
        unended = sum(
            math.exp(sum(logprobs_alone(model, ids, [words.index(x), words.index(y)])))
            for x in going_on
            for y in going_on
        )
        still_on = unended - sum(
            math.exp(sum(logprobs_alone(model, ids, [words.index(x), words.index(y), EOS])))
            for x in going_on
            for y in going_on
        )
        assert 0 < still_on < 1
        assert ended[number].item() == pytest.approx(1 - still_on, abs=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
def test_rewards_of_answers_are_those_of_the_reward_model_on_text(architecture: str) -> None:
    model = reward_model(architecture, vocabulary=len(TOKENIZER))
    prompts, texts = almanac(3, every=5)
    found = Candidates(TOKENIZER, prompts, texts).rewards(model)
    reward = TextReward(model, TOKENIZER)
    expected = [reward.raw([p] * len(few), few) for p, few in zip(prompts, texts, strict=True)]
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=2e-5
    )


def test_rewards_after_a_suffix_are_those_of_the_reward_model_on_text() -> None:
    model = reward_model("llama", vocabulary=len(TOKENIZER))
    prompts, texts = almanac(2, every=30)
    reading = ResponseEnd(TOKENIZER, SUFFIX)
    reward = TextReward(model, TOKENIZER, reading=reading)
    candidates = Candidates(TOKENIZER, prompts, texts)
    plain = candidates.rewards(model)
    expected = [reward.raw([p] * len(few), few) for p, few in zip(prompts, texts, strict=True)]
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(reward.over(candidates), wanted, rtol=0, atol=2e-5)
    assert (wanted - plain).abs().max() > 1e-3
    torch.testing.assert_close(candidates.rewards(model), plain)  # nothing of it stays behind


def test_equal_lists_of_answers_are_packed_once_with_a_suffix_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[int] = []
    build = AnswerTree.build

    def counted(answers: list[list[int]]) -> AnswerTree:
        built.append(len(answers))
        return build(answers)

    monkeypatch.setattr(AnswerTree, "build", counted)
    prompts, texts = almanac(2, every=30)
    same = [texts[0][:2]] * 3 + [texts[0][2:4]] * 2
    candidates = Candidates(TOKENIZER, [prompts[0]] * 5, same)
    assert built == [2, 2]
    model = reward_model("llama", vocabulary=len(TOKENIZER))
    reading = ResponseEnd(TOKENIZER, SUFFIX)
    TextReward(model, TOKENIZER, reading=reading).over(candidates)
    assert built == [2] * 4


@pytest.mark.parametrize("most_nodes", [1, 3, 40, 10_000])
def test_a_tree_cut_anywhere_holds_each_answer_whole(most_nodes: int) -> None:
    sequences = [[2, 3, 1], [2, 1], [2, 3, 4, 1], [5, 1], [1]]
    tree = AnswerTree.build(sequences, most_nodes)
    own, above = stack([tree])[:2]
    tokens = torch.cat([own.flatten()[above], own], dim=1)
    for sequence, (row, node) in zip(sequences, tree.ends.tolist(), strict=True):
        path, at = [], above.shape[1] + node
        seen = tree.ancestors[row, at].nonzero().flatten().tolist()
        assert sorted(tokens[row, seen].tolist()) == sorted(sequence)
        assert int(tree.depths[row, at]) == len(sequence) - 1
        while at >= 0:
            path.append(int(tokens[row, at]))
            at = int(tree.parents[row, at])
        assert path[::-1] == sequence


def test_every_node_stands_once() -> None:
    texts = [a.text for a in answers(PROMPTS[0].fact.attribute)]
    sequences = [[*TOKENIZER(t)["input_ids"], TOKENIZER.eos_token_id] for t in texts]
    tree = AnswerTree.build(sequences)
    nodes = {tuple(ids[: end + 1]) for ids in sequences for end in range(len(ids))}
    back = tree.above.shape[1]
    real = tree.ancestors.diagonal(dim1=1, dim2=2)[:, back:] & (tree.tokens > 0)
    assert int(real.sum()) == len(nodes)
    assert tree.tokens.numel() < 1.05 * len(nodes)  # the rest is padding


def test_rows_are_far_fewer_tokens_than_answers_one_by_one() -> None:
    texts = [a.text for a in answers(PROMPTS[0].fact.attribute)]
    sequences = [[*TOKENIZER(t)["input_ids"], TOKENIZER.eos_token_id] for t in texts]
    tree = AnswerTree.build(sequences)
    assert tree.tokens.numel() < sum(map(len, sequences)) / 2.5


@pytest.mark.parametrize(
    ("sequences", "fault"),
    [
        ([], "no answer"),
        ([[2, 1], []], "answer 1 is empty"),
        ([[2, 1], [3], [2, 1]], "answer 2 is"),
    ],
)
def test_answers_that_cannot_be_enumerated_are_named(
    sequences: list[list[int]], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        AnswerTree.build(sequences)


def test_answers_of_unlike_length_share_rows_as_wide_as_the_longest() -> None:
    lengths = [20, 120, 30, 100, 60, 66, 70, 54]
    start, answers = 0, []
    for length in lengths:
        answers.append(list(range(start, start + length)))
        start += length
    tree = AnswerTree.build(answers)
    rows, width = tree.tokens.shape
    assert width == max(lengths)
    assert rows == 5  # 520 tokens; one by one, each beside its neighbour where it fits, 7
    own, above = stack([tree])[:2]
    tokens = torch.cat([own.flatten()[above], own], dim=1)
    for answer, (row, node) in zip(answers, tree.ends.tolist(), strict=True):
        path = tokens[row][tree.ancestors[row, above.shape[1] + node]]
        assert path.tolist() == answer
