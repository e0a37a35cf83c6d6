"""The tables of people and their work, as the code sees them; part of the one `metadata`.

What tells who somebody is lies in `personal_data` and `notes` only, and can be erased: everything
else knows a person by an annotator id, whose name is a pseudonym.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem

from assent.store.schema import metadata


def _annotator(*, primary_key: bool = False, index: bool = False) -> Column[str]:
    return Column(
        "annotator_id",
        ForeignKey("annotators.id"),
        primary_key=primary_key,
        nullable=False,
        index=index,
    )


def _time(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(27), nullable=nullable)


def _one_of(column: str, *values: str) -> SchemaItem:
    quoted = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({quoted})", name=column)


people = Table(
    "people",
    metadata,
    _annotator(primary_key=True),
    Column("role", String(16), nullable=False),
    _time("created_at"),
    _time("disabled_at", nullable=True),
    _time("erased_at", nullable=True),
    _one_of("role", "annotator", "reviewer", "owner"),
)
"""Who may come in, and what they may do."""

personal_data = Table(
    "personal_data",
    metadata,
    _annotator(primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False, unique=True),
    Column("password_hash", Text),
    Column("note_key", String(64), nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    _annotator(index=True),
    _time("created_at"),
    _time("seen_at"),
)

invitations = Table(
    "invitations",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    _annotator(index=True),
    _time("created_at"),
    _time("expires_at"),
    _time("used_at", nullable=True),
)

guidelines = Table(
    "guidelines",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("annotator_id", ForeignKey("annotators.id")),
    _time("created_at"),
    CheckConstraint("version >= 1", name="version"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("prompt_id", ForeignKey("prompts.id"), nullable=False),
    Column("comparison_id", ForeignKey("comparisons.id")),
    Column("response_set_id", ForeignKey("response_sets.id")),
    Column("response_id", ForeignKey("responses.id")),
    Column("source", Text, nullable=False),
    Column("overlap", Integer, nullable=False),
    Column("remaining", Integer, nullable=False),
    Column("look_up", Boolean, nullable=False),
    Column("only_for", ForeignKey("annotators.id"), index=True),
    Column("repeat_of", ForeignKey("tasks.id")),
    _time("halted_at", nullable=True),
    _time("created_at"),
    Index(
        "ix_tasks_open",
        "kind",
        "position",
        sqlite_where=text("remaining > 0 AND halted_at IS NULL AND only_for IS NULL"),
        postgresql_where=text("remaining > 0 AND halted_at IS NULL AND only_for IS NULL"),
    ),
    _one_of("kind", "comparison", "ranking", "rating", "demonstration"),
    CheckConstraint("overlap BETWEEN 1 AND 1000000", name="overlap"),
    CheckConstraint("(repeat_of IS NULL) OR (only_for IS NOT NULL)", name="repeat"),
    CheckConstraint(
        "(kind = 'comparison') = (comparison_id IS NOT NULL)"
        " AND (kind = 'ranking') = (response_set_id IS NOT NULL)"
        " AND (kind = 'rating') = (response_id IS NOT NULL)",
        name="subject",
    ),
)
"""What is asked of people. `remaining` repeats what `leases` say, for the sake of the index."""

check_items = Table(
    "check_items",
    metadata,
    Column("task_id", ForeignKey("tasks.id"), primary_key=True),
    Column("answer", String(16), nullable=False),
    Column("why", Text, nullable=False),
    Column("annotator_id", ForeignKey("annotators.id")),
    _one_of("answer", "first", "second"),
)
"""Tasks whose answer is known."""

leases = Table(
    "leases",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("position", BigInteger, nullable=False, unique=True),
    Column("task_id", ForeignKey("tasks.id"), nullable=False),
    _annotator(),
    Column("ordinal", Integer, nullable=False),
    Column("shown", Text, nullable=False),
    Column("guidelines_version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("counts", Boolean, nullable=False),
    Column("reason", String(32)),
    Column("event_id", ForeignKey("events.id"), index=True),
    _time("claimed_at"),
    _time("expires_at"),
    _time("closed_at", nullable=True),
    UniqueConstraint("annotator_id", "ordinal"),
    Index(None, "task_id", "annotator_id"),
    Index(
        "ux_leases_live",
        "task_id",
        "annotator_id",
        unique=True,
        sqlite_where=text("state = 'live'"),
        postgresql_where=text("state = 'live'"),
    ),
    Index(
        "ix_leases_live",
        "annotator_id",
        sqlite_where=text("state = 'live'"),
        postgresql_where=text("state = 'live'"),
    ),
    _one_of("state", "live", "submitted", "skipped", "released", "expired", "undone"),
    CheckConstraint("(state = 'live') = (closed_at IS NULL)", name="closed"),
    CheckConstraint("(state IN ('submitted', 'undone')) = (event_id IS NOT NULL)", name="answered"),
    CheckConstraint("state = 'submitted' OR NOT counts", name="counts"),
)
"""A task in somebody's hands: what they saw, and how it ended. Never deleted."""

notes = Table(
    "notes",
    metadata,
    Column("event_id", ForeignKey("events.id"), primary_key=True),
    _annotator(index=True),
    Column("text", Text, nullable=False),
)
"""What people wrote beside their answers. The event keeps a keyed hash, so a note can be erased."""
