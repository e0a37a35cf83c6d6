"""Chat prompts, sets of responses, and three more kinds of feedback: ranking, rating, criticism."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_APPEND_ONLY = "events are only ever added, never changed or removed"
_KINDS = "kind IN ('judgement', 'demonstration', 'ranking', 'rating', 'criticism', 'retract')"
_SUBJECT = (
    "(kind = 'judgement' AND comparison_id IS NOT NULL AND response_id IS NULL"
    " AND response_set_id IS NULL AND refinement_id IS NULL)"
    " OR (kind IN ('demonstration', 'rating') AND response_id IS NOT NULL"
    " AND comparison_id IS NULL AND response_set_id IS NULL AND refinement_id IS NULL)"
    " OR (kind = 'ranking' AND response_set_id IS NOT NULL AND comparison_id IS NULL"
    " AND response_id IS NULL AND refinement_id IS NULL)"
    " OR (kind = 'criticism' AND response_id IS NOT NULL AND comparison_id IS NULL"
    " AND response_set_id IS NULL)"
    " OR (kind = 'retract' AND supersedes IS NOT NULL)"
)


def upgrade() -> None:
    """Add what is new; every row that is there stays as it is."""
    op.add_column("prompts", sa.Column("messages", sa.Text(), nullable=True))
    op.create_table(
        "response_sets",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("prompt_id", sa.String(length=64), nullable=False),
        sa.Column("response_ids", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompts.id"], name=op.f("fk_response_sets_prompt_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_response_sets")),
        sa.UniqueConstraint("position", name=op.f("uq_response_sets_position")),
    )
    op.create_table(
        "response_set_members",
        sa.Column("response_set_id", sa.String(length=64), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("response_id", sa.String(length=64), nullable=False),
        sa.CheckConstraint("place BETWEEN 1 AND 9", name=op.f("ck_response_set_members_place")),
        sa.ForeignKeyConstraint(
            ["response_id"], ["responses.id"], name=op.f("fk_response_set_members_response_id")
        ),
        sa.ForeignKeyConstraint(
            ["response_set_id"],
            ["response_sets.id"],
            name=op.f("fk_response_set_members_response_set_id"),
        ),
        sa.PrimaryKeyConstraint("response_set_id", "place", name=op.f("pk_response_set_members")),
        sa.UniqueConstraint(
            "response_set_id",
            "response_id",
            name=op.f("uq_response_set_members_response_set_id_response_id"),
        ),
    )
    op.create_index(
        op.f("ix_response_set_members_response_id"), "response_set_members", ["response_id"]
    )
    if op.get_bind().dialect.name == "sqlite":
        _widen_events_on_sqlite()
    else:
        _widen_events_on_postgresql()
    op.create_index(op.f("ix_events_response_id"), "events", ["response_id"])
    op.create_index(
        op.f("ix_events_response_set_id_annotator_id"),
        "events",
        ["response_set_id", "annotator_id"],
    )


def _widen_events_on_postgresql() -> None:
    op.add_column("events", sa.Column("response_set_id", sa.String(length=64), nullable=True))
    op.add_column("events", sa.Column("refinement_id", sa.String(length=64), nullable=True))
    for column, table in (("response_set_id", "response_sets"), ("refinement_id", "responses")):
        op.create_foreign_key(op.f(f"fk_events_{column}"), "events", table, [column], ["id"])
    for name, rule in (("kind", _KINDS), ("subject", _SUBJECT)):
        op.drop_constraint(op.f(f"ck_events_{name}"), "events", type_="check")
        op.create_check_constraint(op.f(f"ck_events_{name}"), "events", rule)


def _widen_events_on_sqlite() -> None:
    """SQLite cannot change a check: a new table takes the rows, and then the name.

    Dropping the old table takes its indexes and triggers along, and fires none of them. The new
    one refers to itself, which the renaming follows.
    """
    _create_wider_events()
    op.execute(
        "INSERT INTO wider_events (seq, id, kind, comparison_id, response_id, annotator_id,"
        " idempotency_key, supersedes, payload, created_at, prev_hash, hash)"
        " SELECT seq, id, kind, comparison_id, response_id, annotator_id,"
        " idempotency_key, supersedes, payload, created_at, prev_hash, hash"
        " FROM events ORDER BY seq"
    )
    op.drop_table("events")
    op.rename_table("wider_events", "events")
    op.create_index(
        op.f("ix_events_comparison_id_annotator_id"), "events", ["comparison_id", "annotator_id"]
    )
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER events_no_{verb.lower()} BEFORE {verb} ON events "
            f"BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END"
        )


def _create_wider_events() -> None:
    op.create_table(
        "wider_events",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("comparison_id", sa.String(length=64), nullable=True),
        sa.Column("response_id", sa.String(length=64), nullable=True),
        sa.Column("response_set_id", sa.String(length=64), nullable=True),
        sa.Column("refinement_id", sa.String(length=64), nullable=True),
        sa.Column("annotator_id", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("supersedes", sa.String(length=64), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.CheckConstraint(_KINDS, name=op.f("ck_events_kind")),
        sa.CheckConstraint(_SUBJECT, name=op.f("ck_events_subject")),
        *(
            sa.ForeignKeyConstraint([column], [f"{table}.id"], name=op.f(f"fk_events_{column}"))
            for column, table in (
                ("annotator_id", "annotators"),
                ("comparison_id", "comparisons"),
                ("response_id", "responses"),
                ("response_set_id", "response_sets"),
                ("refinement_id", "responses"),
                ("supersedes", "wider_events"),
            )
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sa.UniqueConstraint(
            "annotator_id", "idempotency_key", name=op.f("uq_events_annotator_id_idempotency_key")
        ),
        sa.UniqueConstraint("hash", name=op.f("uq_events_hash")),
        sa.UniqueConstraint("id", name=op.f("uq_events_id")),
        sa.UniqueConstraint("supersedes", name=op.f("uq_events_supersedes")),
    )
