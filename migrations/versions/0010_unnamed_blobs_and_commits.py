"""What has no name in storage is counted, and parts before they arrive; models have commits."""

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "unnamed_blobs",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_unnamed_blobs_project_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "sha256", name=op.f("pk_unnamed_blobs")),
    )
    op.create_index(op.f("ix_unnamed_blobs_sha256"), "unnamed_blobs", ["sha256"])
    # Those that are there had arrived before their rows were written.
    op.add_column(
        "upload_parts",
        sa.Column("arrived", sa.Boolean(), server_default=sa.true(), nullable=False),
    )
    op.add_column("models", sa.Column("commit_id", sa.String(length=40), nullable=True))
    op.create_index(op.f("ix_models_project_id_commit_id"), "models", ["project_id", "commit_id"])
    _give_commits()


def downgrade() -> None:
    op.drop_index(op.f("ix_models_project_id_commit_id"), "models")
    op.execute("ALTER TABLE models DROP COLUMN commit_id")
    op.execute("DELETE FROM upload_parts WHERE NOT arrived")
    op.execute("ALTER TABLE upload_parts DROP COLUMN arrived")
    op.drop_table("unnamed_blobs")


def _give_commits() -> None:
    connection = op.get_bind()
    of_job = sa.text("SELECT path, sha256 FROM job_files WHERE job_id = :id")
    of_model = sa.text("SELECT path, sha256 FROM model_files WHERE model_id = :id")
    change = sa.text("UPDATE models SET commit_id = :commit_id WHERE id = :id")
    for model in connection.execute(sa.text("SELECT id, job_id, folder FROM models")).all():
        is_made = model.job_id is not None
        files = connection.execute(
            of_job if is_made else of_model, {"id": model.job_id if is_made else model.id}
        )
        folder = f"{model.folder}/" if is_made else ""
        inside = sorted(
            [path.removeprefix(folder), sha256] for path, sha256 in files if path.startswith(folder)
        )
        digest = hashlib.sha256(json.dumps(inside).encode()).hexdigest()
        connection.execute(change, {"commit_id": digest[:40], "id": model.id})
