"""Every objective of a reward model learns what was planted, and says what it cannot learn from."""

import json
import logging
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training_fixtures import (
    LETTERS,
    PROMPTS,
    TOKENIZER,
    interrupt_at,
    optimiser,
    small_policy,
    small_reward_model,
)
from transformers import AutoModelForSequenceClassification

from assent.config.files import whole_folder
from assent.config.lora import LoraSettings
from assent.config.reward import RewardSettings
from assent.errors import ConfigError, DataError, NotAModel
from assent.models.checkpoints import save_model
from assent.models.loading import reward_model_from
from assent.models.rewards import TextReward
from assent.training.reward import LIKELIHOOD_FILE, train_reward
from assent.training.reward_data import material_of
from assent.training.run_folder import RunFolder
from assent.types import PreferencePair, RankedResponses, RatedResponse, RewardExample

SAMPLES = (PROMPTS, ["ab", "h", "cafe", "dad", "gg", "", "bead", "fa"])
COMPARED = ("bradley_terry", "rankings", "plackett_luce", "pick_best", "davidson", "ordinal")


def words(count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices(LETTERS[:4], k=chance.randint(1, 6))) for _ in range(count)]


def rankings(count: int, seed: int, members: int = 4) -> list[RewardExample]:
    """Whoever has more of the letter a ranks higher; as many are tied."""
    drawn = words(count * members, seed)
    found: list[RewardExample] = []
    for number in range(count):
        texts = tuple(drawn[number * members : (number + 1) * members])
        counts = [text.count("a") for text in texts]
        ranks = tuple(len({other for other in counts if other > mine}) for mine in counts)
        prompt = PROMPTS[number % len(PROMPTS)]
        found.append(RankedResponses(prompt=prompt, responses=texts, ranks=ranks))
    return found


def graded(count: int, seed: int) -> list[RewardExample]:
    """Pairs with ties and strengths: by how many letters a one side is ahead."""
    drawn = words(2 * count, seed)
    found: list[RewardExample] = []
    for number in range(count):
        pair = (drawn[2 * number], drawn[2 * number + 1])
        gap = pair[0].count("a") - pair[1].count("a")
        ranks = (0, 0) if gap == 0 else (0, 1) if gap > 0 else (1, 0)
        strength = min(abs(gap), 4) or None
        prompt = PROMPTS[number % len(PROMPTS)]
        found.append(RankedResponses(prompt=prompt, responses=pair, ranks=ranks, strength=strength))
    return found


def rated(count: int, seed: int) -> list[RewardExample]:
    """Ratings on two axes, one of them left out of every third."""
    return [
        RatedResponse(
            prompt=PROMPTS[number % len(PROMPTS)],
            response=text,
            axes={"letters": 1.0 + text.count("a")}
            | ({} if number % 3 == 0 else {"short": 7.0 - len(text)}),
        )
        for number, text in enumerate(words(count, seed))
    ]


def examples(objective: str, count: int, seed: int) -> list[RewardExample]:
    if objective == "ratings":
        return rated(3 * count, seed)
    return (graded if objective in ("davidson", "ordinal") else rankings)(count, seed)


def settings(objective: str, **given: Any) -> RewardSettings:
    return RewardSettings.model_validate(
        {"objective": objective, "epochs": 1, "batch_size": 10, "optimiser": optimiser()} | given
    )


def start(folder: Path, outputs: int = 1) -> Any:
    if outputs == 1:
        return small_reward_model(folder)
    if not folder.exists():
        with whole_folder(folder) as aside:
            save_model(aside, small_policy(), TOKENIZER)
    return reward_model_from(folder, seed=1, outputs=outputs)


def train(
    folder: Path,
    said: Sequence[RewardExample],
    given: RewardSettings,
    samples: tuple[list[str], list[str]] | None = SAMPLES,
    **more: Any,
) -> TextReward:
    outputs = 2 if given.objective == "ratings" and given.axes is None else 1
    model = start(folder.parent / f"base-{outputs}", outputs)
    return train_reward(model, TOKENIZER, said, samples, given, RunFolder(folder), seed=0, **more)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("objective", [*COMPARED, "ratings"])
