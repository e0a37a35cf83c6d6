"""The tables as the code sees them; `migrations/` is what makes them, and a test compares the two.

Every row of prompts, samplers, responses, comparisons and annotators has a `position`: 1, 2, 3 …
in the order written, so that reading in insertion order means the same on every database. Times
are text (`2026-01-31T12:00:00.000000Z`) because the event hash covers them byte for byte.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.schema import SchemaItem

REVISIONS = ("0001", "0002", "0003")
"""Every migration this version knows, oldest first; the last is what the code needs."""

# Constraints get predictable names, so that a later migration can drop them on both databases.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[str]:
    return Column("id", String(64), primary_key=True)


def _position() -> Column[int]:
    return Column("position", BigInteger, nullable=False, unique=True)


def _created() -> Column[str]:
    return Column("created_at", String(27), nullable=False)


def _one_of(column: str, *values: str) -> SchemaItem:
    quoted = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({quoted})", name=column)


projects = Table("projects", metadata, _id(), _created())
"""One row: which project folder this database belongs to."""

prompts = Table(
    "prompts",
    metadata,
    _id(),
    _position(),
    Column("text", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("source", Text, nullable=False),
    Column("split", String(16), nullable=False),
    Column("group", Text, nullable=False),
    _created(),
    Column("messages", Text),
    _one_of("kind", "plain", "few_shot", "user"),
    _one_of("split", "train", "validation", "test"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("path", Text, primary_key=True),
    Column("sha256", String(64), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    _created(),
    CheckConstraint("size_bytes >= 0", name="size_bytes"),
)

annotators = Table(
    "annotators",
    metadata,
    _id(),
    _position(),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("parameters", Text, nullable=False),
    _created(),
    _one_of("kind", "human", "simulated", "model"),
)

snapshots = Table(
    "snapshots",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("up_to_seq", BigInteger, nullable=False),
    Column("query", Text, nullable=False),
    Column("event_count", BigInteger, nullable=False),
    Column("content_sha256", String(64), nullable=False),
    _created(),
)

runs = Table(
    "runs",
    metadata,
    _id(),
    _position(),
    Column("stage", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("settings", Text, nullable=False),
    Column("settings_sha256", String(64), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("git_commit", String(64)),
    Column("snapshot_id", ForeignKey("snapshots.id")),
    Column("problem", Text),
    Column("started_at", String(27), nullable=False),
    Column("finished_at", String(27)),
    _one_of("status", "running", "done", "failed", "interrupted"),
    CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="finished"),
)

model_versions = Table(
    "model_versions",
    metadata,
    _id(),
    _position(),
    Column("stage", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("parent_id", ForeignKey("model_versions.id")),
    Column("snapshot_id", ForeignKey("snapshots.id")),
    Column("run_id", ForeignKey("runs.id")),
    Column("weights_sha256", String(64), nullable=False),
    Column("path", ForeignKey("artifacts.path"), nullable=False),
    Column("settings_sha256", String(64)),
    Column("code_version", Text),
    _created(),
)

run_parents = Table(
    "run_parents",
    metadata,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("role", Text, primary_key=True),
    Column("model_version_id", ForeignKey("model_versions.id"), nullable=False),
)

samplers = Table(
    "samplers",
    metadata,
    _id(),
    _position(),
    Column("model_version_id", ForeignKey("model_versions.id"), nullable=False),
    Column("parameters", Text, nullable=False),
    Column("engine", Text, nullable=False),
    _created(),
)

responses = Table(
    "responses",
    metadata,
    _id(),
    _position(),
    Column("prompt_id", ForeignKey("prompts.id"), nullable=False, index=True),
    Column("text", Text, nullable=False),
    Column("content_sha256", String(64), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("sampler_id", ForeignKey("samplers.id")),
    Column("seed", BigInteger),
    Column("logprob_sum", Float),
    Column("token_count", Integer),
    Column("finish_reason", String(16)),
    Column("index", Integer, nullable=False),
    _created(),
    _one_of("origin", "sample", "demonstration", "edit", "import"),
    _one_of("finish_reason", "stop", "length"),
    CheckConstraint("(origin = 'sample') = (sampler_id IS NOT NULL)", name="sampled"),
    CheckConstraint("token_count >= 0", name="token_count"),
)

comparisons = Table(
    "comparisons",
    metadata,
    _id(),
    _position(),
    Column("prompt_id", ForeignKey("prompts.id"), nullable=False),
    Column("first_response_id", ForeignKey("responses.id"), nullable=False),
    Column("second_response_id", ForeignKey("responses.id"), nullable=False),
    Column("shown_order", String(16), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("round", Integer, nullable=False),
    Column("index", Integer, nullable=False),
    Column("dedupe_key", String(32), nullable=False, unique=True),
    _created(),
    _one_of("shown_order", "first_left", "second_left"),
    CheckConstraint("first_response_id <> second_response_id", name="two_responses"),
)

response_sets = Table(
    "response_sets",
    metadata,
    _id(),
    _position(),
    Column("prompt_id", ForeignKey("prompts.id"), nullable=False),
    Column("response_ids", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("round", Integer, nullable=False),
    Column("index", Integer, nullable=False),
    _created(),
)
"""Two to nine responses to one prompt, to be put in order."""

response_set_members = Table(
    "response_set_members",
    metadata,
    Column("response_set_id", ForeignKey("response_sets.id"), primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("response_id", ForeignKey("responses.id"), nullable=False, index=True),
    UniqueConstraint("response_set_id", "response_id"),
    CheckConstraint("place BETWEEN 1 AND 9", name="place"),
)
"""`response_sets.response_ids` again, one a row: so that a set can be found from a response."""

events = Table(
    "events",
    metadata,
    # INTEGER makes seq SQLite's own row key: reading in order needs no index.
    Column(
        "seq",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("id", String(64), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("comparison_id", ForeignKey("comparisons.id")),
    Column("response_id", ForeignKey("responses.id"), index=True),
    Column("response_set_id", ForeignKey("response_sets.id")),
    Column("refinement_id", ForeignKey("responses.id")),
    Column("annotator_id", ForeignKey("annotators.id"), nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("supersedes", ForeignKey("events.id"), unique=True),
    Column("payload", Text, nullable=False),
    _created(),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    UniqueConstraint("annotator_id", "idempotency_key"),
    Index(None, "comparison_id", "annotator_id"),
    Index(None, "response_set_id", "annotator_id"),
    _one_of("kind", "judgement", "demonstration", "ranking", "rating", "criticism", "retract"),
    CheckConstraint(
        "(kind = 'judgement' AND comparison_id IS NOT NULL AND response_id IS NULL"
        " AND response_set_id IS NULL AND refinement_id IS NULL)"
        " OR (kind IN ('demonstration', 'rating') AND response_id IS NOT NULL"
        " AND comparison_id IS NULL AND response_set_id IS NULL AND refinement_id IS NULL)"
        " OR (kind = 'ranking' AND response_set_id IS NOT NULL AND comparison_id IS NULL"
        " AND response_id IS NULL AND refinement_id IS NULL)"
        " OR (kind = 'criticism' AND response_id IS NOT NULL AND comparison_id IS NULL"
        " AND response_set_id IS NULL)"
        " OR (kind = 'retract' AND supersedes IS NOT NULL)",
        name="subject",
    ),
)

ledger_heads = Table(
    "ledger_heads",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    CheckConstraint("id = 1", name="single"),
)
"""One row: where the ledger ends. Without it a ledger that lost its last events looks whole."""
