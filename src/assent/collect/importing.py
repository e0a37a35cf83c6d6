"""Other projects' feedback into a project: every record once, in one split, or counted as dropped.

A record becomes what the store has for it: a comparison with its judgement, a response set with its
ranking, a rating, a criticism with its refinement, a demonstration, a prompt. Annotators are stored
under the pseudonym `import/<source>/<worker>`. Importing the same file again adds nothing, and an
import that was killed in the middle is finished by running it again.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from transformers import AutoConfig, PreTrainedTokenizerBase

from assent.collect.importing_splits import Placement
from assent.collect.importing_writes import Item, Writer
from assent.errors import DataError
from assent.formats.catalogue import format_named
from assent.formats.reading import Inspection, inspect_file, read_file
from assent.formats.records import (
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    FeedbackRecord,
    Problem,
    RankingRecord,
    RatingRecord,
    UnpairedRecord,
)
from assent.models.loading import open_tokenizer
from assent.models.tokens import encode_prompts
from assent.store import AnnotatorKind, Project, Store
from assent.store.identity import require_text
from assent.store.recording import LONGEST_NAME
from assent.store.response_sets import MOST
from assent.types import ChatPrompt, Progress, ProgressTask, PromptKind, SilentProgress, Split

BATCH = 500
"""Records written at a time, in a transaction for each table."""

TOO_LONG = "prompt longer than the model's context"

SHOWN = 3
"""Rows named for each reason to drop some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the project's model can read, so that prompts beyond it are reported."""

    tokenizer: PreTrainedTokenizerBase
    tokens: int
    """The longest prompt that leaves room for one token of a response."""

    @classmethod
    def of(cls, project: Project) -> Self | None:
        """What the first model of a project reads; None where it has none.

        Raises:
            NotAModel: its folder holds no model that can be read.
        """
        versions = (one for one in project.store.model_versions() if one.stage != "reward")
        first = next(versions, None)
        if first is None:
            return None
        folder = project.root / first.path
        return cls(tokenizer=open_tokenizer(folder), tokens=positions_of(folder) - 1)

    def lengths(self, prompts: Sequence[str]) -> list[int | DataError]:
        """Tokens of each prompt, or why the model cannot read it."""
        try:
            return [len(ids) for ids in encode_prompts(self.tokenizer, prompts)]
        except DataError as error:
            if len(prompts) == 1:
                return [error]
        return [length for prompt in prompts for length in self.lengths([prompt])]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What a file may leave unsaid; what the project knows of a prompt already wins over all."""

    source: str
    """Names the prompts that no row names, and the annotators; the file's name is a good one."""
    split: Split | None = None
    """Where prompts go; without it where the file says, and else by the hash of their group."""
    kind: PromptKind | None = None
    """Of the prompts; without it what the file says, and else `plain`."""
    annotator_kind: AnnotatorKind = "human"
    """Who judged: `model` for AI feedback."""
    context: Context | None = None
    """The model that is to read the prompts; without it none counts as too long."""
    order_is_shown: bool = False
    """Whether the file names two responses in the order in which the annotator saw them."""