def test_what_was_planted_is_found_on_texts_never_seen(objective: str, tmp_path: Path) -> None:
    graded_pairs = objective in ("davidson", "ordinal", "ratings")
    said = examples(objective, 120 if graded_pairs else 60, seed=0)
    given = {"axes": {"letters": 1.0}} if objective == "ratings" else {}
    size = 5 if objective in ("rankings", "plackett_luce", "pick_best") else 20
    reward = train(tmp_path / "run", said, settings(objective, epochs=4, batch_size=size, **given))
    fresh = words(200, seed=9)
    scores = reward([PROMPTS[0]] * len(fresh), fresh)
    pairs = [
        (one > other) == (a.count("a") > b.count("a"))
        for (one, a), (other, b) in zip(
            zip(scores, fresh, strict=True), zip(scores[1:], fresh[1:], strict=False), strict=False
        )
        if a.count("a") != b.count("a")
    ]
    assert sum(pairs) / len(pairs) > 0.85
    losses = [line["loss/reward"] for line in metrics(tmp_path / "run")]
    assert sum(losses[-3:]) < sum(losses[:3])


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("objective", [*COMPARED, "ratings"])
def test_the_folder_gives_the_same_scores_to_everybody(
    objective: str, lora: bool, tmp_path: Path
) -> None:
    given = {"lora": LoraSettings(rank=2)} if lora else {}
    said = examples(objective, 20, seed=1)
    reward = train(tmp_path / "run", said, settings(objective, epochs=2, **given))
    folder = tmp_path / "run" / "model"
    again = TextReward.load(folder)
    assert again.raw(*SAMPLES) == pytest.approx(reward.raw(*SAMPLES), abs=1e-5)
    assert again(*SAMPLES) == pytest.approx(reward(*SAMPLES), abs=1e-5)
    assert sum(again(*SAMPLES)) == pytest.approx(0, abs=1e-4)
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    assert plain.config.num_labels == (2 if objective == "ratings" else 1)


def test_each_axis_can_be_asked_and_the_reward_is_their_stated_sum(tmp_path: Path) -> None:
    said = rated(300, seed=0)
    given = settings("ratings", epochs=4, axes={"letters": 1.0, "short": -0.5})
    outputs = start(tmp_path / "base", 2)
    reward = train_reward(
        outputs, TOKENIZER, said, None, given, RunFolder(tmp_path / "run"), seed=0
    )
    folder = tmp_path / "run" / "model"
    letters, short = (TextReward.load(folder, axis=name) for name in ("letters", "short"))
    fresh = words(100, seed=5)
    asked = [PROMPTS[1]] * len(fresh)
    predicted = torch.tensor(letters(asked, fresh))
    truth = torch.tensor([1.0 + word.count("a") for word in fresh])
    assert (predicted - truth).abs().mean() < 0.5 * (truth - truth.mean()).abs().mean()
    whole = torch.tensor(letters.raw(asked, fresh)) - 0.5 * torch.tensor(short.raw(asked, fresh))
    torch.testing.assert_close(torch.tensor(reward(asked, fresh)), whole, atol=1e-5, rtol=0)
    axes = json.loads((folder / "reward_axes.json").read_text())["axes"]
    assert [one["weight"] for one in axes] == [1.0, -0.5]
    numbers = [one.axes["letters"] for one in said if isinstance(one, RatedResponse)]
    assert axes[0]["mean"] == pytest.approx(sum(numbers) / len(numbers))
    with pytest.raises(NotAModel, match=r"no axis 'kind'; it has letters, short"):
        TextReward.load(folder, axis="kind")


def test_a_folder_whose_axes_were_damaged_is_refused_in_a_line(tmp_path: Path) -> None:
    train(tmp_path / "run", rated(20, seed=0), settings("ratings"))
    folder = tmp_path / "run" / "model"
    for text in ("{", '{"axes": []}', '{"axes": [{"name": "a"}]}', '{"axes": 3}'):
        (folder / "reward_axes.json").write_text(text)
        with pytest.raises(NotAModel, match=r"reward_axes\.json does not say") as raised:
            TextReward.load(folder)
        assert "\n" not in str(raised.value)


