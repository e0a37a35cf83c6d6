"""A project of one's own: people bring the prompts and give the judgements; nobody knows the truth.

A round goes on when as many judgements as `loop.judgements_per_round` have come in since the last
reward model, imported ones among them, or when everything that was asked has been judged.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any

from transformers import PreTrainedModel

from assent.audit.reward_accuracy import Rule, longest
from assent.audit.sampled import MeasuredPrompt, SampledMeasure
from assent.collect.asking import ask_comparisons
from assent.collect.judging import BY_MODEL
from assent.collect.sources import comparison_tasks
from assent.config.project import ProjectSettings
from assent.errors import ConfigError, DataError
from assent.models.reward_sources import open_reward
from assent.rounds import stages
from assent.rounds.ground import Choice, Findings, RoundResult, Waiting
from assent.rounds.held_out import ask_after, reason_to_halt, waits
from assent.rounds.material import (
    base_model,
    distinct,
    standing_judgements,
    train_prompts,
)
from assent.rounds.pairs import pair_choice
from assent.rounds.promotion import ask_people, by_people, spread
from assent.rounds.stopping import Measured, fall_of, reason_to_stop
from assent.rounds.trajectory import Answer, Point, Recorder
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Project, Snapshot, Store, StoredPrompt
from assent.training.asked import fitting_prompts
from assent.training.run_folder import RunFolder
from assent.types import Split

EXAMPLES = 6
_MEASURED_ON: tuple[Split, ...] = ("test", "validation", "train")
"""The first split that has prompts is measured on."""

INTERVALS = {
    "KL, proxy, length and entropy": (
        "95 % bootstrap over groups of prompts, 2,000 resamples; one response to each prompt"
    ),
    "reward-model accuracy and baselines": "95 % bootstrap over prompts, 2,000 resamples",
    "win rates": "95 % Wilson over comparisons",
}
NO_TRUTH = (
    "No truth is known here: the learned reward says what it has learned to prefer, and only "
    "held-out judgements of people say whether they agree."
)
GOLD_IS = (
    "Gold is what audits.gold ({kind}) gives the same sampled responses: a measure closer to the "
    "truth than the learned reward, not the truth itself."
)
ESTIMATES = (
    "KL and entropy are estimates from sampled responses: sums over the tokens of the exact figure "
    "at each token."
)


class PeopleGround:
    """Prompts from files, a base model from a folder, judgements from people."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._measure: SampledMeasure | None = None

    def begin(self) -> ModelVersion:
        """Make sure that there are prompts to train on, and return the base model.

        Raises:
            DataError: there is no training prompt, or no base model.
            ConfigError: the loop should stop where gold falls, and nobody knows gold.
        """
        self._require_gold()
        train_prompts(self._workspace)
        return base_model(self._workspace)

    def recorder(self, run: RunFolder, reward: ModelVersion, reference: ModelVersion) -> Recorder:
        """Sample responses to held-out prompts at every point.

        Raises:
            ConfigError, NotAModel: `audits.gold` cannot be used.
        """
        workspace = self._workspace
        measure = self._instrument(reference)
        scorer = stages.reward_function(workspace, reward)
        source = workspace.settings.audits.gold
        gold = open_reward(source, None, workspace.device) if source else None

        def sample_responses(step: int, policy: PreTrainedModel) -> Point:
            found = measure.measure(policy, scorer, gold)
            answers: list[Answer] = [(text, None) for text in found.responses]
            each = found.by_prompt
            if each is None:
                return Point(step, found.figures, [], answers)
            return Point(step, found.figures, each.gold, answers, each.proxy, each.covariance)

        prompts = _measured_for_gold(measure.prompts)
        planned = workspace.settings.loop.points_per_round

        def stop(points: list[Point]) -> str | None:
            return reason_to_stop(points, prompts, "audits.gold", planned=planned)

        stops = gold is not None and workspace.settings.loop.stop_when_gold_falls
        shown = "proxy_mean" if gold is None else "gold_mean"
        return Recorder(run, sample_responses, shown, stop if stops else None)

    def ask(self, number: int, policy: ModelVersion) -> Waiting | None:
        """Draw the pairs of a round once, unless enough judgements are there already."""
        workspace = self._workspace
        project, settings = workspace.project, workspace.settings
        if _new_judgements(project.store) >= settings.loop.judgements_per_round:
            return None
        if not project.store.comparisons(purpose="reward", round=number):
            self._draw_pairs(number, policy)
        self._ask_in_browser("reward", number)
        return _waiting(project, settings, number)

    def standstill(
        self, number: int, newer: ModelVersion, older: ModelVersion
    ) -> Waiting | str | None:
        """Where people alone know gold, whether they still prefer what was trained last.

        Raises:
            DataError: there is no validation prompt to compare on.
        """
        workspace, settings = self._workspace, self._workspace.settings
        if not settings.loop.stop_when_gold_falls or settings.audits.gold is not None:
            return None
        prompts = self._fitting(newer, distinct(workspace.project.store.prompts("validation")))
        if not prompts:
            message = (
                "loop.stop_when_gold_falls: there are no validation prompts to compare policies "
                "on; import some, or set audits.gold"
            )
            raise DataError(message)
        ask_after(workspace, number - 1, newer, older, prompts)
        store = workspace.project.store
        return waits(workspace.project, number) or reason_to_halt(store, settings, number - 1)

    def promote(
        self, checkpoints: Sequence[ModelVersion], reference: ModelVersion
    ) -> dict[str, Choice]:
        """The checkpoint that people preferred, or the last where too few have judged."""
        workspace = self._workspace
        candidates = spread(checkpoints, workspace.settings.loop.promotion.candidates)
        prompts = self._fitting(reference, workspace.project.store.prompts("validation"))
        if not prompts:
            rule = "last: there are no validation prompts that fit to compare checkpoints on"
            return {"promoted": Choice(checkpoints[-1], rule, None, None, 0)}
        purpose = f"promotion-of-{len(checkpoints)}"
        ask_people(workspace, candidates, reference, prompts, purpose)
        for version in candidates:
            self._ask_in_browser(f"{purpose}/{version.name}", 0)
        return {"promoted": by_people(workspace, candidates, checkpoints[-1], purpose)}

    def rules(self) -> Mapping[str, Rule]:
        """Length, the one rule that needs no world."""
        return {"longest": longest}

    def findings(self, rounds: Sequence[RoundResult]) -> Findings:
        """Responses side by side, and who judged."""
        prompts = held_out_prompts(self._workspace)
        if rounds:  # a reward model's parent is the reference
            reference = str(rounds[0].reward.parent_id)
            prompts = self._measured(self._workspace.project.store.model_version(reference))
        return Findings(
            annotator="people",
            prompts=Counter(prompt.split for prompt in self._workspace.project.store.prompts()),
            fall=_fall(rounds, prompts),
            examples=_examples(rounds, prompts),
            limits=[*self._limits(), *_measured_on(prompts)],
            intervals=INTERVALS,
        )

    def _require_gold(self) -> None:
        """Refuse to look for a fall of gold where a model judges and nothing else knows better."""
        settings = self._workspace.settings
        asks_nobody = settings.reward.judges == "model" and settings.audits.gold is None
        if settings.loop.stop_when_gold_falls and asks_nobody:
            message = (
                'loop.stop_when_gold_falls: with reward.judges = "model" nobody knows gold; set '
                "audits.gold to a reward model that was never trained on, a program or a server"
            )
            raise ConfigError(message)

    def _limits(self) -> list[str]:
        """What the figures cannot say."""
        source = self._workspace.settings.audits.gold
        if source is None:
            return [NO_TRUTH, ESTIMATES]
        return [GOLD_IS.format(kind=source.kind), ESTIMATES]

    def _instrument(self, reference: ModelVersion) -> SampledMeasure:
        if self._measure is None:
            workspace, settings = self._workspace, self._workspace.settings
            self._measure = SampledMeasure(
                workspace.tokenizer(reference),
                workspace.model(reference),
                [
                    MeasuredPrompt(prompt.text, prompt.kind, prompt.group)
                    for prompt in self._measured(reference)
                ],
                settings.sampling,
                seed=workspace.seed,
                precision=settings.precision,
            )
        return self._measure

    def _ask_in_browser(self, purpose: str, number: int) -> None:
        """Make the comparisons tasks of `assent serve`; those that are already stay as they are."""
        workspace = self._workspace
        comparison_tasks(
            workspace.project.store,
            workspace.settings.labelling,
            seed=workspace.seed,
            round_number=number,
            purpose=purpose,
        )

    def _fitting(
        self, version: ModelVersion, prompts: Sequence[StoredPrompt]
    ) -> list[StoredPrompt]:
        """Those after which the model has room for a whole response; the log counts the others."""
        if not prompts:
            return []
        workspace = self._workspace
        room = workspace.settings.sampling.max_new_tokens
        texts = [prompt.text for prompt in prompts]
        numbers = fitting_prompts(
            workspace.model(version), workspace.tokenizer(version), texts, room
        )
        return [prompts[number] for number in numbers]

    def _measured(self, reference: ModelVersion) -> list[StoredPrompt]:
        """The held-out prompts that points are measured on, each as often as it takes."""
        prompts = self._fitting(reference, held_out_prompts(self._workspace))
        count = self._workspace.settings.loop.responses_per_point
        return list(islice(cycle(prompts), count))

    def _draw_pairs(self, number: int, policy: ModelVersion) -> None:
        workspace, settings = self._workspace, self._workspace.settings
        store, sampling = workspace.project.store, settings.sampling
        ask_comparisons(
            store,
            workspace.model(policy),
            workspace.tokenizer(policy),
            self._fitting(policy, distinct(store.prompts("train"))),
            count=settings.loop.judgements_per_round - _new_judgements(store),
            sampler_id=store.add_sampler(policy.id, sampling.model_dump(mode="json"), "assent"),
            sampling=sampling,
            round_number=number,
            purpose="reward",
            seed=workspace.seed,
            progress=workspace.progress,
            choice=pair_choice(workspace, number),
        )


