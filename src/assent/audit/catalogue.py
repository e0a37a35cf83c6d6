"""All audits, in the order they are listed and run."""

from collections.abc import Sequence

from assent.audit.alignment_tax import AlignmentTax
from assent.audit.are_you_sure import AreYouSure
from assent.audit.diversity import Diversity
from assent.audit.feedback_data import FeedbackData
from assent.audit.honesty import Honesty
from assent.audit.kl_accounting import KlAccounting
from assent.audit.length import Length
from assent.audit.over_optimisation import OverOptimisation
from assent.audit.reward_model import RewardModel
from assent.audit.subject import AnyAudit
from assent.audit.sycophancy import Sycophancy
from assent.audit.whose_values import WhoseValues
from assent.errors import AuditError

AUDITS: tuple[AnyAudit, ...] = (
    OverOptimisation(),
    KlAccounting(),
    RewardModel(),
    Sycophancy(),
    AreYouSure(),
    Honesty(),
    AlignmentTax(),
    Diversity(),
    Length(),
    FeedbackData(),
    WhoseValues(),
)


def choose_audits(names: Sequence[str]) -> list[AnyAudit]:
    """The audits of these names in the catalogue's order; all of them if none is named.

    Raises:
        AuditError: lists the known ones.
    """
    known = {audit.name: audit for audit in AUDITS}
    for name in names:
        if name not in known:
            message = f"no audit is called {name!r}; choose from {', '.join(known)}"
            raise AuditError(message)
    return [audit for name, audit in known.items() if not names or name in names]
