"""Models that clients bring, with files of their own; models have descriptions and metadata."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ORIGIN = (
    "(job_id IS NULL) = (signature IS NOT NULL) AND (job_id IS NULL) = (folder IS NULL) "
    "AND (job_id IS NULL) = (test_quality IS NULL)"
)
MADE_BY_JOBS = {
    "job_id": sa.String(length=64),
    "folder": sa.String(length=64),
    "test_quality": sa.Float(),
}


def upgrade() -> None:
    with _no_alias(), op.batch_alter_table("models") as table:
        table.add_column(sa.Column("signature", sa.JSON(none_as_null=True), nullable=True))
        table.add_column(sa.Column("description", sa.Text(), nullable=True))
        table.add_column(sa.Column("metadata", sa.JSON(), server_default="{}", nullable=False))
        for name, kind in MADE_BY_JOBS.items():
            table.alter_column(name, existing_type=kind, nullable=True)
        table.create_check_constraint(op.f("ck_models_origin"), ORIGIN)
    op.create_table(
        "model_files",
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_model_files_model_id")),
        sa.PrimaryKeyConstraint("model_id", "path", name=op.f("pk_model_files")),
    )
    op.create_index(op.f("ix_model_files_sha256"), "model_files", ["sha256"])


def downgrade() -> None:
    op.drop_table("model_files")
    brought = "SELECT id FROM models WHERE job_id IS NULL"
    op.execute(f"DELETE FROM model_aliases WHERE model_id IN ({brought})")  # noqa: S608 (ours)
    op.execute("DELETE FROM models WHERE job_id IS NULL")
    with _no_alias(), op.batch_alter_table("models") as table:
        table.drop_constraint(op.f("ck_models_origin"), type_="check")
        for name, kind in MADE_BY_JOBS.items():
            table.alter_column(name, existing_type=kind, nullable=False)
        for name in ("metadata", "description", "signature"):
            table.drop_column(name)


@contextmanager
def _no_alias() -> Iterator[None]:
    """Lay aside what refers to models: SQLite drops the table that it makes anew."""
    columns = [sa.column(name) for name in ("project_id", "name", "alias", "model_id", "move")]
    aliases = sa.table(
        "model_aliases", *columns, sa.column("updated_at", sa.DateTime(timezone=True))
    )
    rows = op.get_bind().execute(sa.select(aliases)).mappings().all()
    op.get_bind().execute(sa.delete(aliases))
    yield
    if rows:
        op.bulk_insert(aliases, [dict(row) for row in rows])
