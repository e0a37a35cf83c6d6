"""OpenAssistant's conversation trees: nested, one tree a row, or flat, one message a row.

Replies of the assistant to one message that carry a rank are a ranking (0 is best; equal ranks are
a tie). A reply that people wrote and that nobody ranked behind another is a demonstration; replies
marked synthetic are not. A user's message that nobody answered is a prompt. Messages that are
deleted, or did not pass review, are left out with everything below them. Flat rows of one tree
must stand together, in any order.

Source: Köpf et al. 2023, "OpenAssistant Conversations", and oasst_data/schemas.py.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assent.formats.chats import ROLES, as_turns, chat_prompt
from assent.formats.format import Cells, Format, NewRow, Outcome, Rows, Tally
from assent.formats.records import (
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    Place,
    Problem,
    PromptRecord,
    RankingRecord,
)
from assent.formats.rows import Row, RowRefused, response_of, unpacked, wrong_type
from assent.types import ChatPrompt, Message

_PAIR = 2
_NAMES = {"user": "prompter", "assistant": "assistant"}
_SIDES = {"first": (0, 1), "second": (1, 0), "tie": (0, 0)}
_NAMESPACE = uuid.UUID("6f1d1f7e-4c43-5a0b-9a53-0c1f1d1b7a53")


@dataclass(slots=True)
class _Node:
    """A message and its replies."""

    where: Place
    id: str
    text: str
    role: str
    rank: int | None
    author: str | None
    is_dropped: bool
    is_synthetic: bool
    replies: list["_Node"] = field(default_factory=list)


def _node(row: Row) -> _Node:
    role = row.text("role")
    if role not in ROLES:
        raise RowRefused(reason="unknown role", detail=f"column role is {role!r}")
    return _Node(
        where=row.where,
        id=row.name("message_id") or "",
        text=row.text("text"),
        role=ROLES[role],
        rank=row.whole("rank"),
        author=row.name("user_id"),
        is_dropped=_is(row, "deleted") or not _is(row, "review_result", unless_said=True),
        is_synthetic=_is(row, "synthetic"),
    )


def _is(row: Row, column: str, *, unless_said: bool = False) -> bool:
    return unless_said if row.get(column) is None else row.boolean(column)


def _read_flat(rows: Rows) -> Outcome:
    tree, waiting = "", list[Row]()
    for row in rows:
        here = row.name("message_tree_id") or row.name("message_id") or ""
        if waiting and here != tree:
            yield from _grown(waiting)
            waiting = []
        tree = here
        waiting.append(row)
    yield from _grown(waiting)


def _grown(rows: Sequence[Row]) -> Outcome:
    """The records of one tree whose messages are rows."""
    nodes: dict[str, _Node] = {}
    parents: dict[str, str] = {}
    for row in rows:
        try:
            node = _node(row)
            parent = row.name("parent_id")
        except RowRefused as refused:
            yield row.problem(refused.reason, refused.detail)
            continue
        if not node.id:
            yield row.problem("column missing", "column message_id is missing or empty")
        elif node.id in nodes:
            yield row.problem("duplicate message", f"message {node.id!r} is there twice")
        else:
            nodes[node.id] = node
            if parent is not None:
                parents[node.id] = parent
    for child, parent in parents.items():
        if parent in nodes:
            nodes[parent].replies.append(nodes[child])
    seen: set[str] = set()
    for node in nodes.values():
        if node.id not in parents:
            yield from _records(node, rows[0], seen)
    for node in nodes.values():
        if node.id not in seen:
            detail = (
                f"its parent {parents[node.id]!r}, or a message above that, is not among the rows "
                "of its tree; keep the rows of a tree together"
            )
            yield Problem(node.where, "parent message missing", detail)


def _read_trees(rows: Rows) -> Outcome:
    for row in rows:
        try:
            root = _nested(row)
        except RowRefused as refused:
            yield row.problem(refused.reason, refused.detail)
        else:
            yield from _records(root, row, set())


def _nested(row: Row) -> _Node:
    """The tree that a row holds."""
    root = _node(Row(row.where, row.table("prompt")))
    waiting = [(root, row.table("prompt"))]
    while waiting:
        node, cells = waiting.pop()
        replies = cells.get("replies") or []
        if not isinstance(replies, list):
            raise wrong_type(column="replies", cell=replies, wanted="a list")
        for reply in replies:
            if not isinstance(reply, Mapping):
                raise wrong_type(column="replies", cell=reply, wanted="a list of messages")
            child = _node(Row(row.where, reply))
            node.replies.append(child)
            waiting.append((child, reply))
    return root


def _records(root: _Node, row: Row, seen: set[str]) -> Outcome:
    """Everything that a tree says, from its root down."""
    said = {"group": row.name("message_tree_id") or root.id, "split": row.split}
    waiting: list[tuple[_Node, tuple[Message, ...], bool]] = [(root, (), False)]
    while waiting:
        node, before, is_below_dropped = waiting.pop()
        seen.add(node.id)
        if node.is_dropped or is_below_dropped:
            detail = "a message above it is" if is_below_dropped else "it is"
            yield Problem(
                node.where, "deleted or not approved", f"{detail} deleted or did not pass review"
            )
            waiting += [(reply, before, True) for reply in node.replies]
            continue
        path = (*before, Message(node.role, node.text))
        if node.role == "user":
            try:
                yield from _said(node, path, said)
            except RowRefused as refused:
                yield Problem(node.where, refused.reason, refused.detail)
        waiting += [(reply, path, False) for reply in reversed(node.replies)]


def _said(node: _Node, path: Sequence[Message], said: Mapping[str, Any]) -> Outcome:
    """What the replies to a user's message give."""
    prompt = chat_prompt(path, "text")
    replies = [one for one in node.replies if one.role == "assistant" and not one.is_dropped]
    if not replies:
        yield PromptRecord(prompt=prompt, where=node.where, **said)
        return
    whole = []
    for reply in replies:
        try:
            response_of(reply.text, "text")
            whole.append(reply)
        except RowRefused as refused:
            yield Problem(reply.where, refused.reason, refused.detail)
    ranked = sorted((one for one in whole if one.rank is not None), key=lambda one: one.rank or 0)
    levels = sorted({one.rank or 0 for one in ranked})
    texts = tuple(one.text for one in ranked)
    if len(set(texts)) < len(texts):
        yield Problem(
            node.where, "identical responses", "two replies that are ranked are the same text"
        )
    elif len(ranked) >= _PAIR:
        yield RankingRecord(
            prompt=prompt,
            responses=texts,
            ranks=tuple(levels.index(one.rank or 0) for one in ranked),
            where=max((one.where for one in ranked), key=lambda place: place.row),
            **said,
        )
    for reply in whole:
        if not reply.is_synthetic and (reply.rank is None or reply.rank == levels[0]):
            yield DemonstrationRecord(
                prompt=prompt,
                response=reply.text,
                annotator=reply.author,
                where=reply.where,
                **said,
            )


