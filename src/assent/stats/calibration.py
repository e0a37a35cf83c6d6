"""Calibration: whether a stated chance comes true as often as it says.

A prediction is the chance, in [0, 1], that an outcome is 1. For a reward model it is the sigmoid of
the margin between two responses, and the outcome is whether the annotator chose the first.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import expit

from assent.stats.intervals import Interval, finite_vector, percentile_interval, wilson

_MAX_STEPS = 200
_NEGLIGIBLE = 1e-12


class ReliabilityBin(NamedTuple):
    """Predictions of about the same size, and how often they came true."""

    low: float
    high: float
    """Smallest and largest prediction in the bin."""
    predicted: float
    """Mean prediction."""
    observed: float
    """Share of outcomes that were 1."""
    interval: Interval
    """Wilson, of the observed share."""
    items: int


class CalibrationError(NamedTuple):
    """Expected calibration error over bins of equal mass; a description, since it is biased."""

    plug_in: float
    """Mean over items of |observed - predicted| of the item's bin: always too high."""
    if_calibrated: float
    """What the plug-in would be on average, had the same predictions been perfectly calibrated."""
    p_value: float
    """Share of such perfectly calibrated data sets with a plug-in at least as high."""
    interval: Interval
    """Percentile bootstrap of the plug-in over items; it shares the plug-in's bias."""
    debiased_rms: float
    """Root of the debiased mean squared error over bins, 0 where that is negative."""
    bins: int
    items: int


class Temperature(NamedTuple):
    """How much too sure margins are: the chance that fits best is sigma(slope * margin)."""

    slope: float
    """1 if calibrated, below 1 if too sure, at most 0 if the margins mislead."""
    standard_error: float
    interval: Interval
    """Of the slope, from the likelihood's curvature."""

    @property
    def temperature(self) -> float | None:
        """What to divide margins by; None where the slope is not above zero."""
        return 1 / self.slope if self.slope > 0 else None


def brier_scores(predicted: ArrayLike, outcomes: ArrayLike) -> NDArray[np.float64]:
    r"""Squared error of each prediction, :math:`(p - y)^2`, in [0, 1]; lower is better.

    Raises:
        ValueError: lengths differ, or a prediction or outcome lies outside [0, 1].

    Source: Brier 1950.
    """
    chance, truth = _pair(predicted, outcomes)
    return np.asarray((chance - truth) ** 2, dtype=np.float64)


def log_losses(margins: ArrayLike, outcomes: ArrayLike) -> NDArray[np.float64]:
    r"""Negative log-likelihood of each outcome, in nats, the chance being sigma(margin).

    .. math:: -y \log\sigma(m) - (1 - y)\log\sigma(-m)

    It does not overflow, whatever the margin.

    Raises:
        ValueError: lengths differ, a margin is not finite, or an outcome lies outside [0, 1].
    """
    gaps = finite_vector(margins, "margins")
    truth = _shares(outcomes, "outcomes", len(gaps))
    return np.asarray(np.logaddexp(0.0, -gaps) + (1 - truth) * gaps, dtype=np.float64)


def reliability(predicted: ArrayLike, outcomes: ArrayLike, bins: int = 10) -> list[ReliabilityBin]:
    """Items in bins of equal mass by prediction; equal predictions are never torn apart.

    Args:
        predicted: chances in [0, 1].
        outcomes: in [0, 1]; a tie is 0.5.
        bins: wanted; there are fewer where many predictions are equal.

    Raises:
        ValueError: as `brier_scores`, no items, or fewer than one bin.
    """
    chance, truth = _pair(predicted, outcomes)
    found = []
    for members in _bins(chance, bins):
        happened = float(truth[members].sum())
        found.append(
            ReliabilityBin(
                low=float(chance[members].min()),
                high=float(chance[members].max()),
                predicted=float(chance[members].mean()),
                observed=happened / len(members),
                interval=wilson(happened, len(members)),
                items=len(members),
            )
        )
    return found


