"""Knowledge that jobs share, and models that are measured in the figure of their task."""

from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BLOB_TABLES = ("files", "job_files")
JOBS = sa.table("jobs", sa.column("id", sa.String), sa.column("result", sa.JSON))


def upgrade() -> None:
    op.create_table(
        "knowledge",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.JSON(), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("output_names", sa.JSON(), nullable=False),
        sa.Column("storage", sa.String(length=16), nullable=False),
        sa.Column("top_k", sa.Integer(), nullable=True),
        sa.Column("layers", sa.JSON(), nullable=False),
        sa.Column("views", sa.Integer(), nullable=False),
        sa.Column("num_train", sa.BigInteger(), nullable=False),
        sa.Column("num_held_out", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_knowledge_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge")),
        sa.UniqueConstraint(
            "project_id", "request_digest", name=op.f("uq_knowledge_project_id_request_digest")
        ),
    )
    op.create_index(op.f("ix_knowledge_project_id_id"), "knowledge", ["project_id", "id"])
    op.create_index(op.f("ix_knowledge_job_id"), "knowledge", ["job_id"])
    op.create_table(
        "knowledge_files",
        sa.Column("knowledge_id", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["knowledge_id"], ["knowledge.id"], name=op.f("fk_knowledge_files_knowledge_id")
        ),
        sa.PrimaryKeyConstraint("knowledge_id", "path", name=op.f("pk_knowledge_files")),
    )
    op.create_index(op.f("ix_knowledge_files_sha256"), "knowledge_files", ["sha256"])
    # Alembic would make a new table of jobs on SQLite, which those that refer to it forbid.
    op.execute(
        "ALTER TABLE jobs ADD COLUMN knowledge_id VARCHAR(64) "
        "CONSTRAINT fk_jobs_knowledge_id REFERENCES knowledge (id)"
    )
    op.create_index(op.f("ix_jobs_knowledge_id"), "jobs", ["knowledge_id"])
    op.create_index(op.f("ix_jobs_parent_id"), "jobs", ["parent_id"])
    for table in BLOB_TABLES:
        op.create_index(op.f(f"ix_{table}_sha256"), table, ["sha256"])
    op.execute("ALTER TABLE models RENAME COLUMN test_accuracy TO test_quality")
    _rewrite_results(_with_quality)


def downgrade() -> None:
    _rewrite_results(_without_quality)
    op.execute("ALTER TABLE models RENAME COLUMN test_quality TO test_accuracy")
    for table in BLOB_TABLES:
        op.drop_index(op.f(f"ix_{table}_sha256"), table)
    op.drop_index(op.f("ix_jobs_parent_id"), "jobs")
    op.drop_index(op.f("ix_jobs_knowledge_id"), "jobs")
    op.execute("ALTER TABLE jobs DROP COLUMN knowledge_id")
    op.drop_table("knowledge_files")
    op.drop_table("knowledge")


def _rewrite_results(rewrite: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Give every job's result the other version's form; a stored result is read as that."""
    connection = op.get_bind()
    query = sa.select(JOBS.c.id, JOBS.c.result).where(JOBS.c.result.is_not(sa.null()))
    for job_id, result in connection.execute(query).all():
        if isinstance(result, dict):
            changed = sa.update(JOBS).where(JOBS.c.id == job_id).values(result=rewrite(result))
            connection.execute(changed)


def _with_quality(result: dict[str, Any]) -> dict[str, Any]:
    """Results were of classes alone, and accuracy was what models were compared by."""
    for scores in _scores(result):
        scores.setdefault("quality", scores.get("accuracy"))
    names = result.pop("class_names", None)
    return result if names is None else {**result, "output_names": names}


def _without_quality(result: dict[str, Any]) -> dict[str, Any]:
    for scores in _scores(result):
        scores.pop("quality", None)
    names = result.pop("output_names", None)
    return result if names is None else {**result, "class_names": names}


def _scores(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for role in ("teacher", "baseline", "student"):
        for part in ("validation", "test"):
            scores = (result.get(role) or {}).get(part)
            if scores:
                yield scores