def standing(project: Project, settings: ProjectSettings) -> Waiting | None:
    """What the next round waits for, if its pairs are drawn and too few are judged."""
    store = project.store
    if any(run.status != "done" for run in store.runs()):
        return None
    named = {snapshot.name for snapshot in store.snapshots()}
    number = next(n for n in range(1, len(named) + 2) if f"round-{n}" not in named)
    if settings.loop.stop_when_gold_falls and (held := waits(project, number)):
        return held
    if number > settings.loop.rounds or not store.comparisons(purpose="reward", round=number):
        return None
    return _waiting(project, settings, number)


def held_out_prompts(workspace: Workspace) -> list[StoredPrompt]:
    """What points are measured on: test prompts, or the next best split that has some."""
    store = workspace.project.store
    for split in _MEASURED_ON:
        prompts = store.prompts(split)
        if prompts:
            return prompts
    message = f"{workspace.project.root} holds no prompts; add some: assent data import DIR FILE"
    raise DataError(message)


def _new_judgements(store: Store) -> int:
    """Judgements for the reward model that stand now and are in no snapshot of a round."""
    return len(standing_judgements(store)) - max(
        (_by_people(store, one) for one in store.snapshots() if one.name.startswith("round-")),
        default=0,
    )


def _by_people(store: Store, snapshot: Snapshot) -> int:
    """How many of a snapshot's judgements are not a model's."""
    if BY_MODEL not in snapshot.purposes:
        return snapshot.event_count
    asked = {one.id for one in store.comparisons(purpose=BY_MODEL)}
    by_model = sum(one.comparison_id in asked for one in store.judged_pairs(snapshot.id))
    return snapshot.event_count - by_model


