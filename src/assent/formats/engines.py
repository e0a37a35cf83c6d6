"""What other training engines read: OpenRLHF's rows and veRL's prompts.

OpenRLHF's columns are set by its flags; here they have its usual names. veRL's rows name the data
set, an ability and a reward (`reward_model`); they stay with the prompt.
"""

from collections.abc import Callable, Iterable, Iterator

from assent.formats.chats import as_json, as_turns, is_chat, prompt_of, reply_of
from assent.formats.format import (
    SAID,
    SAID_BLANKS,
    SAID_COLUMNS,
    Cells,
    Format,
    NewRow,
    Tally,
    comparisons_of,
    each_record,
    each_row,
    said_of,
    saying,
    winner_first,
)
from assent.formats.records import (
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    PromptRecord,
    RankingRecord,
)
from assent.formats.rows import Row
from assent.formats.trl import PREFERENCE, written_prompt
from assent.types import ChatPrompt


def _read_demonstration(row: Row) -> DemonstrationRecord:
    prompt = prompt_of(row, "input")
    return DemonstrationRecord(
        prompt=prompt,
        response=reply_of(row, "output", prompt),
        annotator=row.name("annotator"),
        where=row.where,
        **said_of(row),
    )


def _write_demonstration(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    if isinstance(record, DemonstrationRecord):
        prompt = _text_prompt(record, tally)
        yield {"input": prompt, "output": record.response, **saying(record)}


def _text_prompt(record: AnyRecord, tally: Tally) -> str:
    """A prompt as text; one turn of the user is what it says, for OpenRLHF's input template."""
    if isinstance(record.prompt, ChatPrompt) and len(record.prompt.messages) == 1:
        tally.lost["chat roles (written as text)"] += 1
        return record.prompt.messages[0].content
    return str(written_prompt(record.prompt, tally, chat=False))


def _read_prompt(row: Row) -> PromptRecord:
    said = said_of(row, kept=("label",))
    said["source"] = said["source"] or row.name("datasource") or ""
    return PromptRecord(prompt=prompt_of(row, "input"), where=row.where, **said)


def _write_prompt(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    said = saying(record)
    source = {"datasource": said.pop("source")} if "source" in said else {}
    label = {"label": record.meta["label"]} if "label" in record.meta else {}
    yield {"input": _text_prompt(record, tally), **label, **source, **said}


def _write_preference(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    for one in comparisons_of(record, tally):
        if (sides := winner_first(one, tally)) is None:
            continue
        margin = one.strength if one.strength is not None else one.margin
        yield {
            "prompt": _text_prompt(one, tally),
            "chosen": sides[0],
            "rejected": sides[1],
            **({"margin": margin} if margin is not None else {}),
            **saying(one),
        }


def _is_text(cells: Cells, *columns: str) -> bool:
    return all(isinstance(cells.get(column), str) for column in columns)


def _writer(
    write: Callable[[AnyRecord, Tally], Iterator[NewRow]],
) -> Callable[[Iterable[AnyRecord], Tally], Iterator[NewRow]]:
    return each_record(write)


OPENRLHF_SFT = Format(
    name="openrlhf-sft",
    title="OpenRLHF demonstrations",
    columns={
        "input": "the prompt, as text or as a list of turns",
        "output": "the demonstration",
        **SAID_COLUMNS,
    },
    fits=lambda cells: (
        (_is_text(cells, "input") or is_chat(cells.get("input")))
        and (_is_text(cells, "output") or is_chat(cells.get("output")))
        and "instruction" not in cells
    ),
    gives=(DemonstrationRecord,),
    read=each_row(_read_demonstration),
    takes=(DemonstrationRecord,),
    carries=frozenset(SAID),
    blanks=SAID_BLANKS,
    write=_writer(_write_demonstration),
)

OPENRLHF_PREFERENCE = Format(
    name="openrlhf-preference",
    title="OpenRLHF preferences",
    columns=PREFERENCE.columns,
    fits=PREFERENCE.fits,
    gives=PREFERENCE.gives,
    read=PREFERENCE.read,
    takes=(ComparisonRecord, RankingRecord),
    carries=frozenset((*SAID, "strength", "margin")),
    blanks={**SAID_BLANKS, "margin": 0},
    write=_writer(_write_preference),
)

OPENRLHF_PROMPTS = Format(
    name="openrlhf-prompts",
    title="OpenRLHF prompts",
    columns={
        "input": "the prompt, as text or as a list of turns",
        "label": "kept with the record",
        "datasource": "the data set that the prompt is from",
        **SAID_COLUMNS,
    },
    fits=lambda cells: (
        (_is_text(cells, "input") or is_chat(cells.get("input")))
        and not cells.keys() & {"output", "output_1", "instruction"}
    ),
    gives=(PromptRecord,),
    read=each_row(_read_prompt),
    takes=(PromptRecord,),
    carries=frozenset(SAID),
    blanks=SAID_BLANKS,
    write=_writer(_write_prompt),
)

_KEPT = ("ability", "reward_model", "extra_info")
_BY_MODEL = {"style": "model", "ground_truth": ""}
"""No rule knows the right answer."""


def _read_verl(row: Row) -> PromptRecord:
    extra = Row(row.where, row.table("extra_info"))
    said = said_of(row)
    return PromptRecord(
        prompt=prompt_of(row, "prompt"),
        source=row.name("data_source") or "",
        split=extra.split_named() or said["split"],
        group=said["group"],
        kind=said["kind"],
        meta={name: _plain(row, name) for name in row.kept(*_KEPT)},
        where=row.where,
    )


def _plain(row: Row, name: str) -> object:
    return row.name(name) if name == "ability" else dict(row.table(name))


def _write_verl(records: Iterable[AnyRecord], tally: Tally) -> Iterator[NewRow]:
    for index, record in enumerate(records):
        if not isinstance(record.prompt, ChatPrompt):
            tally.lost["plain prompt (written as a user turn)"] += 1
        split = {"split": record.split} if record.split else {}
        said = {name: cell for name, cell in saying(record).items() if name in ("group", "kind")}
        yield {
            "data_source": record.source,
            "prompt": as_json(as_turns(record.prompt)),
            "ability": record.meta.get("ability", ""),
            "reward_model": record.meta.get("reward_model") or _BY_MODEL,
            "extra_info": {"index": index, **(record.meta.get("extra_info") or {}), **split},
            **said,
        }


VERL_PROMPTS = Format(
    name="verl-prompts",
    title="veRL prompts",
    columns={
        "data_source": "the data set that the prompt is from",
        "prompt": "the prompt, as a list of turns",
        "ability": "kept with the record",
        "reward_model": "style and ground truth, kept with the record",
        "extra_info": "kept with the record; its split is the record's",
        "group": SAID_COLUMNS["group"],
        "kind": SAID_COLUMNS["kind"],
    },
    fits=lambda cells: is_chat(cells.get("prompt")) and "data_source" in cells,
    gives=(PromptRecord,),
    read=each_row(_read_verl),
    takes=(PromptRecord,),
    carries=frozenset({"source", "split", "group", "kind", "meta"}),
    blanks=SAID_BLANKS,
    write=_write_verl,
)