def test_ties_and_thresholds_are_learned_and_written_beside_the_model(tmp_path: Path) -> None:
    said = graded(80, seed=3)
    train(tmp_path / "davidson", said, settings("davidson", epochs=3, likelihood_lr=0.1))
    found = json.loads((tmp_path / "davidson" / "model" / LIKELIHOOD_FILE).read_text())
    assert found["tie_weight"] > math.exp(-1) + 0.1, "a third of the pairs are ties"
    train(tmp_path / "ordinal", said, settings("ordinal", epochs=3, likelihood_lr=0.1))
    found = json.loads((tmp_path / "ordinal" / "model" / LIKELIHOOD_FILE).read_text())
    assert found["ties"] is True
    strengths = {one.strength for one in said if isinstance(one, RankedResponses)} - {None}
    assert found["strengths"] == sorted(strengths, key=lambda one: one or 0)
    assert found["thresholds"] == sorted(found["thresholds"])
    assert len(found["thresholds"]) == len(strengths)
    train(tmp_path / "plain", rankings(10, seed=0), settings("rankings"))
    assert not (tmp_path / "plain" / "model" / LIKELIHOOD_FILE).exists()


def test_margins_ask_a_clearer_winner_to_be_further_ahead(tmp_path: Path) -> None:
    pairs = [
        PreferencePair(prompt="a", chosen=one, rejected="h", strength=strength)
        for one, strength in (("b", 1), ("c", 4), ("d", None))
    ] * 2
    before = TextReward(small_reward_model(tmp_path / "base-1"), TOKENIZER)
    ahead = [before.raw(["a"], [one])[0] - before.raw(["a"], ["h"])[0] for one in ("b", "c", "d")]
    given = settings("bradley_terry", batch_size=6, margins=(0.5, 1.0, 1.5, 2.0))
    train(tmp_path / "run", pairs, given, samples=None)
    (line,) = metrics(tmp_path / "run")
    expected = sum(
        math.log1p(math.exp(by - gap)) for gap, by in zip(ahead, (0.5, 2.0, 0.0), strict=True)
    )
    assert line["loss/reward"] == pytest.approx(expected / 3, abs=1e-5)


def test_settings_that_no_objective_reads_are_refused() -> None:
    with pytest.raises(ValueError, match="margins are for objective bradley_terry, not ordinal"):
        settings("ordinal", margins=(0, 1, 2, 3))
    with pytest.raises(ValueError, match="axes are for objective ratings, not rankings"):
        settings("rankings", axes={"kind": 1.0})


def gradient(folder: Path, said: list[RewardExample], given: RewardSettings) -> torch.Tensor:
    """Of the first of two steps, read off Adam's first moment in the saved state."""
    twice = given.model_copy(update={"epochs": 2, "checkpoint_every": 1})
    with pytest.raises(KeyboardInterrupt):
        train(folder, said, twice, progress=interrupt_at(2))
    moments = load_file(folder / "state" / "step-000001" / "optimiser.safetensors")
    parts = [moments[name].flatten() for name in sorted(moments) if name.endswith("/exp_avg")]
    return torch.cat(parts).double()


