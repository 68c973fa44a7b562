"""Knowledge that jobs share, and models that are measured in the figure of their task."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BLOB_TABLES = ("files", "job_files")


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


def downgrade() -> None:
    op.execute("ALTER TABLE models RENAME COLUMN test_quality TO test_accuracy")
    for table in BLOB_TABLES:
        op.drop_index(op.f(f"ix_{table}_sha256"), table)
    op.drop_index(op.f("ix_jobs_parent_id"), "jobs")
    op.drop_index(op.f("ix_jobs_knowledge_id"), "jobs")
    op.execute("ALTER TABLE jobs DROP COLUMN knowledge_id")
    op.drop_table("knowledge_files")
    op.drop_table("knowledge")
