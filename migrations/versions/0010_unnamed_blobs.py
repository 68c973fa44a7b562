"""What lies in storage without a name is counted; parts of uploads before they have arrived."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
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


def downgrade() -> None:
    op.execute("DELETE FROM upload_parts WHERE NOT arrived")
    op.execute("ALTER TABLE upload_parts DROP COLUMN arrived")
    op.drop_table("unnamed_blobs")
