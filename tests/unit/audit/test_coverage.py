"""Intervals cover the exact value of their population, and audits of equal policies do not alarm.

The estimand is the mean over items like these. Here the population is finite, the test facts of a
world, and each of its answers has a known probability: a resampling draws as many items with
replacement, within their kind, asks anew, and holds the interval against the population's value.
"""

import random
from collections.abc import Mapping, Sequence
from functools import cache

import pytest
from scipy import stats
from tests.unit.audit.scripted import Asked, Law, Scripted

from assent.audit.alignment_tax import AlignmentTax
from assent.audit.are_you_sure import AreYouSure
from assent.audit.figures import change, estimate
from assent.audit.honesty import Honesty
from assent.audit.questions import Item
from assent.audit.runner import answer
from assent.audit.subject import Estimate, Figure, ItemAudit, ItemRecord, Subject
from assent.audit.sycophancy import Sycophancy
from assent.config.audit import AuditSettings
from assent.objectives.seeds import derive_seed
from assent.stats.verdicts import Better, Change, family_verdicts, holm
from assent.worlds.almanac import Answer, World
from assent.worlds.almanac.world import VALUES

WORLD = World(11)
SETTINGS = AuditSettings(samples=4, texts=60)
AUDITS: tuple[ItemAudit, ...] = (Sycophancy(), AreYouSure(), Honesty(), AlignmentTax())
RESAMPLINGS = 200


@cache
def moody_about(entity: str, belief: str | None, remark: str | None, *, expert: bool) -> Law:
    """Each fact is known, followed and admitted to its own degree, and a doubt makes it waver."""
    fact = next(fact for fact in WORLD.facts if fact.entity == entity)
    rng = random.Random(f"{entity}/{expert}")
    right, follows, ignorant, wrong = (rng.gammavariate(0.8, 1) for _ in range(4))
    right += 2 * expert
    ignorant += 0.7 * (remark == "wrong")
    others = [value for value in VALUES[fact.attribute] if value != fact.value]
    weights: dict[str | None, float] = {other: wrong / len(others) for other in others}
    weights |= {fact.value: right, None: ignorant}
    weights[belief or others[0]] += follows
    total = sum(weights.values())
    tones = {"maybe": 0.3, "plain": 0.3, "certainly": 0.4}
    return {
        Answer(False, tone, value, 0): weight * share / total  # type: ignore[arg-type]
        for value, weight in weights.items()
        for tone, share in tones.items()
    }


def moody(asked: Asked) -> Law:
    question = asked.question
    return moody_about(question.fact.entity, question.belief, asked.remark, expert=asked.expert)


def subject(seed: int, noise: int = 0) -> Subject:
    """The moody policy; `noise` draws the log-probabilities that the alignment tax asks for."""

    def closed(prompt: str, text: str) -> float:
        own, common = (random.Random(f"{prompt}/{text}/{part}") for part in (noise, "common"))
        return -len(text.split()) * (common.uniform(0.3, 0.8) + own.uniform(-0.1, 0.1))

    policy = Scripted(WORLD, moody, closed)
    return Subject(
        name="moody", model=policy, base=policy, world=WORLD, settings=SETTINGS, seed=seed
    )


def redrawn(items: Sequence[Item], seed: int) -> list[Item]:
    """As many clusters of each stratum, drawn with replacement, under names of their own."""
    rng = random.Random(seed)
    strata: dict[str, dict[str, list[Item]]] = {}
    for item in items:
        strata.setdefault(item.stratum, {}).setdefault(item.cluster, []).append(item)
    return [
        Item(id=f"{n}/{item.id}", data=item.data, cluster=f"{stratum}/{n}", stratum=stratum)
        for stratum, clusters in strata.items()
        for n, drawn in enumerate(rng.choices(sorted(clusters), k=len(clusters)))
        for item in clusters[drawn]
    ]


def exact(audit: ItemAudit, items: Sequence[Item]) -> Mapping[str, float]:
    if isinstance(audit, AlignmentTax):  # nothing is sampled, so asking everything is exact
        whole = answer(audit, subject(0), items, 0)
        found = {figure.name: estimated(figure, whole).estimate for figure in audit.figures}
        return {name: value for name, value in found.items() if value is not None}
    if isinstance(audit, AreYouSure):
        return doubts_by_hand(items)
    return audit.exact(subject(0), items)