def calibration_error(
    predicted: ArrayLike,
    outcomes: ArrayLike,
    bins: int = 15,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> CalibrationError:
    r"""Expected calibration error with its own bias beside it.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} |\bar y_b - \bar p_b|, \qquad
              \widehat{\mathrm{MSE}} = \sum_b \frac{n_b}{n}
              \Bigl[(\bar y_b - \bar p_b)^2 - \frac{\bar y_b (1 - \bar y_b)}{n_b - 1}\Bigr]

    The ECE is above zero even for a perfectly calibrated model, by `if_calibrated` on average at
    this sample size; read it against that, or read the p-value, or the debiased second form.

    Args:
        predicted: chances in [0, 1].
        outcomes: 0 or 1.
        bins: of equal mass, usually 10 to 15; use 1,000 items or more.
        resamples: of the bootstrap and of the calibrated data sets.
        seed: of both.
        level: of the bootstrap interval, in (0, 1).

    Raises:
        ValueError: as `reliability`, or an outcome between 0 and 1.

    Source: debiased: Bröcker 2012, Kumar, Liang & Ma 2019, "Verified uncertainty calibration";
    calibrated data sets: Bröcker & Smith 2007, "consistency resampling".
    """
    chance, truth = _pair(predicted, outcomes)
    if ((truth != 0) & (truth != 1)).any():
        message = "an outcome lies between 0 and 1; leave ties out"
        raise ValueError(message)
    parts = _bins(chance, bins)
    index = np.empty(len(chance), dtype=np.int64)
    for number, members in enumerate(parts):
        index[members] = number
    rng = np.random.default_rng(seed)
    point = _ece(truth[None, :], chance, index, len(parts))[0]
    simulated = (rng.random((resamples, len(chance))) < chance).astype(np.float64)
    null = _ece(simulated, chance, index, len(parts))
    drawn = []
    for _ in range(resamples):
        rows = rng.integers(len(chance), size=len(chance))
        drawn.append(_ece(truth[None, rows], chance[rows], index[rows], len(parts))[0])
    counts = np.bincount(index, minlength=len(parts))
    observed = np.bincount(index, weights=truth, minlength=len(parts)) / counts
    stated = np.bincount(index, weights=chance, minlength=len(parts)) / counts
    spread = observed * (1 - observed) / np.maximum(counts - 1, 1)
    square = float((counts / len(chance)) @ ((observed - stated) ** 2 - spread))
    return CalibrationError(
        plug_in=float(point),
        if_calibrated=float(null.mean()),
        p_value=float((1 + (null >= point - _NEGLIGIBLE).sum()) / (1 + resamples)),
        interval=percentile_interval(np.array(drawn), level),
        debiased_rms=math.sqrt(max(square, 0.0)),
        bins=len(parts),
        items=len(chance),
    )


def fit_temperature(margins: ArrayLike, outcomes: ArrayLike, *, level: float = 0.95) -> Temperature:
    r"""Maximum-likelihood temperature of margins.

    .. math:: \max_s \sum_i y_i \log\sigma(s\,m_i) + (1 - y_i)\log\sigma(-s\,m_i), \quad T = 1/s

    Args:
        margins: in reward units.
        outcomes: in [0, 1]; a tie is 0.5.
        level: of the interval, in (0, 1).

    Raises:
        ValueError: as `log_losses`; all margins are zero; or each outcome goes with (or against)
            its margin, so that no slope is finite.

    Source: Guo et al. 2017, "On calibration of modern neural networks", section 4.2.
    """
    gaps = finite_vector(margins, "margins")
    truth = _shares(outcomes, "outcomes", len(gaps))
    if not gaps.any():
        message = "all margins are zero: no temperature changes them"
        raise ValueError(message)
    # The likelihood has a maximum when some outcome speaks for and some against its margin.
    against = ((gaps > 0) & (truth < 1)) | ((gaps < 0) & (truth > 0))
    for_it = ((gaps > 0) & (truth > 0)) | ((gaps < 0) & (truth < 1))
    if not (against.any() and for_it.any()):
        side = "with" if for_it.any() else "against"
        message = f"every outcome goes {side} its margin: no finite temperature fits"
        raise ValueError(message)
    scale = float(np.abs(gaps).max())
    unit = gaps / scale
    slope = _concave_root(unit, truth)
    chance = expit(slope * unit)
    error = 1 / math.sqrt(float((unit**2 * chance * (1 - chance)).sum()))
    half = float(stats.norm.ppf(0.5 + level / 2)) * error
    return Temperature(
        slope / scale, error / scale, Interval((slope - half) / scale, (slope + half) / scale)
    )


def _concave_root(unit: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Where the likelihood's slope is zero: Newton's steps, held inside a shrinking bracket."""

    def gradient(slope: float) -> float:
        return float(unit @ (truth - expit(slope * unit)))

    low, high = -1.0, 1.0
    while gradient(high) > 0:
        high *= 2
    while gradient(low) < 0:
        low *= 2
    slope = 0.0
    for _ in range(_MAX_STEPS):
        found = gradient(slope)
        low, high = (slope, high) if found > 0 else (low, slope)
        chance = expit(slope * unit)
        step = found / max(float((unit**2 * chance * (1 - chance)).sum()), _NEGLIGIBLE)
        following = slope + step
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - slope) <= _NEGLIGIBLE * max(1.0, abs(slope)):
            return following
        slope = following
    return slope


def _ece(
    outcomes: NDArray[np.float64],
    chance: NDArray[np.float64],
    index: NDArray[np.int64],
    bins: int,
) -> NDArray[np.float64]:
    """Expected calibration error of each row of outcomes."""
    member = np.zeros((len(chance), bins))
    member[np.arange(len(chance)), index] = 1.0
    gaps = (outcomes - chance) @ member
    return np.asarray(np.abs(gaps).sum(axis=1) / len(chance), dtype=np.float64)


def _bins(chance: NDArray[np.float64], bins: int) -> list[NDArray[np.int64]]:
    """Numbers of the items of each bin, by rising prediction."""
    if not len(chance) or bins < 1:
        message = f"calibration needs items and a bin, not {len(chance)} items in {bins} bins"
        raise ValueError(message)
    order = np.argsort(chance, kind="stable")
    ranked = chance[order]
    cuts = {0, len(chance)}
    for number in range(1, bins):
        cut = round(number * len(chance) / bins)
        # Move a cut that would tear equal predictions apart to where they begin.
        cuts.add(int(np.searchsorted(ranked, ranked[min(cut, len(ranked) - 1)], side="left")))
    ends = sorted(cuts)
    return [order[a:b] for a, b in pairwise(ends)]


def _pair(
    predicted: ArrayLike, outcomes: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    chance = _shares(predicted, "predicted", None)
    return chance, _shares(outcomes, "outcomes", len(chance))


def _shares(values: ArrayLike, name: str, length: int | None) -> NDArray[np.float64]:
    vector = finite_vector(values, name)
    if length is not None and len(vector) != length:
        message = f"{length} predictions need as many outcomes, not {len(vector)}"
        raise ValueError(message)
    bad = np.flatnonzero((vector < 0) | (vector > 1))
    if len(bad):
        message = f"{name}[{bad[0]}] is {vector[bad[0]]}, outside [0, 1]"
        raise ValueError(message)
    return vector
