"""The stages ilf and constitutional of a project: who is asked, and about what."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assent.collect.asking import draw_responses
from assent.config.base import Settings
from assent.config.files import write_file
from assent.config.loop import AlmanacSettings
from assent.config.sft import SftSettings
from assent.config.writers import LocalWriter, OpenAiWriter
from assent.errors import CannotResume
from assent.models import requests
from assent.models.kept_answers import KeptAnswers
from assent.models.requests import Asking, Choice
from assent.models.writers import open_writer
from assent.objectives.seeds import derive_seed, permutation
from assent.rounds.material import train_prompts
from assent.rounds.stages import start_of
from assent.rounds.trajectory import point_steps
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, NewCriticism, NewResponse, Snapshot
from assent.training.constitutional import read_constitution, revise
from assent.training.language_feedback import Criticised, refine, require_criticised
from assent.training.points import OnPoint
from assent.training.run_folder import RunFolder, fingerprint
from assent.training.sft import train_sft
from assent.types import Demonstration, Principle
from assent.worlds.almanac import ANNOTATORS, remarks

REPORT_FILE = "report.json"
"""In a run's folder: counts and shares of what was asked and what was of use."""
CRITICISMS_FILE = "criticisms.jsonl"
_REMARKS = Principle(name="a reader remarks", critique="", revision="", compare="")
"""Stands for the constitution where the embedded world's own readers judge."""


def ilf(
    workspace: Workspace,
    name: str,
    *,
    policy: ModelVersion,
    reference: ModelVersion,
    reward_model: ModelVersion | None,  # noqa: ARG001 - criticism is learned from directly
    snapshot: Snapshot | None,  # noqa: ARG001 - judgements are not looked at
    points: int = 0,
    on_point: OnPoint | None = None,
) -> ModelVersion:
    """ILF from a policy, on all criticism of responses to training prompts.

    In the embedded world its annotators criticise responses of this policy first.
    """
    settings = workspace.settings.ilf

    def train(run: RunFolder) -> None:
        criticised = _criticised(workspace, run, name, policy)
        require_criticised(criticised)  # before anything is kept under what it is about
        refiner = asking(
            workspace, settings.refiner, settings.refine_request, policy,
            "ilf.refiner", requests.REFINE, remarks.REFINE,
        )  # fmt: skip
        judge = asking(
            workspace, settings.judge, settings.judge_request, reader_of(workspace, policy),
            "ilf.judge", requests.USES_CRITICISM, remarks.JUDGE,
        )  # fmt: skip
        words = words_of(workspace, settings.judge, settings.good_words, settings.bad_words)
        seed = derive_seed(workspace.seed, name)
        found = refine(
            criticised,
            refiner,
            judge,
            words,
            settings,
            run.path,
            _kept(
                run, settings, seed, [asdict(one) for one in criticised], [refiner, judge], words
            ),
            seed=seed,
            progress=workspace.progress,
        )
        _report(run, found.figures)
        _learn(
            workspace, policy, found.demonstrations, settings.sft, run, settings, "ilf",
            points, on_point,
        )  # fmt: skip

    return workspace.run(
        name, "ilf", train, settings=settings, parent=policy, parents={"reference": reference},
    )  # fmt: skip


def constitutional(
    workspace: Workspace,
    name: str,
    *,
    policy: ModelVersion,
    reference: ModelVersion,
    reward_model: ModelVersion | None,  # noqa: ARG001 - principles are learned from directly
    snapshot: Snapshot | None,  # noqa: ARG001 - judgements are not looked at
    points: int = 0,
    on_point: OnPoint | None = None,
) -> ModelVersion:
    """The supervised half of Constitutional AI, from a policy."""
    settings = workspace.settings.constitutional

    def train(run: RunFolder) -> None:
        principles = constitution_of(workspace, settings.writer)
        critic = asking(
            workspace, settings.writer, settings.critique_request, reader_of(workspace, policy),
            "constitutional.writer", requests.CRITIQUE, remarks.REMARK,
        )  # fmt: skip
        reviser = asking(
            workspace, settings.writer, settings.revision_request, policy,
            "constitutional.writer", requests.REVISION, remarks.REVISE,
        )  # fmt: skip
        sampling = workspace.settings.sampling
        answerer = open_writer(
            LocalWriter(
                form="text",
                temperature=sampling.temperature,
                max_new_tokens=sampling.max_new_tokens,
            ),
            own=workspace.path(policy),
            identity={"model": policy.name},
            device=workspace.device,
            key="constitutional.writer",
        )
        seed = derive_seed(workspace.seed, name)
        prompts = _some_prompts(workspace, settings.prompts, seed)
        about = [list(prompts), [asdict(one) for one in principles], sampling.model_dump_json()]
        found = revise(
            prompts,
            principles,
            answerer,
            critic,
            reviser,
            settings,
            run.path,
            _kept(run, settings, seed, about, [critic, reviser]),
            seed=seed,
            progress=workspace.progress,
        )
        _report(run, found.figures)
        _learn(
            workspace, policy, found.demonstrations, settings.sft, run, settings, "constitutional",
            points, on_point,
        )  # fmt: skip

    return workspace.run(
        name, "constitutional", train, settings=settings, parent=policy,
        parents={"reference": reference},
    )  # fmt: skip


