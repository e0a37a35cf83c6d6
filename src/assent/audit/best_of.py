"""Best-of-n of the reference: what the reward model would pick, and what that is worth.

It costs no training, so it says beforehand how far a reward model can be trusted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assent.audit.curves import gold_reward
from assent.audit.estimating import ends, missing
from assent.audit.evidence import Evidence
from assent.audit.questions import Samples
from assent.audit.respondents import HuggingFaceRespondent
from assent.audit.subject import Estimate
from assent.models.loading import load_causal_lm, load_tokenizer
from assent.models.rewards import checked_rewards
from assent.objectives.seeds import derive_seed
from assent.stats.scaling import GaoFit, Peak, best_of_n, best_of_n_kl, fit_gao

BEST_OF = (1, 2, 4, 8, 16, 32)
BEST_OF_PROMPTS = 24
RESAMPLES = 1000


def best_of_reference(evidence: Evidence) -> tuple[Estimate, dict[str, Any] | str]:
    """Gold of best-of-n by the learned reward, from samples of the reference, and its law.

    Costs no training: it says beforehand how far this reward model can be trusted.
    """
    subject = evidence.subject
    gold, _ = gold_reward(evidence)
    _, proxy = evidence.reward()
    reference = evidence.require_role("reference", "reference")
    folder = evidence.path(reference)
    model = HuggingFaceRespondent(
        load_causal_lm(folder, subject.device), load_tokenizer(folder), reference.weights_sha256
    )
    prompts = evidence.prompts(BEST_OF_PROMPTS)
    texts = [text for text, _, _ in prompts]
    ask = Samples(
        count=max(BEST_OF),
        temperature=subject.sampling.temperature,
        max_new_tokens=subject.sampling.max_new_tokens,
    )
    replies = model.sample(texts, ask, derive_seed(subject.seed, "best of n"))
    asked = [text for text in texts for _ in range(ask.count)]
    said = [text for reply in replies for text in reply.texts]
    shape = (len(texts), ask.count)
    proxies = np.array(checked_rewards(proxy, asked, said)).reshape(shape)
    golds = np.array(checked_rewards(gold, asked, said)).reshape(shape)
    return best_of_n_law(
        proxies, golds, [group for _, group, _ in prompts], level=subject.settings.level
    )


def best_of_n_law(
    proxies: NDArray[np.float64],
    golds: NDArray[np.float64],
    clusters: Sequence[str],
    *,
    level: float,
) -> tuple[Estimate, dict[str, Any] | str]:
    """The curve of best-of-n, without bias from (prompts, samples), and the law fitted to it."""
    sizes = [n for n in BEST_OF if n <= proxies.shape[1]]
    gold = np.array([best_of_n(proxies, golds, n) for n in sizes])
    proxy = np.array([best_of_n(proxies, proxies, n) for n in sizes])
    distances = np.sqrt([best_of_n_kl(n) for n in sizes])
    try:
        fit = fit_gao(
            distances, gold, "best_of_n", clusters=clusters, resamples=RESAMPLES, level=level
        )
    except ValueError as error:
        return missing("peak_best_of_n", str(error)), str(error)
    table = {
        "n": sizes,
        "distance": distances.tolist(),
        "gold": gold.mean(1).tolist(),
        "proxy": proxy.mean(1).tolist(),
        "samples": int(proxies.shape[1]),
        "prompts": len(proxies),
        "kl": "log n - (n - 1) / n, an upper bound where scores tie",
        **law_table(fit),
    }
    return peak_estimate("peak_best_of_n", fit, level), table


def law_table(fit: GaoFit) -> dict[str, Any]:
    """A fit as JSON; infinite ends are None."""
    return {
        "law": fit.law,
        "a": fit.a,
        "a_interval": list(fit.a_interval),
        "b": fit.b,
        "b_interval": list(fit.b_interval),
        "peak": _finite_peak(fit.peak),
        "peak_interval": [float(one) if np.isfinite(one) else None for one in
                          fit.peak_distance_interval],
        "falls_within": fit.falls_within,
        "fitted": fit.fitted.tolist(),
        "residual": fit.residual,
        "points": fit.points,
    }  # fmt: skip


def peak_estimate(name: str, fit: GaoFit | str, level: float) -> Estimate:
    """Where a law puts the peak; missing where it has none, or where no law could be fitted."""
    if isinstance(fit, str):
        return missing(name, fit)
    if not np.isfinite(fit.peak.distance):
        return missing(name, "the fitted law has no peak: gold is still rising")
    return Estimate(
        name=name,
        estimate=fit.peak.distance,
        interval=ends(fit.peak_distance_interval),
        method=f"{100 * level:g} % bootstrap over prompts, weighted least squares",
        n=fit.points,
        problem=None
        if np.isfinite(fit.peak_distance_interval.high)
        else "in some bootstrap samples gold never turns, so the interval has no upper end",
    )


def _finite_peak(peak: Peak) -> dict[str, float | None]:
    return {
        name: float(value) if np.isfinite(value) else None for name, value in peak._asdict().items()
    }
