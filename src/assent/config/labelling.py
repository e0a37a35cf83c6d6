"""Settings of labelling: what people are asked, how often, and how long they may take."""

from pydantic import Field

from assent.config.base import Fraction, PositiveInt, Settings


class LabellingSettings(Settings):
    """How tasks are handed to people in the browser."""

    overlap: PositiveInt = 1
    """How many people's answers count for a task; what comes late beyond that is kept, marked."""
    repeat_share: Fraction = 0.05
    """Of the comparisons a person gets, those they judged before, shown with the sides swapped."""
    check_share: Fraction = 0.05
    """Of the tasks a person gets, those with a known answer, while there are any left to them."""
    look_up_share: Fraction = 0.5
    """Of the tasks, those whose judge may look the fact up, where the world has a place to."""
    lease_minutes: PositiveInt = 30
    """How long a task stays in somebody's hands without a sign of life."""
    leases_per_person: PositiveInt = 4
    """How many tasks one person may hold at a time: the one on the screen and those prefetched."""
    axes: tuple[str, ...] = Field(default=("helpful", "honest", "harmless"), min_length=1)
    """What ratings are about; each is rated from 1 to 7."""
    session_idle_hours: PositiveInt = 12
    """A session that was not used for so long ends."""
    session_days: PositiveInt = 14
    """A session ends after so long, used or not."""
    invitation_days: PositiveInt = 7
    """An invitation that was not used for so long is void."""
