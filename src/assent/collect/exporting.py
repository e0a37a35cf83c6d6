"""A project's feedback as another project's file, with what the format has no place for counted.

Two responses are written in the order shown, where the format does not say who won by their order.
People appear under pseudonyms; annotators of imported files under the names they had there.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from assent.collect.importing_writes import THUMBS, UNNAMED
from assent.errors import DataError, UnknownRecord
from assent.formats.catalogue import format_named
from assent.formats.records import (
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    FeedbackRecord,
    PromptRecord,
    RankingRecord,
    RatingRecord,
    UnpairedRecord,
)
from assent.formats.writing import Written, write_file_as
from assent.store import (
    EventKind,
    JudgedPair,
    JudgedRanking,
    Store,
    StoredAnnotator,
    StoredEvent,
    StoredPrompt,
)
from assent.types import Split, Verdict

What = Literal["preferences", "rankings", "ratings", "criticisms", "demonstrations", "prompts"]

GIVES: Final[Mapping[What, tuple[type[AnyRecord], ...]]] = {
    "prompts": (PromptRecord,),
    "demonstrations": (DemonstrationRecord,),
    "preferences": (ComparisonRecord,),
    "rankings": (RankingRecord,),
    "ratings": (RatingRecord, UnpairedRecord),
    "criticisms": (FeedbackRecord,),
}
"""What can be asked for, and the records that it gives."""

_SWAPPED: Final[dict[Verdict, Verdict]] = {"first": "second", "second": "first"}


@dataclass(frozen=True, slots=True)
class _Said:
    """What records share: the prompts as stored, and what annotators are called outside."""

    prompts: Mapping[str, StoredPrompt]
    names: Mapping[str, str | None]

    def of(self, prompt_id: str, context: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that every record has."""
        prompt = self.prompts[prompt_id]
        kept = context.get("file", {})
        return {
            "prompt": prompt.text,
            "kind": prompt.kind,
            "source": prompt.source,
            "split": prompt.split,
            "group": prompt.group,
            "meta": kept if isinstance(kept, Mapping) else {},
        }


def export_file(
    store: Store,
    out: Path,
    format_name: str,
    *,
    what: What | None = None,
    snapshot: str | None = None,
    split: Split | None = None,
) -> Written:
    """Write feedback that stands in a format; whole or not at all.

    Args:
        store: of the project.
        out: a file that does not exist; its ending says the kind of file.
        format_name: one that can be written.
        what: of the feedback; everything that the format takes if left out.
        snapshot: the name of one: its judgements and rankings, instead of those that stand now.
        split: only of prompts in this split.

    Raises:
        UnknownFormat: no format has this name, or it is only read.
        DataError: the format takes nothing of this kind, there is none, a snapshot was asked for
            with something that it does not hold, or the file exists.
        UnknownRecord: no snapshot has this name.
        ConfigError: the name says no kind of file.
        DiskFull: no room; nothing is left behind.
    """
    if out.exists():
        message = f"{out} exists; name another file, or remove it"
        raise DataError(message)
    takes = format_named(format_name).takes
    asked = (what,) if what else tuple(one for one, gives in GIVES.items() if _any(gives, takes))
    if what and not _any(GIVES[what], takes):
        able = ", ".join(one for one, gives in GIVES.items() if _any(gives, takes)) or "nothing"
        message = f"{format_name} has no place for {what}; it takes {able}"
        raise DataError(message)
    if snapshot is not None:
        asked = tuple(one for one in asked if one in ("preferences", "rankings"))
        if not asked:
            message = f"a snapshot holds preferences and rankings; {what or format_name} is neither"
            raise DataError(message)
    records = list(records_of(store, asked, snapshot=snapshot, split=split))
    if not records:
        message = f"the project holds no {' and no '.join(asked)}" + (
            f" of {split} prompts" if split else ""
        )
        raise DataError(message)
    return write_file_as(out, format_name, records)


def records_of(
    store: Store,
    what: Sequence[What],
    *,
    snapshot: str | None = None,
    split: Split | None = None,
) -> Iterator[AnyRecord]:
    """The feedback that stands, or a snapshot's, as records in the order it was given."""
    said = _Said({one.id: one for one in store.prompts()}, pseudonyms(store.annotators()))
    readers: dict[What, Callable[[], Iterator[AnyRecord]]] = {
        "prompts": lambda: _prompts(said),
        "demonstrations": lambda: _demonstrations(store, said),
        "preferences": lambda: _comparisons(store, said, snapshot),
        "rankings": lambda: _rankings(store, said, snapshot),
        "ratings": lambda: _ratings(store, said),
        "criticisms": lambda: _criticisms(store, said),
    }
    for one in what:
        for record in readers[one]():
            if split is None or record.split == split:
                yield record


def pseudonyms(annotators: Sequence[StoredAnnotator]) -> dict[str, str | None]:
    """What annotators are called outside the project, by id; None for one that had no name.

    Programs keep their names and people get `person-` and the beginning of their id. An annotator
    of an imported file has the name of that file again, with the file's where two files share it.
    """
    workers = {one.id: _imported(one.name) for one in annotators}
    shared = Counter(worker for _, worker in filter(None, workers.values()))
    names: dict[str, str | None] = {}
    for one in annotators:
        imported = workers[one.id]
        if imported is None:
            names[one.id] = f"person-{one.id[:8]}" if one.kind == "human" else one.name
            continue
        source, worker = imported
        if worker == UNNAMED:
            names[one.id] = None
        else:
            names[one.id] = worker if shared[worker] == 1 else f"{source}/{worker}"
    return names


