"""People, their access and their work: roles, personal data apart, tasks, leases, guidelines."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables; nothing that is there changes."""
    _people()
    _tasks()
    _leases()


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("annotator_id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("disabled_at", sa.String(length=27), nullable=True),
        sa.Column("erased_at", sa.String(length=27), nullable=True),
        sa.CheckConstraint(
            "role IN ('annotator', 'reviewer', 'owner')", name=op.f("ck_people_role")
        ),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_people_annotator_id")
        ),
        sa.PrimaryKeyConstraint("annotator_id", name=op.f("pk_people")),
    )
    op.create_table(
        "personal_data",
        sa.Column("annotator_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("note_key", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_personal_data_annotator_id")
        ),
        sa.PrimaryKeyConstraint("annotator_id", name=op.f("pk_personal_data")),
        sa.UniqueConstraint("name_key", name=op.f("uq_personal_data_name_key")),
    )
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("annotator_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("seen_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_sessions_annotator_id")
        ),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_annotator_id"), "sessions", ["annotator_id"], unique=False)
    op.create_table(
        "invitations",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("annotator_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("expires_at", sa.String(length=27), nullable=False),
        sa.Column("used_at", sa.String(length=27), nullable=True),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_invitations_annotator_id")
        ),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_invitations")),
    )
    op.create_index(
        op.f("ix_invitations_annotator_id"), "invitations", ["annotator_id"], unique=False
    )
    op.create_table(
        "guidelines",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("annotator_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_guidelines_version")),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_guidelines_annotator_id")
        ),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_guidelines")),
    )


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("prompt_id", sa.String(length=64), nullable=False),
        sa.Column("comparison_id", sa.String(length=64), nullable=True),
        sa.Column("response_set_id", sa.String(length=64), nullable=True),
        sa.Column("response_id", sa.String(length=64), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("remaining", sa.Integer(), nullable=False),
        sa.Column("look_up", sa.Boolean(), nullable=False),
        sa.Column("only_for", sa.String(length=64), nullable=True),
        sa.Column("repeat_of", sa.String(length=64), nullable=True),
        sa.Column("halted_at", sa.String(length=27), nullable=True),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.CheckConstraint(
            "(kind = 'comparison') = (comparison_id IS NOT NULL)"
            " AND (kind = 'ranking') = (response_set_id IS NOT NULL)"
            " AND (kind = 'rating') = (response_id IS NOT NULL)",
            name=op.f("ck_tasks_subject"),
        ),
        sa.CheckConstraint(
            "kind IN ('comparison', 'ranking', 'rating', 'demonstration')",
            name=op.f("ck_tasks_kind"),
        ),
        sa.CheckConstraint(
            "(repeat_of IS NULL) OR (only_for IS NOT NULL)", name=op.f("ck_tasks_repeat")
        ),
        sa.CheckConstraint("overlap BETWEEN 1 AND 1000000", name=op.f("ck_tasks_overlap")),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name=op.f("fk_tasks_comparison_id")
        ),
        sa.ForeignKeyConstraint(["only_for"], ["annotators.id"], name=op.f("fk_tasks_only_for")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_tasks_prompt_id")),
        sa.ForeignKeyConstraint(["repeat_of"], ["tasks.id"], name=op.f("fk_tasks_repeat_of")),
        sa.ForeignKeyConstraint(
            ["response_id"], ["responses.id"], name=op.f("fk_tasks_response_id")
        ),
        sa.ForeignKeyConstraint(
            ["response_set_id"], ["response_sets.id"], name=op.f("fk_tasks_response_set_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("position", name=op.f("uq_tasks_position")),
    )
    op.create_index(op.f("ix_tasks_only_for"), "tasks", ["only_for"], unique=False)
    op.create_index(
        "ix_tasks_open",
        "tasks",
        ["kind", "position"],
        unique=False,
        sqlite_where=sa.text("remaining > 0 AND halted_at IS NULL AND only_for IS NULL"),
        postgresql_where=sa.text("remaining > 0 AND halted_at IS NULL AND only_for IS NULL"),
    )
    op.create_table(
        "check_items",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("answer", sa.String(length=16), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("annotator_id", sa.String(length=64), nullable=True),
        sa.CheckConstraint("answer IN ('first', 'second')", name=op.f("ck_check_items_answer")),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_check_items_annotator_id")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_check_items_task_id")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_check_items")),
    )


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("annotator_id", sa.String(length=64), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("guidelines_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("event_id", sa.String(length=64), nullable=True),
        sa.Column("claimed_at", sa.String(length=27), nullable=False),
        sa.Column("expires_at", sa.String(length=27), nullable=False),
        sa.Column("closed_at", sa.String(length=27), nullable=True),
        sa.CheckConstraint("(state = 'live') = (closed_at IS NULL)", name=op.f("ck_leases_closed")),
        sa.CheckConstraint(
            "(state IN ('submitted', 'undone')) = (event_id IS NOT NULL)",
            name=op.f("ck_leases_answered"),
        ),
        sa.CheckConstraint("state = 'submitted' OR NOT counts", name=op.f("ck_leases_counts")),
        sa.CheckConstraint(
            "state IN ('live', 'submitted', 'skipped', 'released', 'expired', 'undone')",
            name=op.f("ck_leases_state"),
        ),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_leases_annotator_id")
        ),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_leases_event_id")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_leases_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
        sa.UniqueConstraint("annotator_id", "ordinal", name=op.f("uq_leases_annotator_id_ordinal")),
        sa.UniqueConstraint("position", name=op.f("uq_leases_position")),
    )
    op.create_index(op.f("ix_leases_event_id"), "leases", ["event_id"], unique=False)
    op.create_index(
        "ix_leases_live",
        "leases",
        ["annotator_id"],
        unique=False,
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    )
    op.create_index(
        op.f("ix_leases_task_id_annotator_id"), "leases", ["task_id", "annotator_id"], unique=False
    )
    op.create_index(
        "ux_leases_live",
        "leases",
        ["task_id", "annotator_id"],
        unique=True,
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    )
    op.create_table(
        "notes",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("annotator_id", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_notes_annotator_id")
        ),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_notes_event_id")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_notes")),
    )
    op.create_index(op.f("ix_notes_annotator_id"), "notes", ["annotator_id"], unique=False)
