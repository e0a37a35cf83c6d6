"""What can set estimates of one KL apart, in plain words, with what to do."""

from typing import NamedTuple

from assent.audit.stored_samples import Rescored
from assent.audit.subject import Estimate

SAME = 1e-4
"""Nats a token up to which sampled and re-scored log-probabilities count as the same."""
CUT_OFF = 0.05
APART = 3.0
"""Standard errors beyond which k1 and the exact KL of the same samples disagree."""
BIASED = 1.5
"""k2 over the exact KL from which its bias is worth a word."""


class Accounts(NamedTuple):
    """All that the causes are read from."""

    k1: Estimate
    exact: Estimate
    gap: tuple[float, float]
    """Mean of k1 less exact over prompts, and its standard error."""
    k3_gap: tuple[float, float]
    """The same of k3."""
    k2: Estimate
    mismatch: float
    cut_off: float
    largest_ratio: float
    limit: float
    """Of the exponent of k3."""
    max_new_tokens: int
    stored: Rescored | None


def causes(found: Accounts) -> list[dict[str, str]]:
    """What is out of order: the sign, and its likely cause and cure; nothing when all agree."""
    said: list[dict[str, str]] = []

    def say(sign: str, cause: str) -> None:
        said.append({"sign": sign, "cause": cause})

    if found.mismatch > SAME:
        say(
            f"Log-probabilities at sampling differ from those scored again by {found.mismatch:.2g} "
            "nats a token.",
            "What samples is not what is scored: another precision, padding side, dropout or a "
            "sampler that cuts the distribution off. KL and PPO's ratio are wrong until then.",
        )
    if found.stored is not None and found.stored.cause is not None:
        say(
            f"{found.stored.responses} stored responses ({found.stored.engine}) differ from the "
            f"model by {found.stored.mismatch:.2g} nats a token.",
            f"Likely {found.stored.cause}.",
        )
    high = found.k1.interval[1] if found.k1.interval else None
    if high is not None and high < 0:
        say(
            f"k1 is negative beyond doubt ({found.k1.estimate:.3f} nats), and KL cannot be.",
            "The samples are not from the policy that is scored: see the log-probabilities above, "
            "the temperature, and whether responses and masks line up.",
        )
    gap, error = found.gap
    if error > 0 and abs(gap) > APART * error and abs(gap) > SAME:
        say(
            f"k1 lies {gap:+.3f} nats from the exact KL on the same samples "
            f"({abs(gap) / error:.1f} standard errors).",
            "Both are unbiased on samples from the policy; so these are not, or a token of very "
            "small probability is missing from them. Take more samples before trusting k1.",
        )
    if found.largest_ratio > found.limit:
        say(
            f"One token's log-ratio is {found.largest_ratio:.1f} nats, beyond ±{found.limit:g}.",
            "k3 is clamped there and becomes a lower bound; the reference gives that token almost "
            "no probability. Look at the responses with the highest KL.",
        )
    exact = found.exact.estimate or 0.0
    if found.k2.estimate is not None and exact > 0 and found.k2.estimate > BIASED * exact:
        say(
            f"k2 is {found.k2.estimate / exact:.1f} times the exact KL.",
            "The policy is too far from its reference for k2 to measure distance; read k1, k3 or "
            "the exact figure. As a loss it is still the right one.",
        )
    if found.k3_gap[1] > 0 and -found.k3_gap[0] > APART * found.k3_gap[1]:
        say(
            f"k3 lies {-found.k3_gap[0]:.3f} nats below the exact KL on the same samples.",
            "Its mean rests on rare tokens that the reference prefers by far and the policy hardly "
            "ever says, so samples miss them; this far out read k1 or the exact figure.",
        )
    if found.cut_off > CUT_OFF:
        say(
            f"{found.cut_off:.0%} of responses are cut off at {found.max_new_tokens} tokens.",
            "The KL of what they would have gone on to say is not counted; raise "
            "ppo.sampling.max_new_tokens.",
        )
    return said
