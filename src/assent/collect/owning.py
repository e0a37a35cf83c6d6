"""Whose task and whose answer it is: what is another person's does not exist."""

from assent.errors import AlreadySuperseded, UnknownRecord
from assent.store import Lease, StoredEvent, WorkView


def own_lease(view: WorkView, annotator_id: str, lease_id: str) -> Lease:
    """A lease of this person's.

    Raises:
        UnknownRecord: there is none with this id.
    """
    lease = view.lease(lease_id)
    if lease.annotator_id != annotator_id:
        message = f"leases has no record {lease_id}"
        raise UnknownRecord(message)
    return lease


def own_answer(view: WorkView, annotator_id: str, id_: str) -> StoredEvent:
    """An answer that this person gave here, whatever became of it.

    Raises:
        UnknownRecord: there is none with this id.
    """
    event = view.event(id_)
    if (
        event is None
        or event.annotator_id != annotator_id
        or event.kind == "retract"
        or "lease" not in event.payload.get("context", {})
    ):
        message = f"answers has no record {id_}"
        raise UnknownRecord(message)
    return event


def answered_lease(view: WorkView, annotator_id: str, id_: str, old: str) -> Lease:
    """The lease whose answer `old` is to be replaced, or was by the event `id_` of this request.

    Raises:
        UnknownRecord: no such answer of this person's.
        AlreadySuperseded: it was edited or undone before.
    """
    event = own_answer(view, annotator_id, id_)
    lease = view.lease(str(event.payload["context"]["lease"]))
    if id_ == old and (lease.state != "submitted" or lease.event_id != old):
        message = f"answer {old} was edited or undone before; look at what stands now"
        raise AlreadySuperseded(message)
    return lease


def why_closed(lease: Lease, otherwise: str) -> str:
    """Why a lease takes no answer, or `otherwise` where it only ran out."""
    said = {
        "submitted": "this task was answered; edit the answer in your history",
        "skipped": "this task was skipped",
        "released": "this task was handed back",
        "undone": "this answer was taken back; the task came back under a new lease",
    }
    return said.get(lease.state, otherwise)
