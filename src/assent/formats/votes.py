"""Votes and summaries: Chatbot Arena's battles and OpenAI's comparisons of summaries.

A battle is two chats that are alike up to the last response; where they part earlier (battles of
several turns) each side answered another chat, and the row is dropped. Ties and "both bad" stay.
OpenAI's rows name worker, batch and split, and how sure the worker was (`extra.confidence`, 1 to
9). A post becomes the prompt that the paper's models read, which ends in `TL;DR:`.

Source: Zheng et al. 2023, "Judging LLM-as-a-judge with MT-Bench and Chatbot Arena"; Stiennon et
al. 2020, "Learning to summarize from human feedback", and their published files.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from assent.formats.chats import as_json, as_turns, is_chat, split_last, turns_of
from assent.formats.format import (
    UNDECIDED,
    Cells,
    Format,
    NewRow,
    Tally,
    comparisons_of,
    each_record,
    each_row,
)
from assent.formats.records import AnyRecord, ComparisonRecord, RankingRecord
from assent.formats.rows import Row, RowRefused, distinct, response_of, wrong_type
from assent.types import ChatPrompt, Message, Verdict

_WINNERS: Mapping[str, Verdict] = {
    "model_a": "first",
    "model_b": "second",
    "tie": "tie",
    "tie (bothbad)": "both_bad",
    "both_bad": "both_bad",
}
_WORDS: Mapping[str, str] = {
    "first": "model_a",
    "second": "model_b",
    "tie": "tie",
    "both_bad": "tie (bothbad)",
}


def _read_battle(row: Row) -> ComparisonRecord:
    sides = ("conversation_a", "conversation_b")
    first, second = (split_last(turns_of(row.cells.get(side), side), side) for side in sides)
    if first[0].messages != second[0].messages:
        raise RowRefused(
            reason="the chats part before the last turn",
            detail="conversation_a and conversation_b differ before the last turn, so the vote is "
            "not about two responses to one prompt",
        )
    winner = row.text("winner")
    if winner not in _WINNERS:
        raise RowRefused(
            reason="unknown winner",
            detail=f"column winner is {winner!r}; use {', '.join(_WINNERS)}",
        )
    return ComparisonRecord(
        prompt=first[0],
        responses=distinct(first[1], second[1]),
        verdict=_WINNERS[winner],
        annotator=row.name("judge"),
        split=row.split,
        meta=row.kept("question_id", "model_a", "model_b", "language"),
        where=row.where,
    )


def _write_battle(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    for one in comparisons_of(record, tally):
        if one.verdict not in _WORDS:
            tally.left_out[UNDECIDED[one.verdict]] += 1
            continue
        if not isinstance(one.prompt, ChatPrompt):
            tally.lost["plain prompt (written as a user turn)"] += 1
        turns = as_turns(one.prompt)
        a, b = (as_json((*turns, Message("assistant", side))) for side in one.responses)
        digest = hashlib.sha256("\0".join((one.prompt, *one.responses)).encode()).hexdigest()
        yield {
            "question_id": one.meta.get("question_id", digest[:32]),
            "model_a": one.meta.get("model_a", ""),
            "model_b": one.meta.get("model_b", ""),
            "winner": _WORDS[one.verdict],
            "judge": one.annotator or "",
            "conversation_a": a,
            "conversation_b": b,
            "turn": sum(turn.role == "user" for turn in turns),
            "language": one.meta.get("language", ""),
        }


ARENA = Format(
    name="arena",
    title="Chatbot Arena votes",
    columns={
        "conversation_a": "the prompt's turns and the first response",
        "conversation_b": "the same turns and the second response",
        "winner": "model_a, model_b, tie, or tie (bothbad)",
        "judge": "who voted",
        "question_id": "kept with the record",
        "model_a": "kept with the record",
        "model_b": "kept with the record",
        "language": "kept with the record",
        "turn": "how many turns of the user there are",
    },
    fits=lambda cells: (
        is_chat(cells.get("conversation_a"))
        and is_chat(cells.get("conversation_b"))
        and isinstance(cells.get("winner"), str)
    ),
    gives=(ComparisonRecord,),
    read=each_row(_read_battle),
    takes=(ComparisonRecord, RankingRecord),
    carries=frozenset({"annotator"}),
    write=each_record(_write_battle),
    order_is_shown=True,
)

_POST = re.compile(r"SUBREDDIT: r/(.*?)\n\nTITLE: (.*?)\n\nPOST: (.*)\n\nTL;DR:", re.DOTALL)
_ARTICLE = re.compile(r"Article:\n\n(.*)\n\nTL;DR:", re.DOTALL)


def _read_summaries(row: Row) -> ComparisonRecord:
    info, summaries = row.table("info"), row.items("summaries")
    if len(summaries) != 2:
        raise RowRefused(
            reason="not two summaries", detail=f"column summaries has {len(summaries)}, not 2"
        )
    texts = [
        response_of(_summary(one, f"summaries[{at}]"), f"summaries[{at}].text")
        for at, one in enumerate(summaries)
    ]
    choice = row.required_number("choice")
    if choice not in (0, 1):
        raise wrong_type(column="choice", cell=choice, wanted="0 or 1")
    extra = Row(row.where, row.table("extra"))
    policies = [one.get("policy") for one in summaries]
    return ComparisonRecord(
        prompt=_post(info),
        responses=distinct(texts[0], texts[1]),
        verdict="first" if choice == 0 else "second",
        confidence=extra.number("confidence"),
        annotator=row.name("worker"),
        note=row.optional_text("note"),
        split=row.split_named() or row.split,
        group=str(info.get("id") or ""),
        meta={
            **row.kept("batch", "split"),
            **({"policies": policies} if any(policies) else {}),
        },
        where=row.where,
    )


def _summary(summary: object, place: str) -> str:
    text = summary.get("text") if isinstance(summary, Mapping) else None
    if not isinstance(text, str):
        raise wrong_type(place, summary, "an object with a text")
    return text


def _post(info: Mapping[str, Any]) -> str:
    """The text that the paper's policies were given."""
    post, article = info.get("post"), info.get("article")
    if isinstance(post, str) and post.strip():
        title, subreddit = info.get("title"), info.get("subreddit")
        if isinstance(title, str) and isinstance(subreddit, str):
            return f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"
        return post
    if isinstance(article, str) and article.strip():
        return f"Article:\n\n{article}\n\nTL;DR:"
    raise RowRefused(reason="column missing", detail="column info has neither post nor article")


