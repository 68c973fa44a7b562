"""Models have names with versions, and aliases that move; the audit log can name an alias."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_series",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("newest_version", sa.Integer(), nullable=False),
        sa.Column("num_moves", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_model_series_project_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_model_series")),
    )
    op.add_column("models", sa.Column("name", sa.String(length=96), nullable=True))
    op.add_column("models", sa.Column("version", sa.Integer(), nullable=True))
    op.create_index(
        op.f("ix_models_project_id_name_version"),
        "models",
        ["project_id", "name", "version"],
        unique=True,
    )
    op.create_table(
        "model_aliases",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("alias", sa.String(length=63), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("move", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "name"],
            ["model_series.project_id", "model_series.name"],
            name=op.f("fk_model_aliases_project_id_name"),
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_aliases_model_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "name", "alias", name=op.f("pk_model_aliases")),
    )
    op.create_index(op.f("ix_model_aliases_model_id"), "model_aliases", ["model_id"])
    _let_targets_have(before=64, length=160)


def downgrade() -> None:
    op.execute("DELETE FROM audit_entries WHERE length(target_id) > 64")
    _let_targets_have(before=160, length=64)
    op.drop_table("model_aliases")
    op.drop_index(op.f("ix_models_project_id_name_version"), "models")
    op.execute("ALTER TABLE models DROP COLUMN version")
    op.execute("ALTER TABLE models DROP COLUMN name")
    op.drop_table("model_series")


def _let_targets_have(*, before: int, length: int) -> None:
    # Where SQLite makes the table anew it would not know these.
    rules = (
        sa.CheckConstraint("outcome IN ('done', 'refused')", name=op.f("ck_audit_entries_outcome")),
        sa.CheckConstraint("count >= 1", name=op.f("ck_audit_entries_count")),
    )
    with op.batch_alter_table("audit_entries", table_args=rules) as table:
        table.alter_column(
            "target_id",
            existing_type=sa.String(length=before),
            type_=sa.String(length=length),
            existing_nullable=True,
        )
