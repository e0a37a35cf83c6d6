"""What need not be looked at again when somebody fetches a task.

Tasks are handed out oldest first, so the older ones that still have room are mostly those which a
person has answered: walking over them at each fetch takes longer the more they did. What was
passed over for a person stays so until a task becomes free again, which is told here. As other
processes may free tasks too, nothing is remembered for longer than a minute.
"""

from collections.abc import Collection
from typing import Final

from assent.collect.leasing import Monotonic

REMEMBERED_SECONDS: Final = 60.0


class PassedOver:
    """Positions up to which there is nothing for a person; calls come one at a time.

    Args:
        monotonic: seconds that never run backwards.
    """

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._until: dict[tuple[str, str], tuple[int, float]] = {}
        self._ended: set[str] = set()

    def after(self, annotator_id: str, what: str) -> int:
        """The position after which to look for `what`, a kind of task; 0 is the beginning."""
        position, since = self._until.get((annotator_id, what), (0, 0.0))
        return position if self._monotonic() - since < REMEMBERED_SECONDS else 0

    def passed(
        self, annotator_id: str, what: str, position: int, besides: Collection[str] = ()
    ) -> None:
        """There is nothing for this person up to a position, but for the leases in `besides`."""
        if not self._ended.isdisjoint(besides):
            return
        _, since = self._until.get((annotator_id, what), (0, self._monotonic()))
        if self._monotonic() - since >= REMEMBERED_SECONDS:
            since = self._monotonic()
        self._until[annotator_id, what] = (position, since)

    def forget(self, annotator_id: str) -> None:
        """Look at everything again for somebody."""
        for person, what in list(self._until):
            if person == annotator_id:
                del self._until[person, what]

    def freed(self, position: int, lease_id: str) -> None:
        """The task at a position was in somebody's hands under a lease, and may be handed out."""
        self._ended.add(lease_id)
        for key, (until, since) in list(self._until.items()):
            if until >= position:
                self._until[key] = (position - 1, since)

    def look_again(self) -> None:
        """Look at everything again for everybody."""
        self._until.clear()

    def taken_up(self, lease_id: str) -> None:
        """A lease that had ended goes on."""
        self._ended.discard(lease_id)
