"""Draw pairs of responses from a policy and put them into the store as comparisons.

Every draw derives from the seed, and the store's ids from the content, so a loop that was killed
asks again for what is there already and nothing is doubled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.ppo import SamplingSettings
from assent.errors import DataError
from assent.models.sampling import sample
from assent.models.tokens import decode_responses, encode_prompts, end_ids
from assent.objectives.seeds import derive_seed, generator, permutation
from assent.store import NewComparison, NewResponse, Store, StoredPrompt
from assent.types import Progress

ChoosePairs = Callable[[Sequence[str], Sequence[Sequence[str]]], Sequence[tuple[int, int]]]
"""Called with prompts and the different responses to each, two or more; gives the places of the two
responses of each prompt that are compared."""

BATCH = 512
MOST_WAVES = 20


@dataclass(frozen=True, slots=True)
class Drawn:
    """One sampled response as text."""

    text: str
    logprob_sum: float
    token_count: int
    finished: bool


@dataclass(frozen=True, slots=True)
class PairChoice:
    """Which two of several responses to a prompt are compared."""

    samples: int
    """Responses drawn to each prompt, two or more."""
    choose: ChoosePairs


def storable(text: str) -> str:
    """A response as a database can hold it: NUL, which models do write, becomes a visible mark."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def draw_responses(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    sampling: SamplingSettings,
    *seed: object,
) -> list[Drawn]:
    """One response to each prompt; the same seed parts give the same responses."""
    drawn: list[Drawn] = []
    for start in range(0, len(prompts), BATCH):
        rollouts = sample(
            model,
            encode_prompts(tokenizer, prompts[start : start + BATCH]),
            eos_id=end_ids(tokenizer, model),
            pad_id=int(tokenizer.pad_token_id),
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            generator=generator(*seed, start, device=model.device),
        )
        rows = rollouts.rows
        texts = map(storable, decode_responses(tokenizer, rows.responses, rows.response_mask))
        drawn += [
            Drawn(text, logprob, count, finished)
            for text, logprob, count, finished in zip(
                texts,
                rollouts.logprobs.double().sum(1).tolist(),
                rows.response_mask.sum(1).tolist(),
                rollouts.finished.tolist(),
                strict=True,
            )
        ]
    return drawn


def ask_comparisons(
    store: Store,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[StoredPrompt],
    *,
    count: int,
    sampler_id: str,
    sampling: SamplingSettings,
    round_number: int,
    purpose: str,
    seed: int,
    progress: Progress,
    choice: PairChoice | None = None,
) -> list[str]:
    """Sample two responses to a prompt, `count` times; store them as comparisons, return the ids.

    With a `choice` more are sampled and two of them chosen. Two responses that read the same are
    never compared: another pair is drawn instead. Which side is shown first is drawn from the seed
    and balanced over the comparisons.

    Raises:
        DataError: the policy says the same thing so often that no `count` pairs can be found.
    """
    order = permutation(len(prompts), seed, purpose, round_number, "prompts")
    pairs: list[tuple[StoredPrompt, Drawn, Drawn]] = []
    with progress.task("sample pairs", count) as bar:
        for wave in range(MOST_WAVES):
            missing = count - len(pairs)
            if missing <= 0:
                break
            asked = [prompts[order[(wave + n) % len(order)]] for n in range(missing + missing // 8)]
            texts = [prompt.text for prompt in asked]
            sides = ["first", "second", *range(2, choice.samples if choice else 2)]
            drawn = [
                draw_responses(
                    model, tokenizer, texts, sampling, seed, purpose, round_number, wave, side
                )
                for side in sides
            ]
            found = _pairs(asked, drawn, choice)[:missing]
            pairs += found
            bar.advance(len(found), f"{len(pairs)} pairs")
    if len(pairs) < count:
        message = (
            f"only {len(pairs)} of {count} pairs of different responses could be drawn in round "
            f"{round_number}: the policy answers nearly always the same; raise the temperature or "
            "ask for fewer judgements"
        )
        raise DataError(message)
    draw_seed = derive_seed(seed, purpose, round_number)
    responses = store.add_responses(
        [
            NewResponse(
                prompt_id=prompt.id,
                text=drawn.text,
                sampler_id=sampler_id,
                seed=draw_seed,
                logprob_sum=min(drawn.logprob_sum, 0.0),
                token_count=drawn.token_count,
                finish_reason="stop" if drawn.finished else "length",
                index=2 * number + side,
            )
            for number, (prompt, *sides) in enumerate(pairs)
            for side, drawn in enumerate(sides)
        ]
    )
    shown = permutation(count, seed, purpose, round_number, "order")
    return store.add_comparisons(
        [
            NewComparison(
                prompt_id=prompt.id,
                first_response_id=responses[2 * number],
                second_response_id=responses[2 * number + 1],
                shown_order="first_left" if shown[number] % 2 else "second_left",
                purpose=purpose,
                round=round_number,
                index=number,
            )
            for number, (prompt, *_) in enumerate(pairs)
        ]
    )


def _pairs(
    asked: Sequence[StoredPrompt], drawn: Sequence[Sequence[Drawn]], choice: PairChoice | None
) -> list[tuple[StoredPrompt, Drawn, Drawn]]:
    """Of each prompt's responses the two to compare; none where all of them read the same."""
    different = [
        (prompt, list({one.text: one for one in responses}.values()))
        for prompt, *responses in zip(asked, *drawn, strict=True)
    ]
    several = [(prompt, responses) for prompt, responses in different if len(responses) > 1]
    if choice is None or not several:
        return [(prompt, *responses[:2]) for prompt, responses in several]
    places = choice.choose(
        [prompt.text for prompt, _ in several],
        [[one.text for one in responses] for _, responses in several],
    )
    return [
        (prompt, responses[one], responses[other])
        for (prompt, responses), (one, other) in zip(several, places, strict=True)
    ]