def asking(
    workspace: Workspace,
    source: LocalWriter | OpenAiWriter,
    template: str | None,
    own: ModelVersion,
    key: str,
    plain: str,
    worldly: str,
) -> Asking:
    """A model that is asked, and how.

    Args:
        workspace: the project at work.
        source: the setting that names it.
        template: the request of the settings, if they have one.
        own: the project's model that stands for a local one without a path.
        key: of the setting.
        plain: the request in English.
        worldly: the request in the embedded world's language, for its own models.
    """
    if speaks_almanac(workspace, source):
        assert isinstance(source, LocalWriter)
        source = _as_in_the_world(workspace, source)
        plain = worldly
    writer = open_writer(
        source,
        own=workspace.path(own),
        identity={"model": own.name, "version": own.id},
        device=workspace.device,
        key=key,
    )
    return Asking(writer, template or plain, source.form)


def speaks_almanac(workspace: Workspace, source: LocalWriter | OpenAiWriter) -> bool:
    """Whether a setting means a model of the embedded world, which knows no free English."""
    is_own = isinstance(source, LocalWriter) and source.path is None
    return workspace.world is not None and is_own


def words_of(
    workspace: Workspace,
    source: LocalWriter | OpenAiWriter,
    good: tuple[str, ...],
    bad: tuple[str, ...],
) -> Choice:
    """What a judge may say; in the embedded world its readers' words, unless others are set."""
    if speaks_almanac(workspace, source) and (good, bad) == (Choice().good, Choice().bad):
        return Choice(remarks.GOOD, remarks.BAD)
    return Choice(good, bad)


def constitution_of(workspace: Workspace, source: LocalWriter | OpenAiWriter) -> list[Principle]:
    """The principles of the settings' file, looked for in the project folder first.

    Raises:
        UnreadableFile, DataError: the file is missing, or holds no principle.
    """
    given = workspace.settings.constitutional.principles
    if given is None:
        return [_REMARKS] if speaks_almanac(workspace, source) else read_constitution(None)
    inside = workspace.project.root / given
    return read_constitution(inside if inside.exists() else Path(given))


def reader_of(workspace: Workspace, policy: ModelVersion) -> ModelVersion:
    """Who remarks on answers: in the embedded world the base model, which read its corpus last."""
    return policy if workspace.world is None else start_of(workspace)


def _as_in_the_world(workspace: Workspace, source: LocalWriter) -> LocalWriter:
    fitting = {
        "form": "text",
        "stop": (remarks.STOP,),
        "max_new_tokens": workspace.settings.sampling.max_new_tokens,
    }
    # By value: assent.toml spells every default out, so what was set there says nothing.
    plain = LocalWriter()
    return source.model_copy(
        update={
            key: value
            for key, value in fitting.items()
            if getattr(source, key) == getattr(plain, key)
        }
    )


def _criticised(
    workspace: Workspace, run: RunFolder, name: str, policy: ModelVersion
) -> list[Criticised]:
    """The criticism that a run learns from: what stood when it began."""
    file = run.path / CRITICISMS_FILE
    if file.exists():
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
            return [_from_line(json.loads(line)) for line in lines]
        except (ValueError, TypeError, KeyError) as error:
            message = f"{file} cannot be read back; remove {run.path} to start the stage again"
            raise CannotResume(message) from error
    if workspace.world is not None:
        _criticise_in_the_world(workspace, name, policy)
    store = workspace.project.store
    prompts = {prompt.id: prompt.text for prompt in store.prompts("train")}
    found = [
        Criticised(
            id=one.event_id,
            prompt=prompts[one.prompt_id],
            response=one.response,
            criticism=one.text,
            refinement=one.refinement,
        )
        for one in store.criticisms()
        if one.prompt_id in prompts
    ]
    if not found:  # a run that found nothing looks again when it goes on
        return []
    run.path.mkdir(parents=True, exist_ok=True)
    write_file(file, "".join(json.dumps(_as_line(one)) + "\n" for one in found))
    return found


