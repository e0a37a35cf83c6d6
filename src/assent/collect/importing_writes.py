"""Imported records as rows of the store: one batch of them at a time, each row at most once.

An event's idempotency key is the hash of what its record says and how often the same was said
before in the file, so the same file gives the same events again, whichever rows a process that was
killed had written already. Two responses are stored in the order of their hashes: the order in many
files says who won, and one pair in two orders is one comparison. Where a file's order is the one
that the annotator saw, the event's context keeps it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from assent.collect.judging import BY_MODEL
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
from assent.store import (
    AnnotatorKind,
    NewComparison,
    NewCriticism,
    NewDemonstration,
    NewJudgement,
    NewRanking,
    NewRating,
    NewResponse,
    NewResponseSet,
    Recorded,
    ShownOrder,
    Store,
)
from assent.store.identity import canonical_json
from assent.types import Prompt, Split, Verdict

PURPOSES: Final[dict[Split, str]] = {
    "train": "reward",
    "validation": "validation",
    "test": "test",
}
"""Of comparisons and rankings, by the split of their prompt: only `reward` is trained on; what
models judged has a purpose of its own in its place."""

UNNAMED = "unnamed"
"""Stands for the annotators of a file that names none."""

THUMBS = "good"
"""The axis of thumbs: 1 is up, 0 is down."""

WORDS: Final[dict[type[AnyRecord], str]] = {
    PromptRecord: "prompts",
    DemonstrationRecord: "demonstrations",
    ComparisonRecord: "comparisons",
    RankingRecord: "rankings",
    RatingRecord: "ratings",
    UnpairedRecord: "thumbs",
    FeedbackRecord: "criticisms",
}
"""What each kind of record is called in counts."""

_SWAPPED: Final[dict[Verdict, Verdict]] = {"first": "second", "second": "first"}


_Row = tuple[AnyRecord, Prompt, str]
"""A record, its prompt, and the prompt's id."""


@dataclass(frozen=True, slots=True)
class Item:
    """A record that is fit to be stored, and the prompt that it is about."""

    record: AnyRecord
    prompt: Prompt


@dataclass(slots=True)
class Counts:
    """What became of the records, by `WORDS`."""

    added: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    """Stored before, by an earlier import or an earlier row that says the same."""