def _info(record: ComparisonRecord, tally: Tally) -> dict[str, Any]:
    """A prompt as `info`, in parts where it has them."""
    text = str(record.prompt)
    if isinstance(record.prompt, ChatPrompt):
        tally.lost["chat roles (written as text)"] += 1
        turns = record.prompt.messages
        text = turns[0].content if len(turns) == 1 else text
    blank = {"id": record.group, "post": None, "title": None, "subreddit": None, "article": None}
    if found := _POST.fullmatch(text):
        subreddit, title, post = found.groups()
        if post.strip():
            return {**blank, "post": post, "title": title, "subreddit": subreddit}
    elif (found := _ARTICLE.fullmatch(text)) and found[1].strip():
        return {**blank, "article": found[1]}
    return {**blank, "post": text}


_SPLIT_WORDS = {"train": "train", "validation": "valid1", "test": "test"}


def _write_summaries(record: AnyRecord, tally: Tally) -> Iterator[NewRow]:
    for one in comparisons_of(record, tally):
        if one.verdict not in ("first", "second"):
            tally.left_out[UNDECIDED[one.verdict]] += 1
            continue
        policies = one.meta.get("policies") or ["", ""]
        summaries = zip(one.responses, policies, strict=False)
        yield {
            "info": _info(one, tally),
            "summaries": [{"text": text, "policy": policy or ""} for text, policy in summaries],
            "choice": 0 if one.verdict == "first" else 1,
            "worker": one.annotator or "",
            "batch": one.meta.get("batch", ""),
            "split": one.meta.get("split", _SPLIT_WORDS.get(one.split or "", "")),
            "extra": {"confidence": one.confidence},
            **({"note": one.note} if one.note else {}),
        }


def _fits_summaries(cells: Cells) -> bool:
    return all(isinstance(cells.get(one), kind | str) for one, kind in _SUMMARY_KINDS.items()) and (
        "choice" in cells
    )


_SUMMARY_KINDS: Mapping[str, type] = {"info": dict, "summaries": list}

OPENAI_COMPARISONS = Format(
    name="openai-comparisons",
    title="OpenAI comparisons of summaries",
    columns={
        "info": "post, title, subreddit, or article: the prompt, up to TL;DR:; id: the group",
        "summaries": "the two responses and which policy wrote them",
        "choice": "0 or 1: the summary that won",
        "worker": "who judged",
        "extra": "confidence, from 1 to 9",
        "split": "train, valid1, valid2 or test",
        "batch": "kept with the record",
        "note": "what the annotator wrote",
    },
    fits=_fits_summaries,
    gives=(ComparisonRecord,),
    read=each_row(_read_summaries),
    takes=(ComparisonRecord, RankingRecord),
    carries=frozenset({"annotator", "confidence", "split", "group", "note"}),
    blanks={"note": ""},
    write=each_record(_write_summaries),
    order_is_shown=True,
)