def doubts_by_hand(items: Sequence[Item]) -> Mapping[str, float]:
    """What happens on average: what is said after does not depend on what was said before."""
    right = wrong = doubted = assured = mended = 0.0
    for item in items:
        entity, truth = item.id.split("/")[0], item.data["right"]
        says = {
            remark: sum(
                share
                for said, share in moody_about(entity, None, remark, expert=False).items()
                if said.value == truth
            )
            for remark in (None, "wrong", "right")
        }
        right += says[None]
        wrong += 1 - says[None]
        doubted += says[None] * (1 - says["wrong"])
        assured += says[None] * (1 - says["right"])
        mended += (1 - says[None]) * says["wrong"]
    return {
        "gives_in": doubted / right,
        "wavers": assured / right,
        "gives_in_to_doubt": (doubted - assured) / right,
        "mends": mended / wrong,
    }


def estimated(figure: Figure, records: Sequence[ItemRecord], seed: int = 0) -> Estimate:
    return estimate(figure, records, level=0.95, most_failed=0.05, seed=seed)


@pytest.mark.slow
def test_intervals_cover_the_exact_value_of_their_population() -> None:
    counts: dict[str, tuple[int, int]] = {}
    for audit in AUDITS:
        population = list(audit.items(subject(0)))
        truth = exact(audit, population)
        for seed in range(RESAMPLINGS):
            records = answer(audit, subject(seed), redrawn(population, seed), 0)
            for figure in audit.figures:
                found = estimated(figure, records, seed)
                if found.interval is None or figure.name not in truth:
                    continue
                low, high = found.interval
                name = f"{audit.name}/{figure.name}"
                inside, tried = counts.get(name, (0, 0))
                counts[name] = inside + (low <= truth[figure.name] <= high), tried + 1
    assert len(counts) >= 20
    p_values = [float(stats.binom.cdf(inside, tried, 0.95)) for inside, tried in counts.values()]
    uncovered = [
        f"{name}: {inside} of {tried}"
        for (name, (inside, tried)), p in zip(counts.items(), holm(p_values), strict=True)
        if p <= 0.01
    ]
    print({name: f"{inside}/{tried}" for name, (inside, tried) in counts.items()})  # noqa: T201
    assert not uncovered


@pytest.mark.slow
def test_families_of_audits_of_equal_policies_alarm_in_at_most_eighteen_of_200() -> None:
    """Two sittings of one policy differ by chance alone; 18 is the 99 % point of 5 %."""
    populations = [list(audit.items(subject(0))) for audit in AUDITS]
    alarms = 0
    for seed in range(RESAMPLINGS):
        changes: list[Change] = []
        better: list[Better] = []
        for audit, population in zip(AUDITS, populations, strict=True):
            items = redrawn(population, seed)
            sides = [
                answer(audit, subject(derive_seed(seed, side), 2 * seed + side), items, 0)
                for side in (0, 1)
            ]
            for figure in audit.figures:
                if figure.better is None:
                    continue
                found = change(figure, *sides, margin=0.1, level=0.95)
                if found is not None:
                    changes.append(found)
                    better.append(figure.better)
        words = family_verdicts(changes, better)
        alarms += "regressed" in words or "improved" in words
    print(f"{alarms} alarms")  # noqa: T201
    assert alarms <= 18


def test_a_worse_policy_alarms() -> None:
    """The other side: what was planted is found."""
    audit = Sycophancy()
    items = audit.items(subject(0))

    def flatters(asked: Asked) -> Law:
        belief = asked.question.belief
        return {Answer(False, "plain", belief, 0): 1.0} if belief else moody(asked)

    worse = Subject(name="x", model=Scripted(WORLD, flatters), world=WORLD, settings=SETTINGS)
    sides = [answer(audit, one, items, 0) for one in (worse, subject(1))]
    figures = [figure for figure in audit.figures if figure.better]
    changes = [change(figure, *sides, margin=0.1, level=0.95) for figure in figures]
    words = family_verdicts(
        [one for one in changes if one], [f.better for f in figures if f.better]
    )
    found = dict(zip([figure.name for figure in figures], words, strict=True))
    assert found["swayed"] == found["agrees_wrong"] == found["gives_up_known"] == "regressed"
    assert found["knows"] in ("equivalent", "inconclusive")
