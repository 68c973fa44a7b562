"""The trace that a job's request belongs to, so that its attempts are seen under it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String(length=64), nullable=True))


def downgrade() -> None:
    op.execute("ALTER TABLE jobs DROP COLUMN traceparent")
