"""Promote a checkpoint by a rule that needs no truth: a small budget of held-out comparisons.

Candidates answer validation prompts against the reference, a judge says who did better, and
sequential halving spends the budget: all candidates share the first part, the better half the next,
until one is left. The judge may look facts up, which is what a user can pay for on a few hundred
comparisons and not on all; the same rule with a judge who may not is run beside it, to show what
the look-ups bought.

Source: Karnin, Koren and Somekh 2013, "Almost optimal exploration in multi-armed bandits".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2

from assent.collect.asking import Drawn, draw_responses
from assent.collect.judging import judge_all
from assent.objectives.seeds import permutation
from assent.rounds.workspace import Workspace
from assent.stats.intervals import wilson
from assent.store import ModelVersion, NewComparison, NewResponse, StoredPrompt
from assent.types import Judge


@dataclass(frozen=True, slots=True)
class Choice:
    """The checkpoint chosen and what it cost."""

    version: ModelVersion
    win_rate: float
    """Against the reference, ties half; of the comparisons the winner took part in."""
    win_rate_ci: tuple[float, float]
    comparisons: int
    """Asked of the judge, over all candidates; equal texts are ties that nobody is asked about."""


def promote(
    workspace: Workspace,
    candidates: Sequence[ModelVersion],
    reference: ModelVersion,
    annotator: tuple[str, Judge],
    purpose: str,
) -> Choice:
    """Choose among candidates; every comparison and judgement is stored under `purpose`."""
    budget = workspace.settings.loop.promotion.comparisons
    halvings = max(1, ceil(log2(max(len(candidates), 2))))
    alive = list(candidates)
    wins = {version.id: 0.0 for version in alive}
    played = {version.id: 0 for version in alive}
    asked = 0
    for halving in range(halvings):
        games = max(budget // (halvings * len(alive)), 1)
        for version in alive:
            won, count = _play(workspace, version, reference, annotator, purpose, games, halving)
            wins[version.id] += won
            played[version.id] += games
            asked += count
        # On equal rates the earlier checkpoint stays: it moved less from the reference.
        order = sorted(alive, key=lambda version: -wins[version.id] / played[version.id])
        keep = order[: max(ceil(len(order) / 2), 1)]
        alive = [version for version in alive if version in keep]
    best = max(alive, key=lambda version: wins[version.id] / played[version.id])
    interval = wilson(wins[best.id], played[best.id])
    return Choice(best, wins[best.id] / played[best.id], (interval.low, interval.high), asked)


def _play(
    workspace: Workspace,
    version: ModelVersion,
    reference: ModelVersion,
    annotator: tuple[str, Judge],
    purpose: str,
    games: int,
    halving: int,
) -> tuple[float, int]:
    """Comparisons of one candidate with the reference: wins (ties half) and judgements asked."""
    store, seed = workspace.project.store, workspace.seed
    prompts = store.prompts("validation")
    order = permutation(len(prompts), seed, purpose, halving)
    asked = [prompts[order[number % len(order)]] for number in range(games)]
    ours = _draw(workspace, version, asked, purpose, halving, "candidate")
    theirs = _draw(workspace, reference, asked, purpose, halving, version.name)
    different = [n for n in range(games) if ours[n].text != theirs[n].text]
    ids = [
        store.add_responses(_responses(workspace, model, asked, drawn, halving))
        for model, drawn in ((version, ours), (reference, theirs))
    ]
    shown = permutation(games, seed, purpose, halving, version.name, "order")
    made = store.add_comparisons(
        [
            NewComparison(
                prompt_id=asked[n].id,
                first_response_id=ids[0][n],
                second_response_id=ids[1][n],
                shown_order="first_left" if shown[n] % 2 else "second_left",
                purpose=f"{purpose}/{version.name}",
                round=halving,
                index=n,
            )
            for n in different
        ]
    )
    mine = set(made)
    comparisons = [
        comparison
        for comparison in store.comparisons(purpose=f"{purpose}/{version.name}", round=halving)
        if comparison.id in mine
    ]
    annotator_id, judge = annotator
    judge_all(store, comparisons, {annotator_id: judge}, seed=seed, progress=workspace.progress)
    snapshot = store.take_snapshot(
        f"{purpose}/{version.name}/{halving}", purposes=(f"{purpose}/{version.name}",)
    )
    won = sum(
        {"first": 1.0, "second": 0.0}.get(pair.verdict, 0.5)
        for pair in store.judged_pairs(snapshot.id)
        if pair.comparison_id in mine
    )
    return won + 0.5 * (games - len(different)), len(different)


def _draw(
    workspace: Workspace,
    version: ModelVersion,
    asked: Sequence[StoredPrompt],
    *seed: object,
) -> list[Drawn]:
    return draw_responses(
        workspace.model(version),
        workspace.tokenizer(version),
        [prompt.text for prompt in asked],
        workspace.settings.ppo.sampling,
        workspace.seed,
        version.name,
        *seed,
    )


def _responses(
    workspace: Workspace,
    version: ModelVersion,
    asked: Sequence[StoredPrompt],
    drawn: Sequence[Drawn],
    halving: int,
) -> list[NewResponse]:
    sampler = workspace.project.store.add_sampler(
        version.id, workspace.settings.ppo.sampling.model_dump(mode="json"), "assent"
    )
    return [
        NewResponse(
            prompt_id=prompt.id,
            text=one.text,
            sampler_id=sampler,
            seed=workspace.seed,
            logprob_sum=min(one.logprob_sum, 0.0),
            token_count=one.token_count,
            finish_reason="stop" if one.finished else "length",
            index=1_000_000 * (halving + 1) + number,
        )
        for number, (prompt, one) in enumerate(zip(asked, drawn, strict=True))
    ]
