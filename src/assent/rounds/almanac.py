"""A project in the embedded world: simulated judges, and gold by enumeration."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel

from assent.audit.almanac import (
    AlmanacMeasure,
    RoundRewards,
    content_blind_rules,
    measured_prompts,
    off_grammar,
)
from assent.audit.reward_accuracy import Rule
from assent.collect.asking import ask_comparisons
from assent.collect.judging import judge_all
from assent.config.loop import AlmanacSettings
from assent.objectives.seeds import derive_seed
from assent.rounds import stages
from assent.rounds.ground import Choice, Findings, RoundResult
from assent.rounds.material import reference_samples
from assent.rounds.pairs import pair_choice
from assent.rounds.promotion import promote, spread
from assent.rounds.stopping import Measured, fall_of, reason_to_stop
from assent.rounds.trajectory import Point, Recorder
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion
from assent.training.run_folder import RunFolder
from assent.types import Judge
from assent.worlds.almanac import ANNOTATORS, AlmanacPrompt, SimulatedAnnotator, World
from assent.worlds.almanac.grammar import gold_of_text

EXAMPLES_A_KIND = 2
LOOK_UP = "unbiased"
"""The annotator of the promotion: looks up all that can be known."""

INTERVALS = {
    "gold and proxy": "95 % bootstrap over the facts asked about within each kind, 2,000 resamples",
    "reward-model accuracy and baselines": "95 % bootstrap over prompts, 2,000 resamples",
    "win rates": "95 % Wilson",
    "behaviours": (
        "none: expectations by enumeration, exact for the prompts measured; prompts vary as gold "
        "does"
    ),
}
LIMITS = [
    "Exact for the measured prompts: gold, the behaviours and the grammar's share, since all 270 "
    "answers are enumerated and any other text is worth -1.",
    "Lower bounds: KL to the reference and entropy lump all texts outside the grammar into one "
    "outcome.",
    "Approximate: the proxy takes for that outcome the mean reward of the reference's own "
    "off-grammar samples.",
    "The optimum is the one for that round's reward model and that KL coefficient, on training "
    "prompts; the distance to it is among answers of the grammar, and exact.",
]


class AlmanacGround:
    """The world makes prompts, demonstrations and judges, and knows what every answer is worth."""

    def __init__(self, workspace: Workspace, world: World, settings: AlmanacSettings) -> None:
        self._workspace, self._world, self._settings = workspace, world, settings
        self._measure: AlmanacMeasure | None = None

    def begin(self) -> ModelVersion:
        """Fill the store with prompts and demonstrations, and pretrain."""
        with self._workspace.timed("prompts"):
            stages.fill_prompts(self._workspace)
        return stages.pretrain(self._workspace)

    def recorder(self, run: RunFolder, reward: ModelVersion, reference: ModelVersion) -> Recorder:
        """Enumerate all answers at every point."""
        measure = self._instrument(reference)
        rewards = self._rewards(measure, reward, reference)
        beta = self._workspace.settings.kl_coef

        def enumerate_answers(step: int, policy: PreTrainedModel) -> Point:
            found = measure.measure(policy, rewards, beta)
            return Point(
                step,
                found.figures,
                found.gold,
                list(found.answers),
                found.proxy,
                found.covariance,
            )

        wanted = self._workspace.settings.loop.stop_when_gold_falls
        return Recorder(run, enumerate_answers, "gold_mean", self._stop_reason if wanted else None)

    def ask(self, number: int, policy: ModelVersion) -> None:
        """Ask the comparisons of a round and have them judged at once."""
        workspace, settings = self._workspace, self._workspace.settings
        store = workspace.project.store
        sampling = settings.sampling
        ask_comparisons(
            store,
            workspace.model(policy),
            workspace.tokenizer(policy),
            store.prompts("train"),
            count=settings.loop.judgements_per_round,
            sampler_id=store.add_sampler(policy.id, sampling.model_dump(mode="json"), "assent"),
            sampling=sampling,
            round_number=number,
            purpose="reward",
            seed=workspace.seed,
            progress=workspace.progress,
            choice=pair_choice(workspace, number),
        )
        judge_all(
            store,
            store.comparisons(purpose="reward", round=number),
            self._judges(),
            seed=derive_seed(workspace.seed, f"round-{number}"),
            progress=workspace.progress,
        )

    def standstill(self, number: int, newer: ModelVersion, older: ModelVersion) -> None:
        """Nothing: gold is known at every point of a round, so the round itself ends there."""

    def _judges(self) -> Mapping[str, Judge]:
        """Everybody who judges, by annotator id."""
        name, store = self._settings.annotator, self._workspace.project.store
        spec = ANNOTATORS[name]
        return {
            store.add_annotator(
                f"{name}-{one + 1}", "simulated", spec.parameters()
            ): SimulatedAnnotator(self._world, spec)
            for one in range(self._settings.annotators)
        }

    def promote(
        self, checkpoints: Sequence[ModelVersion], reference: ModelVersion
    ) -> dict[str, Choice]:
        """The choice with look-up and the one without, under the same rule and budget."""
        workspace, store = self._workspace, self._workspace.project.store
        candidates = spread(checkpoints, workspace.settings.loop.promotion.candidates)
        found = {}
        for name, kind, judge_name in (
            ("promoted", "look-up", LOOK_UP),
            ("promoted_without_lookup", "no-look-up", self._settings.annotator),
        ):
            spec = ANNOTATORS[judge_name]
            annotator = store.add_annotator(
                f"promotion-{kind}-{judge_name}", "simulated", spec.parameters()
            )
            judge = SimulatedAnnotator(self._world, spec)
            purpose = f"promotion-{kind}-of-{len(checkpoints)}"
            found[name] = promote(
                workspace,
                candidates,
                reference,
                (annotator, judge),
                purpose,
                may_look_up=kind == "look-up",
            )
        return found

    def rules(self) -> Mapping[str, Rule]:
        """Length, confidence and agreement with the asker."""
        return content_blind_rules(self._world)

    def findings(self, rounds: Sequence[RoundResult]) -> Findings:
        """The fall of gold, and answers beside the truth."""
        test, train = measured_prompts(self._world)
        points = [point for result in rounds for point in result.points]
        return Findings(
            annotator=self._settings.annotator,
            prompts={"test": len(test), "train": len(train)},
            fall=fall_of(points, facts_of(test), rounds[-1].number),
            examples=self._examples(points, test),
            limits=LIMITS,
            intervals=INTERVALS,
        )

    def _stop_reason(self, points: list[Point]) -> str | None:
        """Why PPO should end at the last of the points, if it should."""
        test, _ = measured_prompts(self._world)
        planned = self._workspace.settings.loop.points_per_round
        return reason_to_stop(points, facts_of(test), "the embedded world", planned=planned)

    def _instrument(self, reference: ModelVersion) -> AlmanacMeasure:
        if self._measure is None:
            workspace = self._workspace
            test, train = measured_prompts(self._world)
            self._measure = AlmanacMeasure(
                self._world,
                workspace.tokenizer(reference),
                workspace.model(reference),
                test=test,
                train=train,
                temperature=workspace.settings.sampling.temperature,
            )
        return self._measure

    def _rewards(
        self, measure: AlmanacMeasure, reward_model: ModelVersion, reference: ModelVersion
    ) -> RoundRewards:
        """The rewards of all answers, and of what the reference said off the grammar."""
        workspace = self._workspace
        reward = stages.learned_reward(workspace, reward_model)
        samples = reference_samples(workspace, reference)
        off = off_grammar(self._world, samples.prompts, samples.responses)
        scored = reward([samples.prompts[n] for n in off], [samples.responses[n] for n in off])
        return measure.rewards(reward, scored)

    def _examples(self, points: list[Point], test: list[AlmanacPrompt]) -> list[dict[str, Any]]:
        """A few prompts of each kind with the likeliest answer at start, peak and end."""
        world = self._world
        peak = max(points, key=lambda point: point.figures["gold_mean"])
        when = {"start": points[0], "peak": peak, "end": points[-1]}
        shown: list[dict[str, Any]] = []
        for kind in ("easy", "hard", "unknowable"):
            numbers = [n for n, prompt in enumerate(test) if prompt.fact.kind == kind]
            believed = [n for n in numbers if test[n].stance == "wrong"][: EXAMPLES_A_KIND - 1]
            plain = [n for n in numbers if test[n].belief is None]
            for number in believed + plain[: EXAMPLES_A_KIND - len(believed)]:
                prompt = test[number]
                known = max(world.known_values(prompt.fact).values()) == 1
                answers = {name: point.answers[number] for name, point in when.items()}
                shown.append(
                    {
                        "prompt": prompt.text,
                        "kind": kind,
                        "truth": prompt.fact.value if known else "nobody can know",
                        "belief": prompt.belief,
                        "answers": {
                            name: {
                                "text": text,
                                "probability": probability,
                                "gold": gold_of_text(world, prompt, text),
                            }
                            for name, (text, probability) in answers.items()
                        },
                    }
                )
        return shown


def facts_of(prompts: Sequence[AlmanacPrompt]) -> list[Measured]:
    """What gold is measured on: prompts, each about a fact of a kind."""
    return [Measured(prompt.text, prompt.fact.group, prompt.fact.kind) for prompt in prompts]
