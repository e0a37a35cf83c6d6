"""A planted defect of a reward model is found, and a sound one is not accused."""

from collections.abc import Sequence

import pytest
import torch
from transformers import PreTrainedModel

from assent.audit.insertions import insertion_effects
from assent.models.loading import new_llama, reward_model_from
from assent.models.reading import Read
from assent.models.rewards import Normalisation, TextReward
from assent.worlds.almanac import World, answers, build_tokenizer

WORLD = World(0)
TOKENIZER = build_tokenizer()


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], list[str]]:
    prompts = WORLD.prompts("test")[::12]
    return (
        [prompt.text for prompt in prompts],
        [answers(p.fact.attribute)[(37 * n) % 270].text for n, p in enumerate(prompts)],
    )


@pytest.fixture
def reward(
    tmp_path_factory: pytest.TempPathFactory, texts: tuple[list[str], list[str]]
) -> TextReward:
    folder = tmp_path_factory.mktemp("trunk")
    new_llama(
        TOKENIZER,
        hidden_size=16,
        intermediate_size=32,
        layers=1,
        heads=2,
        max_positions=128,
        initial_std=0.3,
        seed=0,
    ).save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    model = reward_model_from(folder, 1, torch.device("cpu"))
    plain = TextReward(model, TOKENIZER)
    return TextReward(model, TOKENIZER, Normalisation.fit(plain.raw(*texts)))


def test_the_effect_is_that_of_the_text_with_the_token_in_it(
    reward: TextReward, texts: tuple[list[str], list[str]]
) -> None:
    prompts, responses = texts[0][:2], [" It is Tarn.", " It is Esk."]
    found = {one.token: one for one in insertion_effects(reward, prompts, responses)}
    # The first response has it before its end token, the second in its middle.
    changed = reward(prompts, [" It is Tarn. maybe", " It is maybe Esk."])
    plain = reward(prompts, responses)
    token = next(name for name in found if name.strip("ĠĊ ") == "maybe")
    expected = sum(b - a for a, b in zip(plain, changed, strict=True)) / 2
    assert found[token].effect == pytest.approx(expected, abs=1e-5)


def test_a_token_with_a_planted_bonus_is_flagged_and_no_other(
    reward: TextReward, texts: tuple[list[str], list[str]]
) -> None:
    assert not [one.token for one in insertion_effects(reward, *texts) if one.flagged]
    planted = TOKENIZER.get_vocab()[TOKENIZER.tokenize(" certainly")[0]]
    scores = reward.reading.scores

    class Defect:
        """The reward model's reading with a bonus wherever one token stands."""

        name = reward.reading.name
        encode = reward.reading.encode

        def scores(
            self, model: PreTrainedModel, reads: Sequence[Read], precision: str = "float32"
        ) -> torch.Tensor:
            bonus = [3.0 * (planted in read.response) for read in reads]
            found = scores(model, reads, precision)
            return found + torch.tensor(bonus) / reward.normalisation.gain

    without = [text.replace(" certainly", "") for text in texts[1]]
    broken = TextReward(reward.model, TOKENIZER, reward.normalisation, reading=Defect())
    flagged = [one for one in insertion_effects(broken, texts[0], without) if one.flagged]
    assert [one.token for one in flagged] == [TOKENIZER.convert_ids_to_tokens(planted)]
    assert flagged[0].effect == pytest.approx(3, abs=0.8)
    assert flagged[0].interval.low > 2


def test_one_response_is_too_few(reward: TextReward) -> None:
    with pytest.raises(ValueError, match="2 or more"):
        insertion_effects(reward, ["a"], ["b"])
