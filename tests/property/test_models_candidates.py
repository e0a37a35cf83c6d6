"""Whatever the answers share, enumerating them together is scoring them one by one."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.models.architectures import (
    ARCHITECTURES,
    EOS,
    PAD,
    VOCABULARY,
    causal_lm,
    logprobs_alone,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from assent.models.answer_trees import AnswerTree, stack
from assent.models.candidates import Candidates
from assent.models.sampling import sample
from assent.models.scoring import score
from assent.models.tokens import join
from assent.objectives.seeds import generator

MODELS = {architecture: causal_lm(architecture) for architecture in ARCHITECTURES}
WORDS = ["<pad>", "<eos>", *(f"w{i}" for i in range(2, VOCABULARY))]
_backend = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
_backend.pre_tokenizer = WhitespaceSplit()
TOKENIZER = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
    tokenizer_object=_backend, pad_token="<pad>", eos_token="<eos>"
)

word = st.integers(2, VOCABULARY - 1)
few_words = st.integers(2, 5)  # so that answers share beginnings
answer = st.lists(few_words | word, max_size=5).map(tuple)
answers = st.lists(answer, min_size=1, max_size=12, unique=True)
prompt = st.lists(word, min_size=1, max_size=7)


def text(ids: list[int] | tuple[int, ...]) -> str:
    return " ".join(WORDS[i] for i in ids)


@given(
    asked=st.lists(st.tuples(prompt, st.integers(0, 1)), min_size=1, max_size=4),
    lists=st.tuples(answers, answers),
    architecture=st.sampled_from(ARCHITECTURES),
    temperature=st.sampled_from([1.0, 0.7]),
)
@settings(max_examples=40)
def test_enumerated_logprobs_are_those_of_one_answer_alone(
    asked: list[tuple[list[int], int]],
    lists: tuple[list[tuple[int, ...]], list[tuple[int, ...]]],
    architecture: str,
    temperature: float,
) -> None:
    size = min(map(len, lists))
    model = MODELS[architecture]
    told = [lists[which][:size] for _, which in asked]
    found = Candidates(
        TOKENIZER, [text(p) for p, _ in asked], [[text(a) for a in few] for few in told]
    ).logprobs(model, temperature)
    for row, ((ids, _), few) in enumerate(zip(asked, told, strict=True)):
        alone = [sum(logprobs_alone(model, ids, [*a, EOS], temperature)) for a in few]
        torch.testing.assert_close(
            found[row], torch.tensor(alone, dtype=torch.float64), rtol=0, atol=2e-4
        )
        assert found[row].exp().sum().item() < 1 + 1e-5


@given(sequences=answers, most_nodes=st.integers(1, 12))
def test_every_answer_can_be_walked_back_in_a_tree_cut_anywhere(
    sequences: list[tuple[int, ...]], most_nodes: int
) -> None:
    ended = [[*sequence, EOS] for sequence in sequences]
    tree = AnswerTree.build(ended, most_nodes)
    own, above = stack([tree])[:2]
    tokens = torch.cat([own.flatten()[above], own], dim=1)
    for sequence, (row, end) in zip(ended, tree.ends.tolist(), strict=True):
        path: list[int] = []
        at = above.shape[1] + end
        while at >= 0:
            path.insert(0, int(tokens[row, at]))
            at = int(tree.parents[row, at])
        assert path == sequence


@given(
    prompts=st.lists(prompt, min_size=1, max_size=5),
    architecture=st.sampled_from(ARCHITECTURES),
    temperature=st.sampled_from([0.5, 1.0, 1.5]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=30)
def test_the_importance_ratio_starts_at_one(
    prompts: list[list[int]], architecture: str, temperature: float, seed: int
) -> None:
    model = MODELS[architecture]
    drawn = sample(
        model,
        prompts,
        eos_id=EOS,
        pad_id=PAD,
        max_new_tokens=6,
        temperature=temperature,
        generator=generator(seed),
    )
    with torch.no_grad():
        again = score(model, drawn.rows, temperature=temperature).logprobs
    assert ((again - drawn.logprobs).exp() - 1).abs().max().item() < 1e-4


@given(
    pairs=st.lists(
        st.tuples(prompt, st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6)),
        min_size=2,
        max_size=5,
    ),
    architecture=st.sampled_from(ARCHITECTURES),
)
@settings(max_examples=30)
def test_a_row_scores_the_same_in_any_company(
    pairs: list[tuple[list[int], list[int]]], architecture: str
) -> None:
    model = MODELS[architecture]
    with torch.no_grad():
        together = score(
            model, join([p for p, _ in pairs], [r for _, r in pairs], PAD), temperature=1.0
        ).logprobs
    for row, (ids, response) in enumerate(pairs):
        alone = torch.tensor(logprobs_alone(model, ids, response))
        torch.testing.assert_close(together[row, : len(response)], alone, rtol=0, atol=2e-5)