def _write_tree(record: AnyRecord, tally: Tally) -> dict[str, Any] | None:
    """One record as a tree of its own: its turns in a line, its responses as replies."""
    turns = as_turns(record.prompt)
    if any(turn.role not in _NAMES for turn in turns):
        tally.left_out["system or tool turns (no place for them)"] += 1
        return None
    replies: list[dict[str, Any]] = []
    if isinstance(record, DemonstrationRecord):
        replies = [{"text": record.response, "rank": None, "user_id": record.annotator}]
    elif isinstance(record, ComparisonRecord | RankingRecord):
        if (ranks := _ranks(record)) is None:
            tally.left_out["both bad or cannot judge (no place for it)"] += 1
            return None
        if record.annotator:
            tally.lost["annotator"] += 1
        pairs = zip(record.responses, ranks, strict=True)
        replies = [{"text": text, "rank": rank, "synthetic": True} for text, rank in pairs]
    if not isinstance(record.prompt, ChatPrompt):
        tally.lost["plain prompt (written as a user turn)"] += 1
    below = [_message("assistant", reply.pop("text"), **reply) for reply in replies]
    for turn in reversed(turns):
        # What the assistant said before is context: nobody knows here who wrote it.
        is_context = turn.role == "assistant"
        below = [_message(_NAMES[turn.role], turn.content, replies=below, synthetic=is_context)]
    return below[0]