def _as_line(one: Criticised) -> dict[str, Any]:
    turns = requests.turns_of(one.prompt)
    return {**asdict(one), "turns": turns}


def _from_line(line: dict[str, Any]) -> Criticised:
    turns = line.pop("turns")
    found = Criticised(**line)
    return found if turns is None else Criticised(**{**line, "prompt": requests.chat_of(turns)})


def _criticise_in_the_world(workspace: Workspace, name: str, policy: ModelVersion) -> None:
    """Have the world's annotator remark on one response to each training prompt."""
    world, store = workspace.require_world(), workspace.project.store
    settings = workspace.settings.world or AlmanacSettings()
    sampling, spec = workspace.settings.sampling, ANNOTATORS[settings.annotator]
    prompts = train_prompts(workspace)
    drawn = draw_responses(
        workspace.model(policy),
        workspace.tokenizer(policy),
        [prompt.text for prompt in prompts],
        sampling,
        workspace.seed,
        name,
        "criticised",
    )
    read = [world.read(prompt.text) for prompt in prompts]
    checks = frozenset(spec.verifies)
    said = [
        remarks.criticism(question, one.text, checks) if question and one.text.strip() else None
        for question, one in zip(read, drawn, strict=True)
    ]
    kept = [at for at, remark in enumerate(said) if remark is not None]
    ids = store.add_responses(
        [
            NewResponse(
                prompt_id=prompts[at].id,
                text=drawn[at].text,
                sampler_id=store.add_sampler(policy.id, sampling.model_dump(mode="json"), "assent"),
                seed=derive_seed(workspace.seed, name, "criticised"),
                logprob_sum=min(drawn[at].logprob_sum, 0.0),
                token_count=drawn[at].token_count,
                finish_reason="stop" if drawn[at].finished else "length",
                index=at,
            )
            for at in kept
        ]
    )
    critic = store.add_annotator(f"{settings.annotator}-critic", "simulated", spec.parameters())
    store.record_criticisms(
        [
            NewCriticism(
                response_id=id_,
                annotator_id=critic,
                text=str(said[at]),
                idempotency_key=f"{name}/criticism/{at}",
            )
            for id_, at in zip(ids, kept, strict=True)
        ]
    )


def _some_prompts(workspace: Workspace, count: int, seed: int) -> list[tuple[str, str]]:
    found = train_prompts(workspace)
    order = permutation(len(found), seed, "prompts")
    return [(found[at].id, found[at].text) for at in order[:count]]


def _kept(
    run: RunFolder,
    settings: Settings,
    seed: int,
    data: Sequence[Any],
    askings: Sequence[Asking],
    words: Choice | None = None,
) -> KeptAnswers:
    """The run's answers, which are about this data, these models and these requests."""
    who = [[dict(one.writer.identity), one.template, one.form] for one in askings]
    given = settings.model_dump(mode="json", exclude={"sft"})
    told = json.dumps([given, seed, list(data), who, words.options if words else None])
    return KeptAnswers(run.path, fingerprint([told]))


def _report(run: RunFolder, figures: Mapping[str, float]) -> None:
    write_file(run.path / REPORT_FILE, json.dumps(dict(figures), indent=2) + "\n")


def _learn(
    workspace: Workspace,
    policy: ModelVersion,
    demonstrations: Sequence[Demonstration],
    settings: SftSettings,
    run: RunFolder,
    recorded: Settings,
    stage: str,
    points: int,
    on_point: OnPoint | None,
) -> None:
    train_sft(
        workspace.model(policy),
        workspace.tokenizer(policy),
        demonstrations,
        settings,
        run,
        seed=derive_seed(workspace.seed, run.path.name),
        stage=stage,
        recorded=recorded,
        points=(lambda steps: point_steps(steps, points)) if points else None,
        on_point=on_point,
        progress=workspace.progress,
    )