@dataclass(slots=True, kw_only=True)
class Dropped:
    """Rows that were left out for one reason; `first` are lines that name the first of them."""

    reason: str
    count: int = 0
    first: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Imported:
    """What an import did; `added` and `known` count records by `importing_writes.WORDS`."""

    source: str
    added: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    """Records that were there already, from an earlier import or an earlier row."""
    prompts: dict[Split, int] = field(default_factory=dict)
    """New prompts by split; prompts of judgements count too."""
    stayed: int = 0
    """Records whose prompt stays in the split it was in, though another was asked for."""
    annotators: int = 0
    dropped: list[Dropped] = field(default_factory=list)
    too_long: Dropped | None = None
    """Records whose prompt the model cannot read whole: stored, and left out of training there."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "source": self.source,
            "added": self.added,
            "known": self.known,
            "prompts": self.prompts,
            "stayed_in_their_split": self.stayed,
            "annotators": self.annotators,
            "dropped": [asdict(one) for one in self.dropped],
            "too_long": asdict(self.too_long) if self.too_long else None,
        }


def positions_of(folder: Path) -> int:
    """How many tokens the model in a folder reads at once, by its configuration alone."""
    config = AutoConfig.from_pretrained(folder).get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else sys.maxsize


def import_file(
    store: Store,
    path: Path,
    *,
    format_name: str | None = None,
    source: str | None = None,
    split: Split | None = None,
    kind: PromptKind | None = None,
    annotator_kind: AnnotatorKind = "human",
    context: Context | None = None,
    progress: Progress | None = None,
) -> tuple[Inspection, Imported]:
    """Import a file, which is read once before anything is written: a broken one changes nothing.

    Args:
        store: of the project.
        path: a file, or a folder that `save_to_disk` wrote.
        format_name: its format; without one it is detected.
        source: see `ImportOptions`; without one the file's name.
        split: see `ImportOptions`.
        kind: see `ImportOptions`.
        annotator_kind: see `ImportOptions`.
        context: see `ImportOptions`.
        progress: shows the rows.

    Returns:
        What the file holds, and what became of it.

    Raises:
        UnreadableFile: it is missing, empty or broken; nothing was written.
        UnknownFormat: no format has its columns, or none has this name; nothing was written.
        DataError: it holds no record at all; nothing was written.
        DiskFull, ProjectBusy, StoreError: what was written before is whole; import it again.
    """
    inspected = inspect_file(path, format_name)
    total = sum(inspected.counts.values()) + sum(one.count for one in inspected.dropped)
    if not inspected.counts:
        first = inspected.dropped[0].first[0] if inspected.dropped else "no row has a record"
        message = f"{path} holds nothing to import: {first}"
        raise DataError(message)
    options = ImportOptions(
        source=source or path.name,
        split=split,
        kind=kind,
        annotator_kind=annotator_kind,
        context=context,
        order_is_shown=format_named(inspected.format).order_is_shown,
    )
    with (progress or SilentProgress()).task(f"import {path.name}", total) as bar:
        return inspected, import_records(store, read_file(path, inspected.format), options, bar)


def import_records(
    store: Store,
    records: Iterable[AnyRecord | Problem],
    options: ImportOptions,
    bar: ProgressTask | None = None,
) -> Imported:
    """Store records, a batch at a time; problems, and records that cannot be used, are counted.

    Raises:
        DataError: the source's name cannot be stored.
        DiskFull, ProjectBusy, StoreError: what was written before is whole; import them again.
    """
    require_text(options.source, "source")
    placement = Placement(
        store.prompts(), source=options.source, split=options.split, kind=options.kind
    )
    writer = Writer(
        store,
        source=options.source,
        annotator_kind=options.annotator_kind,
        order_is_shown=options.order_is_shown,
    )
    result = Imported(source=options.source)
    drops: dict[str, Dropped] = {}
    long: dict[str, Dropped] = {}
    fresh: Counter[Split] = Counter()
    for batch in _batches(records):
        items: list[Item] = []
        for record in _readable(batch, options.context, drops, long):
            placed = placement.place(record)
            result.stayed += placed.stays
            fresh[placed.prompt.split] += not placed.is_known
            items.append(Item(record, placed.prompt))
        writer.write(items)
        if bar is not None:
            bar.advance(len(batch))
    result.added, result.known = dict(writer.counts.added), dict(writer.counts.known)
    result.prompts = {split: count for split, count in fresh.items() if count}
    result.annotators = writer.annotators
    result.dropped = sorted(drops.values(), key=lambda one: -one.count)
    result.too_long = long.get(TOO_LONG)
    return result


def _batches(records: Iterable[AnyRecord | Problem]) -> Iterator[list[AnyRecord | Problem]]:
    batch: list[AnyRecord | Problem] = []
    for record in records:
        batch.append(record)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _readable(
    batch: Sequence[AnyRecord | Problem],
    context: Context | None,
    drops: dict[str, Dropped],
    long: dict[str, Dropped],
) -> list[AnyRecord]:
    """The records that can be stored and read; the others are counted, and long ones too."""
    records = []
    for one in batch:
        problem = one if isinstance(one, Problem) else _unfit(one)
        if problem is not None:
            _drop(drops, problem)
        elif not isinstance(one, Problem):
            records.append(one)
    if context is None or not records:
        return records
    lengths = context.lengths([one.prompt for one in records])
    kept = []
    for record, length in zip(records, lengths, strict=True):
        if isinstance(length, DataError):
            _drop(drops, Problem(record.where, "the model cannot read the prompt", str(length)))
            continue
        kept.append(record)
        if length > context.tokens:
            detail = f"the prompt has {length} tokens and the model reads {context.tokens}"
            _drop(long, Problem(record.where, TOO_LONG, detail))
    return kept


def _drop(drops: dict[str, Dropped], problem: Problem) -> None:
    dropped = drops.setdefault(problem.reason, Dropped(reason=problem.reason))
    dropped.count += 1
    if len(dropped.first) < SHOWN:
        dropped.first.append(str(problem))


def _unfit(record: AnyRecord) -> Problem | None:
    """Why the store would refuse a record."""
    try:
        for text, what in _texts(record):
            require_text(text, what)
    except DataError as error:
        return Problem(record.where, "text that cannot be stored", str(error))
    reason = _refused(record)
    return None if reason is None else Problem(record.where, *reason)


def _refused(record: AnyRecord) -> tuple[str, str] | None:
    if isinstance(record, ComparisonRecord | RankingRecord):
        if len(set(record.responses)) < len(record.responses):
            return "identical responses", "two responses are the same text: nothing to judge"
        if len(record.responses) > MOST:
            count = len(record.responses)
            return "too many responses", f"a ranking of {count} responses; at most {MOST} can be"
    if isinstance(record, FeedbackRecord) and record.refinement == record.response:
        return "refinement changes nothing", "the refinement reads the same as the response"
    names: tuple[str, ...] = getattr(record, "flags", ())
    if isinstance(record, RatingRecord):
        names += tuple(record.axes)
    for name in names:
        if not 0 < len(name) <= LONGEST_NAME:
            return "a name too long", f"{name[:20]!r}… has {len(name)} characters"
    return None


def _texts(record: AnyRecord) -> Iterator[tuple[str, str]]:
    yield record.prompt, "prompt"
    if isinstance(record.prompt, ChatPrompt):
        for turn in record.prompt.messages:
            yield from ((turn.role, "role"), (turn.content, "turn"))
    yield from ((name, "name") for name in (record.source, record.group))
    annotator = getattr(record, "annotator", None)
    if annotator is not None:
        yield annotator, "annotator"
    if isinstance(record, ComparisonRecord | RankingRecord):
        yield from ((text, "response") for text in record.responses)
    if isinstance(record, DemonstrationRecord | RatingRecord | UnpairedRecord | FeedbackRecord):
        yield record.response, "response"
    note = getattr(record, "note", None)
    if note is not None:
        yield note, "note"
    if isinstance(record, FeedbackRecord):
        yield record.criticism, "criticism"
        if record.refinement is not None:
            yield record.refinement, "refinement"
