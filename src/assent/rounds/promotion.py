"""Promote a checkpoint by a rule that needs no truth: a small budget of held-out comparisons.

Candidates answer validation prompts against the reference, a judge says who did better, and
sequential halving spends the budget: all candidates share the first part, the better half the next,
until one is left. The judge may look facts up, which is what a user can pay for on a few hundred
comparisons and not on all; the same rule with a judge who may not is run beside it, to show what
the look-ups bought.

Source: Karnin, Koren and Somekh 2013, "Almost optimal exploration in multi-armed bandits".
"""

from collections.abc import Sequence
from math import ceil, log2

from assent.collect.asking import Drawn, draw_responses
from assent.collect.judging import judge_all
from assent.objectives.seeds import permutation
from assent.rounds.ground import Choice
from assent.rounds.workspace import Workspace
from assent.stats.intervals import wilson
from assent.store import ModelVersion, NewComparison, NewResponse, Store, StoredPrompt
from assent.types import Judge, Verdict

_WORTH: dict[Verdict, float] = {"first": 1.0, "second": 0.0}
"""What a verdict gives the candidate; every other one is half a win."""


def spread(checkpoints: Sequence[ModelVersion], most: int) -> list[ModelVersion]:
    """At most so many candidates, evenly over the checkpoints and with the last among them."""
    count = min(most, len(checkpoints))
    # The first checkpoint is the reference itself.
    last = len(checkpoints) - 1
    return [
        checkpoints[number]
        for number in sorted({round(last * (n + 1) / count) for n in range(count)})
    ]


def promote(
    workspace: Workspace,
    candidates: Sequence[ModelVersion],
    reference: ModelVersion,
    annotator: tuple[str, Judge],
    purpose: str,
    *,
    may_look_up: bool,
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
    judge = "may look facts up" if may_look_up else "may not look facts up"
    return Choice(
        best,
        (
            "highest win rate against the SFT policy on held-out prompts, by sequential halving; "
            f"the judge {judge}"
        ),
        wins[best.id] / played[best.id],
        (interval.low, interval.high),
        asked,
        asked if may_look_up else 0,
    )


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
    mine = set(compare(workspace, version, reference, prompts, purpose, games, halving))
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
        _WORTH.get(pair.verdict, 0.5)
        for pair in store.judged_pairs(snapshot.id)
        if pair.comparison_id in mine
    )
    return won + 0.5 * (games - len(mine)), len(mine)


def ask_people(
    workspace: Workspace,
    candidates: Sequence[ModelVersion],
    reference: ModelVersion,
    prompts: Sequence[StoredPrompt],
    purpose: str,
) -> None:
    """Store comparisons of every candidate with the reference, equally many, for people to judge.

    Drawn once; asking again adds nothing.
    """
    each = max(workspace.settings.loop.promotion.comparisons // len(candidates), 1)
    for version in candidates:
        if not workspace.project.store.comparisons(purpose=f"{purpose}/{version.name}"):
            compare(workspace, version, reference, prompts, purpose, each, 0)


def by_people(
    workspace: Workspace, candidates: Sequence[ModelVersion], last: ModelVersion, purpose: str
) -> Choice:
    """The candidate with the highest win rate, once people have judged half of what each was asked.

    A comparison that several people judged counts once, at the mean of what they said. Responses
    that read the same are ties that nobody was asked about.
    """
    store = workspace.project.store
    each = max(workspace.settings.loop.promotion.comparisons // len(candidates), 1)
    verdicts = standing_verdicts(store)
    rates: list[tuple[float, int, ModelVersion]] = []
    judged = asked = 0
    enough = True
    for version in candidates:
        comparisons = [
            one
            for one in store.comparisons(purpose=f"{purpose}/{version.name}")
            if one.first.split() != one.second.split()
        ]
        found = [verdicts[one.id] for one in comparisons if one.id in verdicts]
        asked, judged = asked + len(comparisons), judged + len(found)
        enough = enough and 2 * len(found) >= len(comparisons)
        # Of equal texts as many count as their share of all that was drawn, judged or not.
        same = (each - len(comparisons)) * (len(found) / len(comparisons) if comparisons else 1.0)
        played = len(found) + round(same)
        wins = sum(sum(said) / len(said) for said in found) + 0.5 * round(same)
        if played:
            rates.append((wins, played, version))
    if not enough or not rates:
        rule = (
            f"last: people have judged {judged} of {asked} held-out comparisons, too few to choose "
            f"by; judge more and run `assent loop run {workspace.project.root}` again"
        )
        return Choice(last, rule, None, None, judged)
    # max keeps the earlier of equal rates: it moved less from the reference.
    wins, played, best = max(rates, key=lambda rate: rate[0] / rate[1])
    interval = wilson(wins, played)
    rule = (
        "highest win rate against the reference on held-out prompts, judged by people, equally "
        "many comparisons for each candidate"
    )
    return Choice(best, rule, wins / played, (interval.low, interval.high), judged)


def standing_verdicts(store: Store) -> dict[str, list[float]]:
    """For each comparison what its standing judgements give the first response."""
    events = store.events()
    superseded = {event.supersedes for event in events}
    found: dict[str, list[float]] = {}
    for event in events:
        if event.kind == "judgement" and event.id not in superseded and event.comparison_id:
            worth = _WORTH.get(event.payload["verdict"], 0.5)
            found.setdefault(event.comparison_id, []).append(worth)
    return found


def compare(
    workspace: Workspace,
    version: ModelVersion,
    reference: ModelVersion,
    prompts: Sequence[StoredPrompt],
    purpose: str,
    games: int,
    halving: int,
) -> list[str]:
    """Comparisons of a candidate (first) with the reference (second), where the texts differ."""
    store, seed = workspace.project.store, workspace.seed
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
    return store.add_comparisons(
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
        workspace.settings.sampling,
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
        version.id, workspace.settings.sampling.model_dump(mode="json"), "assent"
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