def _ranks(record: ComparisonRecord | RankingRecord) -> tuple[int, ...] | None:
    if isinstance(record, RankingRecord):
        return record.ranks
    return _SIDES.get(record.verdict)


def _message(role: str, text: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON values
    blank: dict[str, Any] = {"rank": None, "synthetic": False, "user_id": None, "replies": []}
    return {"text": text, "role": role, "deleted": False, "review_result": True, **blank, **more}


def _identified(records: Iterable[AnyRecord], tally: Tally) -> Iterator[tuple[str, list[NewRow]]]:
    """The messages of each record's tree with ids, parents before replies.

    Ids are derived from the place among the records, so that one text twice is two messages.
    """
    for number, record in enumerate(records):
        if (root := _write_tree(record, tally)) is None:
            continue
        messages: list[NewRow] = []
        waiting: list[tuple[NewRow, str | None]] = [(root, None)]
        while waiting:
            message, parent = waiting.pop(0)
            name = f"{number}/{len(messages)}/{message['text']}"
            message["message_id"] = str(uuid.uuid5(_NAMESPACE, name))
            message["parent_id"] = parent
            messages.append(message)
            waiting += [(reply, message["message_id"]) for reply in message["replies"]]
        yield record.group or messages[0]["message_id"], messages


def _write_trees(records: Iterable[AnyRecord], tally: Tally) -> Iterator[NewRow]:
    for tree, messages in _identified(records, tally):
        yield {"message_tree_id": tree, "tree_state": "ready_for_export", "prompt": messages[0]}


def _write_flat(records: Iterable[AnyRecord], tally: Tally) -> Iterator[NewRow]:
    for tree, messages in _identified(records, tally):
        for message in messages:
            own = {name: cell for name, cell in message.items() if name != "replies"}
            yield {"message_tree_id": tree, "tree_state": "ready_for_export", **own}


def _fits_flat(cells: Cells) -> bool:
    return all(isinstance(cells.get(one), str) for one in ("message_id", "text", "role"))


def _fits_tree(cells: Cells) -> bool:
    prompt = unpacked(cells.get("prompt"))
    return isinstance(prompt, Mapping) and "role" in prompt and "text" in prompt


_MEANING = {
    "message_tree_id": "the group: prompts of one tree",
    "text": "the message",
    "role": "prompter or assistant",
    "rank": "the reply's place among its siblings, 0 the best; equal ranks tie",
    "user_id": "who wrote it: the annotator of a demonstration",
    "deleted": "left out where true",
    "review_result": "left out where false",
    "synthetic": "ranked, but no demonstration, where true",
}
_GIVES = (RankingRecord, DemonstrationRecord, PromptRecord)

OASST_TREES = Format(
    name="oasst-trees",
    title="OpenAssistant trees",
    columns={
        "message_tree_id": "the group: prompts of one tree",
        "prompt": "the root message; below it, in replies: text, role, rank, user_id …",
    },
    fits=_fits_tree,
    gives=_GIVES,
    read=_read_trees,
    takes=(*_GIVES, ComparisonRecord),
    carries=frozenset({"annotator", "group"}),
    write=_write_trees,
)

OASST_MESSAGES = Format(
    name="oasst-messages",
    title="OpenAssistant messages, one a row",
    columns={"message_id": "the message", "parent_id": "what it replies to", **_MEANING},
    fits=_fits_flat,
    gives=_GIVES,
    read=_read_flat,
    takes=(*_GIVES, ComparisonRecord),
    carries=frozenset({"annotator", "group"}),
    write=_write_flat,
)
