"""The migrations make exactly the tables of the models, on both databases."""

import threading

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from app.db import schema
from app.db.models import Table
from app.db.session import Database


def test_a_migrated_database_has_the_models_tables(database_url: str) -> None:
    database = Database(database_url)
    assert not schema.is_current(database)

    schema.upgrade(database)
    schema.upgrade(database)

    assert schema.is_current(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
    database.close()


def test_processes_that_start_together_migrate_once(postgres_url: str) -> None:
    database = Database(postgres_url)
    threads = [threading.Thread(target=schema.upgrade, args=[database]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert schema.is_current(database)
    database.close()