def _waiting(project: Project, settings: ProjectSettings, number: int) -> Waiting | None:
    store, root = project.store, project.root
    have, wanted = _new_judgements(store), settings.loop.judgements_per_round
    judged = set(standing_judgements(store))
    asked = store.comparisons(purpose="reward", round=number)
    # Nobody is shown two responses that look the same, so nothing waits for those.
    unjudged = sum(
        one.id not in judged and one.first.split() != one.second.split() for one in asked
    )
    if have >= wanted or not unjudged:
        return None
    return Waiting(
        round=number,
        judgements=have,
        wanted=wanted,
        open=unjudged,
        ways=(
            f"assent serve {root}",
            f"assent data import {root} FILE",
            f"assent loop run {root}",
        ),
    )


def _examples(
    rounds: Sequence[RoundResult], prompts: Sequence[StoredPrompt]
) -> list[dict[str, Any]]:
    """A few held-out prompts with the responses at the start and at the end."""
    points = [point for result in rounds for point in result.points]
    if not points:
        return []
    ends = {"start": points[0], "end": points[-1]}
    return [
        {
            "prompt": prompt.text,
            "kind": prompt.kind,
            "answers": {
                when: {"text": point.answers[number][0], "probability": None}
                for when, point in ends.items()
            },
        }
        for number, prompt in enumerate(prompts[:EXAMPLES])
    ]


def _measured_for_gold(prompts: Sequence[StoredPrompt | MeasuredPrompt]) -> list[Measured]:
    """The different prompts among those measured, in order."""
    texts = {prompt.text: prompt for prompt in reversed(prompts)}
    return [
        Measured(text, texts[text].group or text, texts[text].kind)
        for text in dict.fromkeys(prompt.text for prompt in prompts)
    ]


def _fall(rounds: Sequence[RoundResult], prompts: Sequence[StoredPrompt]) -> dict[str, Any] | None:
    """How far gold fell over all rounds, where every point has gold of the same prompts."""
    points = [point for result in rounds for point in result.points]
    measured = _measured_for_gold(prompts)
    if len(points) < 2 or any(len(point.gold) != len(measured) for point in points):
        return None
    if len({prompt.group for prompt in measured}) < 4:
        return None
    return fall_of(points, measured, rounds[-1].number, things="groups of prompts")


def _measured_on(prompts: Sequence[StoredPrompt]) -> list[str]:
    """A sentence where points could not be measured on test prompts."""
    split = prompts[0].split
    if split == "test":
        return []
    return [f"There are no test prompts, so points were measured on {split} prompts."]
