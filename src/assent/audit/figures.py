"""From scored items to figures with intervals, to paired changes, and to trends over models."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from assent.audit.subject import Estimate, Figure, ItemRecord
from assent.config.audit import AuditMargins
from assent.errors import UnlikeItems
from assent.objectives.seeds import derive_seed
from assent.stats.intervals import (
    Interval,
    cluster_totals,
    percentile_interval,
    resampled_means,
    wilson,
)
from assent.stats.verdicts import (
    Change,
    Linear,
    expanded_level,
    linearise,
    mcnemar_exact,
    paired_change,
    share_interval,
)

RESAMPLES = 2000


class Trend(NamedTuple):
    """How a figure moves along a row of models, from values paired by item."""

    slope: float
    """Per unit of the positions; of the least-squares line."""
    slope_interval: Interval
    bend: float
    """Second-order coefficient, per unit squared."""
    bend_interval: Interval
    turns: bool
    """The interval of the bend leaves out zero and the turn lies within the row: a U, or a hump."""


class _Column(NamedTuple):
    """What a figure takes from the items that count."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    clusters: NDArray[np.str_]
    strata: NDArray[np.str_]
    ids: list[str]


def margin_of(audit: str, figure: Figure, margins: AuditMargins) -> float:
    """The margin of a figure: the settings' for it, its own, or the settings' for its kind."""
    own = margins.figures.get(f"{audit}/{figure.name}", figure.margin)
    if own is not None:
        return own
    return margins.loss_nats if figure.unit == "nats/token" else margins.share


def estimate(
    figure: Figure,
    records: Sequence[ItemRecord],
    *,
    level: float,
    most_failed: float,
    seed: int,
    exact: float | None = None,
) -> Estimate:
    """One figure of one model, with the interval that fits it.

    A share of single yes-or-no items has Wilson's interval; one of clustered or averaged items
    Wilson's with the effective number of items; a mean a bootstrap over clusters within strata. The
    estimand is the mean over items like these.
    """
    failed = sum(one.failed is not None for one in records)
    if records and failed / len(records) > most_failed:
        reason = next(one.failed for one in records if one.failed is not None)
        return Estimate(
            name=figure.name, estimate=None, n=len(records) - failed, exact=exact,
            problem=f"{failed} of {len(records)} items failed, the first because {reason}",
        )  # fmt: skip
    column = _column(figure, records)
    if not len(column.values) or column.weights.sum() <= 0:
        return Estimate(
            name=figure.name, estimate=None, exact=exact, problem="no item has this score"
        )
    line = linearise(column.values, column.weights, column.clusters, column.strata)
    interval, method = _interval(figure, column, line, level, seed)
    return Estimate(
        name=figure.name,
        estimate=line.estimate,
        interval=(interval.low, interval.high) if interval else None,
        method=method,
        n=int((column.weights > 0).sum()),
        clusters=len(line.parts),
        problem=f"{failed} of {len(records)} items failed and are left out" if failed else None,
        exact=exact,
    )


def change(
    figure: Figure,
    model: Sequence[ItemRecord],
    baseline: Sequence[ItemRecord],
    *,
    margin: float,
    level: float,
) -> Change | None:
    """The paired change of a figure on the items that both models have scores for.

    Yes-or-no scores of unclustered items are tested by McNemar's exact test, all others by
    Student's t over the clusters' differences. None where no item is shared.

    Raises:
        UnlikeItems: the two are not about the same items.
    """
    require_alike(model, baseline)
    ours, theirs = _paired(figure, model, baseline)
    if not len(ours.values) or ours.weights.sum() <= 0 or theirs.weights.sum() <= 0:
        return None
    clusters = _weighed(ours, theirs)
    lines = [
        linearise(one.values, one.weights, one.clusters, one.strata, keep=clusters)
        for one in (ours, theirs)
    ]
    found = paired_change(*lines, margin=margin, span=figure.span, level=level)
    alone = figure.per is None and len(clusters) == len(ours.values)
    if alone and _binary(ours, theirs):
        only_ours = int(((ours.values == 1) & (theirs.values == 0)).sum())
        only_theirs = int(((ours.values == 0) & (theirs.values == 1)).sum())
        found = found._replace(p_change=mcnemar_exact(only_ours, only_theirs))
    return found


def trend(
    figure: Figure,
    models: Sequence[Sequence[ItemRecord]],
    positions: Sequence[float],
    *,
    level: float,
) -> Trend | None:
    """Slope and bend of a figure along models, by least squares over their positions.

    Each coefficient is the same weighted sum of the models' figures, so its error is that of the
    same sum of the paired parts. None with fewer than three models, positions that are not three
    different numbers, or no shared item.

    Raises:
        UnlikeItems: the models are not about the same items.
    """
    places = np.asarray(positions, dtype=np.float64)
    if len(models) < 3 or len(np.unique(places)) < 3:
        return None
    for other in models[1:]:
        require_alike(models[0], other)
    columns = [_column(figure, records) for records in models]
    shared = set(columns[0].ids).intersection(*(column.ids for column in columns[1:]))
    columns = [_only(column, shared) for column in columns]
    if not shared or any(column.weights.sum() <= 0 for column in columns):
        return None
    clusters = _weighed(*columns)
    lines = [linearise(*column[:4], keep=clusters) for column in columns]
    straight = np.linalg.pinv(np.vander(places, 2))[0]
    bent = np.linalg.pinv(np.vander(places, 3))
    slope, slope_interval = _combined(lines, straight, figure, level)
    bend, bend_interval = _combined(lines, bent[0], figure, level)
    tilt = float(bent[1] @ [line.estimate for line in lines])
    certain = bend_interval.low > 0 or bend_interval.high < 0
    turn = -tilt / (2 * bend) if bend else np.inf
    inside = bool(places.min() < turn < places.max())
    return Trend(slope, slope_interval, bend, bend_interval, certain and inside)


