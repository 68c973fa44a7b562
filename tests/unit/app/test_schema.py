"""The migrations make exactly the tables of the models; PostgreSQL's turn is in integration."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from app.db import schema
from app.db.models import Table
from app.db.session import Database


def test_a_migrated_sqlite_database_has_the_models_tables(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/test.db")
    assert not schema.is_current(database)

    schema.upgrade(database)
    schema.upgrade(database)

    assert schema.is_current(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
    database.close()
