r"""Losses that train a policy on judgements directly, without a reward model: DPO's kin, and KTO.

The policy's own implicit reward of a response y to a prompt x is, up to a term of x alone,

.. math:: \beta \log\frac{\pi(y \mid x)}{\pi_0(y \mid x)}

so a comparison says something about the policy itself. A margin `h` is the log-ratio of the chosen
response minus that of the rejected one, in nats; log-ratios are log pi(y|x) - log pi_0(y|x), summed
over a response's tokens, its end included, prompts never. Every function gives one loss a pair, in
nats where it is a likelihood; the caller averages.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, relu


def dpo_losses(margins: Float[Tensor, " pair"], *, beta: float) -> Float[Tensor, " pair"]:
    r"""Direct preference optimisation: the Bradley-Terry likelihood of the implicit rewards.

    .. math:: -\log\sigma(\beta h)

    Where judgements are Bradley-Terry choices of a reward r, the least expected loss is reached by
    pi_0 exp(r / beta) / Z, the optimum of E[r] - beta KL.

    Args:
        margins: h, in nats.
        beta: > 0; what a nat of KL costs, in units of the reward whose differences are log-odds.
            0.1 is usual, 0.05 to 0.5 where it is tuned.

    Source: Rafailov et al. 2023, eq. 7.
    """
    return -logsigmoid(beta * margins)


def conservative_dpo_losses(
    margins: Float[Tensor, " pair"], *, beta: float, label_smoothing: float
) -> Float[Tensor, " pair"]:
    r"""cDPO: each judgement is taken to be the wrong way round with a small probability.

    .. math:: -(1 - \varepsilon)\log\sigma(\beta h) - \varepsilon\log\sigma(-\beta h)

    The loss of one pair is least at beta h = log((1 - eps) / eps): margins stop growing there.

    Args:
        margins: h, in nats.
        beta: as in `dpo_losses`.
        label_smoothing: eps, in [0, 0.5); 0 is DPO.

    Source: Mitchell 2023, "A note on DPO with noisy preferences and relationship to IPO".
    """
    logits = beta * margins
    kept, flipped = -logsigmoid(logits), -logsigmoid(-logits)
    return (1 - label_smoothing) * kept + label_smoothing * flipped


def robust_dpo_losses(
    margins: Float[Tensor, " pair"], *, beta: float, flip_rate: float
) -> Float[Tensor, " pair"]:
    r"""Robust DPO: the expectation over judgements flipped at a known rate is DPO's on clean ones.

    .. math:: \frac{-(1 - \varepsilon)\log\sigma(\beta h) + \varepsilon\log\sigma(-\beta h)}
              {1 - 2\varepsilon}

    One pair's loss has no lower bound; its expectation over flips does.

    Args:
        margins: h, in nats.
        beta: as in `dpo_losses`.
        flip_rate: eps, in [0, 0.5); 0 is DPO.

    Source: Chowdhury, Kini & Natarajan 2024 (arXiv 2403.00409), eq. 12.
    """
    logits = beta * margins
    kept, flipped = -logsigmoid(logits), -logsigmoid(-logits)
    return ((1 - flip_rate) * kept - flip_rate * flipped) / (1 - 2 * flip_rate)


def ipo_losses(margins: Float[Tensor, " pair"], *, beta: float) -> Float[Tensor, " pair"]:
    r"""IPO: margins are pulled to a fixed value rather than without end.

    .. math:: \Bigl(h - \frac{1}{2\beta}\Bigr)^2

    One pair's loss is least at h = 1 / (2 beta); over pairs judged both ways, at the share of wins
    minus a half, over beta.

    Args:
        margins: h, in nats; a token where log-ratios are means (TRL, after the authors' advice), a
            response where they are sums (the paper).
        beta: > 0, tau in the paper.

    Returns:
        In nats squared.

    Source: Azar et al. 2023 (arXiv 2310.12036), eq. 17.
    """
    return (margins - 1 / (2 * beta)).square()


def hinge_losses(margins: Float[Tensor, " pair"], *, beta: float) -> Float[Tensor, " pair"]:
    r"""Hinge: pairs that are ahead by enough teach nothing more (SLiC, on log-ratios).

    .. math:: \max(0,\; 1 - \beta h)

    Args:
        margins: h, in nats.
        beta: > 0; a margin of 1 / beta is enough.

    Source: Zhao et al. 2023, SLiC-HF (arXiv 2305.10425), eq. 1, with the log-ratios of Liu et al.
    2024, RSO (arXiv 2309.06657), eq. 10.
    """
    return relu(1 - beta * margins)


def simpo_losses(
    margins: Float[Tensor, " pair"], *, beta: float, target_margin: float
) -> Float[Tensor, " pair"]:
    r"""SimPO: no reference; the mean log-probability of a token is the reward, with a margin.

    .. math:: -\log\sigma(\beta h - \gamma), \qquad
              h = \frac{\log\pi(y_c \mid x)}{|y_c|} - \frac{\log\pi(y_r \mid x)}{|y_r|}

    Args:
        margins: h, in nats a token, of the policy alone.
        beta: > 0; 2 to 2.5 in the paper, larger than DPO's as h is per token.
        target_margin: gamma, >= 0, in the units of beta h; 0.5 to 1.6 in the paper.

    Source: Meng, Xia & Chen 2024 (arXiv 2405.14734), eq. 6.
    """
    return -logsigmoid(beta * margins - target_margin)


def kto_losses(
    logratios: Float[Tensor, " response"],
    desirable: Float[Tensor, " response"],
    baseline_nats: Float[Tensor, ""],
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Float[Tensor, " response"]:
    r"""KTO: from single responses marked good or bad, by the value people put on gains and losses.

    .. math:: \lambda_D (1 - \sigma(\beta (\ell - z_0))) \text{ if good},\qquad
              \lambda_U (1 - \sigma(\beta (z_0 - \ell))) \text{ if bad}

    Args:
        logratios: l = log pi(y|x) - log pi_0(y|x) of each response, in nats.
        desirable: 1 for a response marked good, 0 for one marked bad.
        baseline_nats: z_0, from `kto_baseline`; no gradient flows into it.
        beta: > 0; 0.1 is usual.
        desirable_weight: lambda_D, >= 0.
        undesirable_weight: lambda_U, >= 0. The paper wants lambda_D n_D / (lambda_U n_U) between 1
            and 4/3, n being the counts of good and bad responses.

    Returns:
        One loss a response, without unit, in [0, lambda].

    Source: Ethayarajh et al. 2024 (arXiv 2402.01306), eq. 8, in the form that TRL trains: the
    constant lambda that the equation subtracts from is written out as 1 - sigma.
    """
    gain = beta * (logratios - baseline_nats.detach())
    good = desirable_weight * (1 - gain.sigmoid())
    bad = undesirable_weight * (1 - (-gain).sigmoid())
    return desirable * good + (1 - desirable) * bad


def kto_baseline(mismatched_logratios: Float[Tensor, " response"]) -> Float[Tensor, ""]:
    r"""KTO's estimate of how far the policy has moved: what both kinds of response are measured by.

    .. math:: z_0 = \max\Bigl(0,\; \frac1m \sum_i
              \log\frac{\pi(y_{j(i)} \mid x_i)}{\pi_0(y_{j(i)} \mid x_i)}\Bigr)

    The responses belong to other prompts, so nothing is sampled; biased, and low in variance.

    Args:
        mismatched_logratios: of prompts with the responses of others, in nats.

    Returns:
        In nats, at least 0, detached.

    Source: Ethayarajh et al. 2024, section 4.1.
    """
    return mismatched_logratios.detach().mean().clamp(min=0)