class Writer:
    """Writes batches; remembers what the batches before said."""

    def __init__(
        self,
        store: Store,
        *,
        source: str,
        annotator_kind: AnnotatorKind,
        order_is_shown: bool,
    ) -> None:
        self._store = store
        self._source = source.replace("/", "-")  # a slash ends it in an annotator's name
        self._annotator_kind: AnnotatorKind = annotator_kind
        self._order_is_shown = order_is_shown
        self._annotators: dict[str, str] = {}
        self._prompt_ids = {one.id for one in store.prompts()}
        self._said: Counter[bytes] = Counter()
        self.counts = Counts()

    @property
    def annotators(self) -> int:
        """How many annotators were met so far."""
        return len(self._annotators)

    def write(self, items: Sequence[Item]) -> None:
        """Store a batch. A failure in the middle leaves rows that the next import finds there."""
        if not items:
            return
        prompts = self._store.add_prompts([item.prompt for item in items])
        by_kind: dict[str, list[_Row]] = {}
        for item, id_ in zip(items, prompts, strict=True):
            by_kind.setdefault(WORDS[type(item.record)], []).append((item.record, item.prompt, id_))
        self._count_prompts(id_ for _, _, id_ in by_kind.get("prompts", ()))
        self._prompt_ids.update(prompts)
        rated = [*by_kind.get("ratings", []), *by_kind.get("thumbs", [])]
        for rows, write in (
            (by_kind.get("demonstrations"), self._write_demonstrations),
            (by_kind.get("comparisons"), self._write_comparisons),
            (by_kind.get("rankings"), self._write_rankings),
            (rated, self._write_ratings),
            (by_kind.get("criticisms"), self._write_criticisms),
        ):
            if rows:
                write(rows)

    def _count_prompts(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            side = self.counts.known if id_ in self._prompt_ids else self.counts.added
            side["prompts"] += 1
            self._prompt_ids.add(id_)

    def _count(self, records: Iterable[AnyRecord], recorded: Sequence[Recorded]) -> None:
        for record, one in zip(records, recorded, strict=True):
            side = self.counts.known if one.replayed else self.counts.added
            side[WORDS[type(record)]] += 1

    def _annotator(self, record: AnyRecord) -> str:
        worker = getattr(record, "annotator", None) or UNNAMED
        name = f"import/{self._source}/{worker}"
        if name not in self._annotators:
            self._annotators[name] = self._store.add_annotator(name, self._annotator_kind)
        return self._annotators[name]

    def _purpose(self, prompt: Prompt) -> str:
        if self._annotator_kind == "model" and prompt.split == "train":
            return BY_MODEL
        return PURPOSES[prompt.split]

    def _key(self, record: AnyRecord, prompt: str, annotator: str, *said: object) -> str:
        content = canonical_json([WORDS[type(record)], prompt, *said, dict(record.meta)])
        digest = hashlib.sha256(content.encode()).hexdigest()[:32]
        return f"import/{digest}/{self._times(annotator, digest)}"

    def _times(self, *said: str) -> int:
        """How often exactly this was said before."""
        digest = _digest(*said)
        self._said[digest] += 1
        return self._said[digest] - 1

    def _responses(self, texts: Sequence[tuple[str, str, int]]) -> list[str]:
        return self._store.add_responses(
            [
                NewResponse(prompt_id=prompt, text=text, origin="import", index=index)
                for prompt, text, index in texts
            ]
        )

    def _write_demonstrations(self, rows: Sequence[_Row]) -> None:
        new = []
        for record, _, prompt_id in rows:
            assert isinstance(record, DemonstrationRecord)
            annotator = self._annotator(record)
            new.append(
                NewDemonstration(
                    prompt_id=prompt_id,
                    text=record.response,
                    annotator_id=annotator,
                    idempotency_key=self._key(record, prompt_id, annotator, record.response),
                    context=kept(record),
                )
            )
        self._count((row[0] for row in rows), self._store.record_demonstrations(new))

    def _write_comparisons(self, rows: Sequence[_Row]) -> None:
        sided = []
        for record, prompt, prompt_id in rows:
            assert isinstance(record, ComparisonRecord)
            sided.append(self._sided(record, prompt, prompt_id))
        responses = self._responses(
            [(one.prompt_id, text, 0) for one in sided for text in one.responses]
        )
        comparisons = self._store.add_comparisons(
            [
                NewComparison(
                    prompt_id=one.prompt_id,
                    first_response_id=responses[2 * at],
                    second_response_id=responses[2 * at + 1],
                    shown_order="first_left",
                    purpose=one.purpose,
                    index=one.index,
                )
                for at, one in enumerate(sided)
            ]
        )
        recorded = self._store.record_judgements(
            [
                NewJudgement(
                    comparison_id=comparison,
                    annotator_id=one.annotator,
                    verdict=one.verdict,
                    idempotency_key=one.key,
                    strength=one.record.strength,
                    margin=_float(one.record.margin),
                    confidence=_float(one.record.confidence),
                    flags=one.record.flags,
                    note=one.record.note,
                    context=one.context,
                )
                for comparison, one in zip(comparisons, sided, strict=True)
            ]
        )
        self._count((row[0] for row in rows), recorded)

    def _sided(self, record: ComparisonRecord, prompt: Prompt, prompt_id: str) -> "_Sided":
        annotator = self._annotator(record)
        first, second = record.responses
        verdict = record.verdict
        left: ShownOrder = "first_left"
        if _digest(first) > _digest(second):
            first, second, verdict = second, first, _SWAPPED.get(verdict, verdict)
            left = "second_left"
        context = kept(record)
        if self._order_is_shown:
            context["shown_order"] = left
        key = self._key(
            record,
            prompt_id,
            annotator,
            [first, second],
            [verdict, left if self._order_is_shown else None],
            [record.strength, _float(record.margin), _float(record.confidence)],
            [record.note, list(record.flags)],
        )
        return _Sided(
            record=record,
            prompt_id=prompt_id,
            annotator=annotator,
            responses=(first, second),
            verdict=verdict,
            purpose=self._purpose(prompt),
            index=self._times("pair", annotator, prompt_id, first, second),
            key=key,
            context=context,
        )

    def _write_rankings(self, rows: Sequence[_Row]) -> None:
        texts: list[tuple[str, str, int]] = []
        asked: list[tuple[RankingRecord, str, str, int]] = []
        for record, _, prompt_id in rows:
            assert isinstance(record, RankingRecord)
            annotator = self._annotator(record)
            texts += [(prompt_id, text, 0) for text in record.responses]
            again = self._times("set", annotator, prompt_id, *sorted(record.responses))
            said = [list(record.responses), list(record.ranks), record.note, list(record.flags)]
            asked.append((record, annotator, self._key(record, prompt_id, annotator, *said), again))
        ids = iter(self._responses(texts))
        members = [tuple(next(ids) for _ in record.responses) for record, *_ in asked]
        sets = self._store.add_response_sets(
            [
                NewResponseSet(
                    prompt_id=prompt_id,
                    response_ids=tuple(sorted(responses)),
                    purpose=self._purpose(prompt),
                    index=again,
                )
                for (_, prompt, prompt_id), (*_, again), responses in zip(
                    rows, asked, members, strict=True
                )
            ]
        )
        recorded = self._store.record_rankings(
            [
                NewRanking(
                    response_set_id=set_,
                    annotator_id=annotator,
                    ranks=dict(zip(responses, dense(record.ranks), strict=True)),
                    idempotency_key=key,
                    note=record.note,
                    flags=record.flags,
                    context=kept(record),
                )
                for set_, (record, annotator, key, _), responses in zip(
                    sets, asked, members, strict=True
                )
            ]
        )
        self._count((row[0] for row in rows), recorded)

    def _write_ratings(self, rows: Sequence[_Row]) -> None:
        texts: list[tuple[str, str, int]] = []
        said: list[tuple[str, str, dict[str, float], bool]] = []
        for record, _, prompt_id in rows:
            assert isinstance(record, RatingRecord | UnpairedRecord)
            annotator = self._annotator(record)
            is_thumb = isinstance(record, UnpairedRecord)
            axes = (
                {THUMBS: float(record.good)}
                if isinstance(record, UnpairedRecord)
                else {axis: float(value) for axis, value in record.axes.items()}
            )
            # An annotator has one rating of a response: the same text rated again is another one.
            again = self._times("rated", annotator, prompt_id, record.response)
            texts.append((prompt_id, record.response, again))
            remarks = [getattr(record, "note", None), list(getattr(record, "flags", ()))]
            key = self._key(record, prompt_id, annotator, record.response, axes, remarks)
            said.append((annotator, key, axes, is_thumb))
        recorded = self._store.record_ratings(
            [
                NewRating(
                    response_id=response,
                    annotator_id=annotator,
                    axes=axes,
                    idempotency_key=key,
                    lowest=0.0 if is_thumb else None,
                    highest=1.0 if is_thumb else None,
                    note=getattr(row[0], "note", None),
                    flags=getattr(row[0], "flags", ()),
                    context=kept(row[0]),
                )
                for response, row, (annotator, key, axes, is_thumb) in zip(
                    self._responses(texts), rows, said, strict=True
                )
            ]
        )
        self._count((row[0] for row in rows), recorded)

    def _write_criticisms(self, rows: Sequence[_Row]) -> None:
        new: list[FeedbackRecord] = []
        texts: list[tuple[str, str, int]] = []
        for record, _, prompt_id in rows:
            assert isinstance(record, FeedbackRecord)
            new.append(record)
            texts.append((prompt_id, record.response, 0))
        criticisms = []
        for record, response, (prompt_id, *_) in zip(
            new, self._responses(texts), texts, strict=True
        ):
            annotator = self._annotator(record)
            said = [record.response, record.criticism, record.refinement]
            criticisms.append(
                NewCriticism(
                    response_id=response,
                    annotator_id=annotator,
                    text=record.criticism,
                    refinement=record.refinement,
                    idempotency_key=self._key(record, prompt_id, annotator, *said),
                    context=kept(record),
                )
            )
        self._count(new, self._store.record_criticisms(criticisms))


@dataclass(frozen=True, slots=True)
class _Sided:
    """A comparison with its sides as they are stored."""

    record: ComparisonRecord
    prompt_id: str
    annotator: str
    responses: tuple[str, str]
    verdict: Verdict
    purpose: str
    index: int
    key: str
    context: dict[str, Any]


def kept(record: AnyRecord) -> dict[str, Any]:
    """The context of an event: what the file said besides, under `file`."""
    return {"file": dict(record.meta)} if record.meta else {}


def dense(ranks: Sequence[int]) -> list[int]:
    """The same order with ranks 0, 1, 2 …, ties sharing one."""
    places = {rank: place for place, rank in enumerate(sorted(set(ranks)))}
    return [places[rank] for rank in ranks]


def _float(number: float | None) -> float | None:
    """One spelling of a number: a file's 7 and another's 7.0 say the same."""
    return None if number is None else float(number)


def _digest(*said: str) -> bytes:
    return hashlib.blake2b("\0".join(said).encode(), digest_size=16).digest()