@pytest.mark.parametrize("objective", [*COMPARED, "ratings"])
def test_accumulation_changes_nothing(objective: str, tmp_path: Path) -> None:
    """Rankings differ in length and ratings in axes: a mean of means would be another step."""
    said = examples(objective, 6, seed=3)
    if objective != "ratings":
        said += graded(4, seed=4)
    whole = settings(objective, batch_size=200, centre_coef=0.1)
    parts = whole.model_copy(update={"micro_batch_size": 3})
    one, other = (
        gradient(tmp_path / name, said, given) for name, given in (("a", whole), ("b", parts))
    )
    assert one.norm() > 1e-3
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-7)
    first, second = (metrics(tmp_path / name)[0] for name in ("a", "b"))
    for name, value in first.items():
        if not name.startswith("time"):
            assert second[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


BAD: list[tuple[str, Sequence[RewardExample], str]] = [
    (
        "rankings",
        [RankedResponses(prompt="a", responses=("b", "c", "d"), ranks=(0, 1))],
        r"ranking 0 has 3 responses and 2 ranks; rank every response",
    ),
    (
        "rankings",
        [RankedResponses(prompt="a", responses=("b",), ranks=(0,))],
        r"ranking 0 has 1 response; it takes two to compare",
    ),
    *(
        (
            objective,
            [RankedResponses(prompt="a", responses=("b", "c"), ranks=(0, 0))] * 3,
            r"none of 3 judgements prefers one response to another: ties alone",
        )
        for objective in COMPARED
    ),
    (
        "pick_best",
        [RankedResponses(prompt="a", responses=("b", "c", "d"), ranks=(0, 0, 1))] * 3,
        r"none of 3 rankings has a single best",
    ),
    (
        "ordinal",
        [PreferencePair(prompt="a", chosen="b", rejected="c")] * 3,
        r"no judgement is a tie or says how clearly.*reward.objective = 'bradley_terry'",
    ),
    ("ratings", rankings(3, seed=0), r"there are no ratings to learn from; import some"),
    (
        "ratings",
        [RatedResponse(prompt="a", response=one, axes={"x": 3.0}) for one in "bcd"],
        r"all 3 ratings on axis 'x' are 3: there is nothing to learn",
    ),
    ("bradley_terry", rated(9, seed=0), r"0 of 0 judged pairs can be learned from"),
]


@pytest.mark.parametrize(("objective", "said", "message"), BAD)
def test_what_cannot_be_learned_from_is_said_in_a_line(
    objective: str, said: Sequence[RewardExample], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as raised:
        train_reward(
            small_reward_model(tmp_path / "base"), TOKENIZER, said, SAMPLES, settings(objective),
            RunFolder(tmp_path / "run"), seed=0,
        )  # fmt: skip
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_an_axis_without_ratings_is_named_with_those_there_are(tmp_path: Path) -> None:
    given = settings("ratings", axes={"letters": 1.0, "kind": 1.0})
    with pytest.raises(
        DataError, match=r"none of 9 ratings is on 'kind'; there are letters, short"
    ):
        train(tmp_path / "run", rated(9, seed=0), given)


def test_a_model_with_another_number_of_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"1 outputs and the objective 2; .*outputs=2\)"):
        train_reward(
            small_reward_model(tmp_path / "base"), TOKENIZER, rated(9, seed=0), SAMPLES,
            settings("ratings"), RunFolder(tmp_path / "run"), seed=0,
        )  # fmt: skip


def test_an_objective_takes_what_it_can_learn_from_and_counts_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said: list[RewardExample] = [
        RankedResponses(prompt="a", responses=("b", "c", "d"), ranks=(1, 0, 1)),
        RankedResponses(prompt="a", responses=("e", "f"), ranks=(0, 0)),
        PreferencePair(prompt="a", chosen="g", rejected="h", strength=2),
        RatedResponse(prompt="a", response="b", axes={"x": 1.0}),
    ]

    def made(objective: str) -> list[tuple[tuple[str, ...], tuple[int, ...], int | None]]:
        found = material_of(said, settings(objective)).elements
        return [(one.responses, one.ranks, one.strength) for one in found]

    with caplog.at_level(logging.WARNING):
        pairs = made("bradley_terry")
    assert pairs == [
        (("c", "b"), (0, 1), None), (("c", "d"), (0, 1), None), (("g", "h"), (0, 1), 2)
    ]  # fmt: skip
    assert "2 tied pairs were left out; reward.objective = 'davidson'" in caplog.text
    assert len(made("davidson")) == len(made("ordinal")) == 5
    whole = (("c", "b", "d"), (0, 1, 1), None)
    assert made("rankings") == made("plackett_luce") == [whole, (("g", "h"), (0, 1), 2)]
    assert made("pick_best") == [whole, (("g", "h"), (0, 1), 2)]
    (rating,) = material_of(said, settings("ratings")).elements
    assert rating.ratings == (1.0,)