def require_alike(model: Sequence[ItemRecord], baseline: Sequence[ItemRecord]) -> None:
    """Refuse to pair records that are not about the same items.

    Raises:
        UnlikeItems: names the first item that only one of them has, or that differs.
    """
    ours, theirs = ({one.id: one for one in records} for records in (model, baseline))
    for name in [*ours, *theirs]:
        if name not in ours or name not in theirs:
            message = f"only one of the two results has item {name!r}: audit both models again"
            raise UnlikeItems(message)
        if ours[name].data != theirs[name].data:
            message = f"item {name!r} is not the same in both results: audit both models again"
            raise UnlikeItems(message)


def _interval(
    figure: Figure, column: _Column, line: Linear, level: float, seed: int
) -> tuple[Interval | None, str]:
    percent = f"{100 * level:g} %"
    single = len(line.parts) == len(column.values)
    if figure.kind == "share":
        if single and figure.per is None and _binary(column):
            return wilson(
                float(column.values.sum()), len(column.values), level
            ), f"{percent} Wilson"
        method = f"{percent} Wilson with the effective number of items"
        return share_interval(line, level), method
    if line.freedom < len(np.unique(line.strata)) or np.isnan(line.error):
        return None, "none: too few items"
    if line.error <= 1e-12 * max(1.0, abs(line.estimate)):
        half = figure.span * (1 - (1 - level) ** (1 / len(line.parts)))
        interval = Interval(line.estimate - half, line.estimate + half)
        return (
            interval,
            f"{percent}, all items equal: at most {half / figure.span:.2g} of such differ",
        )
    both = np.stack([column.values, column.weights])
    totals = cluster_totals(both, column.clusters, column.strata)
    weighed = totals.sums[1] > 0
    ratios = totals._replace(
        sums=totals.sums[:1, weighed], counts=totals.sums[1, weighed], strata=totals.strata[weighed]
    )
    rng = np.random.default_rng(derive_seed(seed, figure.name))
    draws = resampled_means(ratios, resamples=RESAMPLES, rng=rng)[:, 0]
    inside = "" if len(np.unique(line.strata)) == 1 else " within strata"
    clusters = "items" if single else "clusters"
    method = f"{percent} bootstrap over {clusters}{inside}, {RESAMPLES:,} resamples"
    return percentile_interval(draws, expanded_level(level, line.freedom)), method


def _combined(
    lines: Sequence[Linear], factors: NDArray[np.float64], figure: Figure, level: float
) -> tuple[float, Interval]:
    """A weighted sum of paired figures and its interval."""
    value = float(sum(f * line.estimate for f, line in zip(factors, lines, strict=True)))
    parts = sum(
        (f * line.parts for f, line in zip(factors, lines, strict=True)), 0 * lines[0].parts
    )
    zero = Linear(0.0, 0 * parts, lines[0].strata)
    span = figure.span * float(np.abs(factors).sum())
    found = paired_change(
        Linear(value, parts, lines[0].strata), zero, margin=np.inf, span=span, level=level
    )
    return value, found.interval


def _column(figure: Figure, records: Sequence[ItemRecord]) -> _Column:
    rows: list[tuple[float, float, str, str, str]] = []
    for record in records:
        if record.failed is not None:
            continue
        value = record.scores.get(figure.of)
        weight = 1.0 if figure.per is None else record.scores.get(figure.per)
        if value is not None and weight is not None:
            rows.append((value, weight, record.cluster, record.stratum, record.id))
    return _Column(
        np.array([row[0] for row in rows], dtype=np.float64),
        np.array([row[1] for row in rows], dtype=np.float64),
        np.array([row[2] for row in rows], dtype=np.str_),
        np.array([row[3] for row in rows], dtype=np.str_),
        [row[4] for row in rows],
    )


def _paired(
    figure: Figure, model: Sequence[ItemRecord], baseline: Sequence[ItemRecord]
) -> tuple[_Column, _Column]:
    ours, theirs = _column(figure, model), _column(figure, baseline)
    shared = set(ours.ids) & set(theirs.ids)
    return _only(ours, shared), _only(theirs, shared)


def _only(column: _Column, ids: set[str]) -> _Column:
    """The rows of some items, in the order of their ids."""
    kept = sorted((name, row) for row, name in enumerate(column.ids) if name in ids)
    rows = [row for _, row in kept]
    return _Column(
        column.values[rows],
        column.weights[rows],
        column.clusters[rows],
        column.strata[rows],
        [name for name, _ in kept],
    )


def _weighed(*columns: _Column) -> NDArray[np.str_]:
    """Clusters that carry weight in any of the columns."""
    return np.unique(np.concatenate([column.clusters[column.weights > 0] for column in columns]))


def _binary(*columns: _Column) -> bool:
    return all(bool(np.isin(column.values, (0.0, 1.0)).all()) for column in columns)


def exact_figures(figures: Sequence[Figure], found: Mapping[str, float]) -> dict[str, float]:
    """The exact values among `found` that belong to a figure."""
    return {figure.name: found[figure.name] for figure in figures if figure.name in found}
