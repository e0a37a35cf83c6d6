"""Settings of the audits: which run after a round, how much is asked, and what would matter."""

from pydantic import Field

from assent.config.base import Fraction, OpenFraction, PositiveFloat, PositiveInt, Settings
from assent.config.rewards import RewardSource


class AuditMargins(Settings):
    """The smallest difference from the baseline that would matter, declared before measuring."""

    share: PositiveFloat = 0.1
    """For shares and probabilities, and differences between them."""
    loss_nats: PositiveFloat = 0.05
    """For the loss on text, in nats a token."""
    figures: dict[str, PositiveFloat] = Field(default={})
    """For single figures, by `audit/figure`: `"honesty/bluff" = 0.05`."""


class AuditSettings(Settings):
    """What the audits ask and how they decide."""

    after_round: tuple[str, ...] = ()
    """Audits to run after each round, by name; see `assent audit list`."""
    samples: PositiveInt = 8
    """Responses drawn to each question that is answered by sampling."""
    exact: bool = False
    """In the embedded world, put the exact value of each figure beside its estimate."""
    texts: PositiveInt = 128
    """Held-out texts of which the loss is taken."""
    text_file: str | None = None
    """Held-out texts, one a line, relative to the project; the embedded world brings its own."""
    item_file: str | None = None
    """Multiple-choice items as JSON lines, relative to the project; the world brings its own."""
    group_file: str | None = None
    """Groups of annotators as CSV, relative to the project: a column `annotator` (name or id) and
    one for each attribute, such as language; a cell is left empty where it is not known."""
    gold: RewardSource | None = None
    """What is closer to the truth than the reward model and never trained on; the world knows."""
    level: OpenFraction = 0.95
    """Coverage of the intervals; 1 - level is the error that a family of verdicts is held to."""
    most_failed: Fraction = 0.05
    """Above this share of failed items a figure is reported as failed instead of estimated."""
    margins: AuditMargins = Field(default=AuditMargins())
