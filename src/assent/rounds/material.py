"""What the stages of a project learn from: prompts, demonstrations, judgements, samples."""

from collections.abc import Sequence
from dataclasses import dataclass

from assent.collect.asking import draw_responses
from assent.collect.preferences import PreferenceSplit, split_preferences, training_examples
from assent.errors import DataError
from assent.objectives.seeds import permutation
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Snapshot, Store, StoredDemonstration, StoredPrompt
from assent.training.asked import fitting_prompts
from assent.types import RewardExample

BASE = "base"
"""Stage and name of a base model from outside."""


@dataclass(frozen=True, slots=True)
class ReferenceSamples:
    """Responses of the reference policy to training prompts: what rewards are normalised on."""

    prompts: list[str]
    responses: list[str]


def base_model(workspace: Workspace) -> ModelVersion:
    """The base model that `assent init` put into the project.

    Raises:
        DataError: there is none.
    """
    for version in workspace.project.store.model_versions():
        if version.stage == BASE:
            return version
    message = (
        f"{workspace.project.root} has neither a base model nor a [world] that makes one; begin a "
        "project with: assent init DIR --model PATH_OR_ID"
    )
    raise DataError(message)


def train_prompts(workspace: Workspace) -> list[StoredPrompt]:
    """What the policy is asked in training: each text once, from however many files it came.

    Raises:
        DataError: the project has no training prompts.
    """
    prompts = distinct(workspace.project.store.prompts("train"))
    if not prompts:
        root = workspace.project.root
        message = f"{root} holds no training prompts; add some: assent data import {root} FILE"
        raise DataError(message)
    return prompts


def distinct(prompts: Sequence[StoredPrompt]) -> list[StoredPrompt]:
    """The first prompt of each text and kind, in order; every file keeps prompts of its own."""
    first: dict[tuple[str, str], StoredPrompt] = {}
    for prompt in prompts:
        first.setdefault((prompt.text, prompt.kind), prompt)
    return list(first.values())


def demonstrations_of(workspace: Workspace) -> list[StoredDemonstration]:
    """Demonstrations to learn from: of training prompts, since the others are for measuring."""
    store = workspace.project.store
    mine = {prompt.id for prompt in store.prompts("train")}
    return [one for one in store.demonstrations() if one.prompt_id in mine]


def standing_judgements(store: Store, purposes: Sequence[str] = ("reward",)) -> list[str]:
    """What each standing judgement for the reward model is about: a comparison or a ranked set."""
    asked = {one.id for purpose in purposes for one in store.comparisons(purpose=purpose)}
    asked |= {one.id for purpose in purposes for one in store.response_sets(purpose=purpose)}
    events = store.events()
    superseded = {event.supersedes for event in events}
    return [
        about
        for event in events
        if event.kind in ("judgement", "ranking") and event.id not in superseded
        # What came late, when its task had all it wanted, is in no snapshot either.
        if not event.payload.get("context", {}).get("extra", False)
        if (about := event.comparison_id or event.response_set_id) in asked and about is not None
    ]


def fitting_train_prompts(workspace: Workspace, policy: ModelVersion) -> list[StoredPrompt]:
    """Training prompts after which a policy has room for a whole response.

    Raises:
        DataError: there are none.
    """
    prompts = train_prompts(workspace)
    numbers = fitting_prompts(
        workspace.model(policy),
        workspace.tokenizer(policy),
        [prompt.text for prompt in prompts],
        workspace.settings.sampling.max_new_tokens,
    )
    return [prompts[number] for number in numbers]


def reference_samples(workspace: Workspace, reference: ModelVersion) -> ReferenceSamples:
    """Samples of the reference for normalising rewards; the same every time."""
    model, tokenizer = workspace.model(reference), workspace.tokenizer(reference)
    texts = [prompt.text for prompt in train_prompts(workspace)]
    room = workspace.settings.sampling.max_new_tokens
    prompts = [texts[number] for number in fitting_prompts(model, tokenizer, texts, room)]
    count = workspace.settings.reward.normalise_samples
    order = permutation(len(prompts), workspace.seed, "reference samples")
    asked = [prompts[order[number % len(order)]] for number in range(count)]
    drawn = draw_responses(
        model,
        tokenizer,
        asked,
        workspace.settings.sampling,
        workspace.seed,
        "reference samples",
    )
    return ReferenceSamples(asked, [one.text for one in drawn])


def reward_examples(workspace: Workspace, snapshot: Snapshot) -> list[RewardExample]:
    """What a reward model learns from: the judgements of a snapshot, and the ratings of that time.

    Ratings are of training prompts, since the others are for measuring.
    """
    store = workspace.project.store
    mine = {prompt.id for prompt in store.prompts("train")}
    return training_examples(
        store.judged_pairs(snapshot.id),
        store.judged_rankings(snapshot.id),
        [one for one in store.ratings(up_to_seq=snapshot.up_to_seq) if one.prompt_id in mine],
        workspace.settings.reward.held_out_share,
    )


def preferences(workspace: Workspace, snapshot: Snapshot) -> PreferenceSplit:
    """The judgements of a snapshot as training and held-out pairs."""
    return split_preferences(
        workspace.project.store.judged_pairs(snapshot.id),
        workspace.settings.reward.held_out_share,
        workspace.project.store.judged_rankings(snapshot.id),
    )
