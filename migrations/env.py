"""How Alembic reaches the database; run by ``app/db/schema.py`` with an open connection."""

from alembic import context

from app.db import (  # noqa: F401 (their tables are the metadata's)
    audit,
    blobs,
    checkpoints,
    models,
    quotas,
    registry,
    uploads,
    webhooks,
)
from app.db.table import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,  # SQLite changes a table by making a new one
)
with context.begin_transaction():
    context.run_migrations()