def _imported(name: str) -> tuple[str, str] | None:
    """Source and worker of `import/<source>/<worker>`."""
    parts = name.split("/", 2)
    return (parts[1], parts[2]) if len(parts) == 3 and parts[0] == "import" else None


def _any(gives: Sequence[type[AnyRecord]], takes: Sequence[type[Any]]) -> bool:
    return any(one in takes for one in gives)


def _prompts(said: _Said) -> Iterator[AnyRecord]:
    for one in said.prompts.values():
        yield PromptRecord(**said.of(one.id, {}))


def _demonstrations(store: Store, said: _Said) -> Iterator[AnyRecord]:
    for one in store.demonstrations():
        yield DemonstrationRecord(
            **said.of(one.prompt_id, one.context),
            response=one.response,
            annotator=said.names[one.annotator_id],
        )


def _comparisons(store: Store, said: _Said, snapshot: str | None) -> Iterator[AnyRecord]:
    for one in _judged(store, snapshot):
        responses, verdict = (one.first, one.second), one.verdict
        if one.shown_order == "second_left":
            responses, verdict = (one.second, one.first), _SWAPPED.get(verdict, verdict)
        yield ComparisonRecord(
            **said.of(one.prompt_id, one.context),
            responses=responses,
            verdict=verdict,
            strength=one.strength,
            margin=one.margin,
            confidence=one.confidence,
            annotator=said.names[one.annotator_id],
            note=one.note,
            flags=one.flags,
        )


def _judged(store: Store, snapshot: str | None) -> Iterator[JudgedPair]:
    if snapshot is not None:
        yield from store.judged_pairs(snapshot_named(store, snapshot))
        return
    asked = {one.id: one for one in store.comparisons()}
    for event in _standing(store, "judgement"):
        one, payload = asked[str(event.comparison_id)], event.payload
        context = payload.get("context", {})
        yield JudgedPair(
            event_id=event.id,
            seq=event.seq,
            comparison_id=one.id,
            annotator_id=event.annotator_id,
            prompt_id=one.prompt_id,
            prompt=one.prompt,
            first=one.first,
            second=one.second,
            shown_order=context.get("shown_order", one.shown_order),
            verdict=payload["verdict"],
            strength=payload.get("strength"),
            round=one.round,
            margin=payload.get("margin"),
            confidence=payload.get("confidence"),
            flags=tuple(payload.get("flags", ())),
            note=payload.get("note"),
            context=context,
        )


def _rankings(store: Store, said: _Said, snapshot: str | None) -> Iterator[AnyRecord]:
    for one in _ranked(store, snapshot):
        yield RankingRecord(
            **said.of(one.prompt_id, one.context),
            responses=one.responses,
            ranks=one.ranks,
            annotator=said.names[one.annotator_id],
            note=one.note,
            flags=one.flags,
        )


def _ranked(store: Store, snapshot: str | None) -> Iterator[JudgedRanking]:
    if snapshot is not None:
        yield from store.judged_rankings(snapshot_named(store, snapshot))
        return
    asked = {one.id: one for one in store.response_sets()}
    for event in _standing(store, "ranking"):
        one, payload = asked[str(event.response_set_id)], event.payload
        yield JudgedRanking(
            event_id=event.id,
            seq=event.seq,
            response_set_id=one.id,
            annotator_id=event.annotator_id,
            prompt_id=one.prompt_id,
            prompt=one.prompt,
            response_ids=one.response_ids,
            responses=one.responses,
            ranks=tuple(payload["ranks"][id_] for id_ in one.response_ids),
            flags=tuple(payload.get("flags", ())),
            note=payload.get("note"),
            context=payload.get("context", {}),
            round=one.round,
        )


def _ratings(store: Store, said: _Said) -> Iterator[AnyRecord]:
    for one in store.ratings():
        shared = said.of(one.prompt_id, one.context)
        annotator = said.names[one.annotator_id]
        if set(one.axes) == {THUMBS} and (one.lowest, one.highest) == (0.0, 1.0):
            yield UnpairedRecord(
                **shared, response=one.response, good=one.axes[THUMBS] == 1.0, annotator=annotator
            )
        else:
            yield RatingRecord(
                **shared,
                response=one.response,
                axes=one.axes,
                annotator=annotator,
                note=one.note,
                flags=one.flags,
            )


def _criticisms(store: Store, said: _Said) -> Iterator[AnyRecord]:
    for one in store.criticisms():
        yield FeedbackRecord(
            **said.of(one.prompt_id, one.context),
            response=one.response,
            criticism=one.text,
            refinement=one.refinement,
            annotator=said.names[one.annotator_id],
        )


def _standing(store: Store, kind: EventKind) -> Iterator[StoredEvent]:
    events = store.events()
    superseded = {event.supersedes for event in events}
    return (event for event in events if event.kind == kind and event.id not in superseded)


def snapshot_named(store: Store, name: str) -> str:
    """The id of the snapshot of this name.

    Raises:
        UnknownRecord: there is none; says which there are.
    """
    snapshots = {one.name: one.id for one in store.snapshots()}
    if name not in snapshots:
        message = f"no snapshot is called {name!r}; there are {', '.join(snapshots) or 'none'}"
        raise UnknownRecord(message)
    return snapshots[name]
