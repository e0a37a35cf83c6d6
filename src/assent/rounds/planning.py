"""What a stage will take, worked out before anything starts: schedule and memory."""

from pathlib import Path

from assent.rounds import stages
from assent.rounds.planner import Plan, Planner
from assent.rounds.workspace import NOTHING, Given, open_workspace
from assent.types import SilentProgress

SILENT = SilentProgress()


def plan_stage(root: Path, stage: str, *, config: list[Path], overrides: list[str]) -> Plan:
    """The plan of `assent train STAGE`; changes nothing.

    Raises:
        ConfigError, NotAProject: as the stage itself.
        DataError: what the stage starts from does not exist yet; names the command that makes it.
    """
    with open_workspace(
        root, SILENT, files=tuple(config), overrides=tuple(overrides), alone=False
    ) as workspace:
        start = stages.start_of(workspace) if stage == "sft" else stages.reference_of(workspace)
        planner = Planner(workspace, start)
        if stage == "sft":
            return planner.sft("sft")
        if stage == "reward":
            return planner.reward("reward", planner.judged_now())
        return planner.policy(stage, stage)


def plan_loop(root: Path, *, rounds: int | None, given: Given = NOTHING) -> list[Plan]:
    """The plan of every stage that `assent loop run` has still to do; changes nothing.

    Raises:
        As `plan_stage`.
    """
    files, overrides = given.with_rounds(rounds)
    with open_workspace(root, SILENT, files=files, overrides=overrides, alone=False) as workspace:
        done = {run.id for run in workspace.project.store.runs() if run.status == "done"}
        settings = workspace.settings
        if workspace.world is not None:
            planner = Planner(workspace, workspace.version_of("sft"))
            first = [planner.pretrain("pretrain"), planner.sft("sft")]
        else:
            planner = Planner(workspace, stages.reference_of(workspace))
            first = [planner.sft("sft")] if workspace.project.store.demonstrations() else []
        taken = {one.name: one.event_count for one in workspace.project.store.snapshots()}
        plans, judged = list(first), 0
        for number in range(1, settings.loop.rounds + 1):
            # A round learns from all judgements so far; what was imported may be more than it asks.
            asked = judged + settings.loop.judgements_per_round
            judged = taken.get(f"round-{number}", max(asked, planner.judged_now()))
            plans.append(planner.reward(f"round-{number}-reward", judged))
            method = settings.loop.method
            plans.append(
                planner.policy(method, f"round-{number}-{method}", judged, is_reference=number == 1)
            )
        return [plan for plan in plans if plan.name not in done]
