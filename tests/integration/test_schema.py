"""The migrations make exactly the tables of the models, on both databases."""

import json
import threading
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

import migrations
from app.contracts.report import Report
from app.db import schema
from app.db.models import Job
from app.db.session import Database
from app.db.table import Table

SCORES = {"num_examples": 4, "errors": 1, "accuracy": 0.75}
SCORES |= {"macro_f1": 0.7, "log_loss": 0.5, "calibration_error": 0.1}
MODEL = {"architecture": "mlp", "num_parameters": 1, "bytes": 4, "latency_seconds": 0.001}
RESULT_OF_THE_FIRST_VERSION = {
    "teacher": {**MODEL, "epoch": 1, "validation": SCORES, "test": SCORES},
    "baseline": None,
    "student": {**MODEL, "epoch": 1, "validation": None, "test": SCORES},
    "fidelity": {"agreement": 1.0, "mean_divergence": 0.0},
    "gain": None,
    "gap_recovered": None,
    "compression": 1.0,
    "speedup": 1.0,
    "num_examples": {"train": 8, "validation": 4, "test": 4},
    "class_names": ["no", "yes"],
    "warnings": [],
}


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


def test_rows_of_the_first_tables_outlive_the_way_up_down_and_up_again(database_url: str) -> None:
    database = Database(database_url)
    with database.engine.begin() as connection:
        _alembic(connection, "upgrade", "0001")
        _insert_a_job_and_its_model(connection)

    for step in ("upgrade", "downgrade", "upgrade"):
        with database.engine.begin() as connection:
            _alembic(connection, step, "head" if step == "upgrade" else "0001")

    assert schema.is_current(database)
    with database.engine.connect() as connection:
        job = connection.execute(text("SELECT id, knowledge_id FROM jobs")).one()
        quality = connection.execute(text("SELECT test_quality FROM models")).scalar_one()
    assert (tuple(job), quality) == (("distjob-1", None), 0.75)
    with database.read() as session:
        result = Report.model_validate(session.get_one(Job, "distjob-1").result)
    assert result.output_names == ["no", "yes"]
    assert result.student.test.quality == result.student.test.accuracy == 0.75
    assert (result.baseline, result.compared_by) == (None, "accuracy")
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


def _alembic(connection: Connection, step: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    getattr(command, step)(config, revision)


def _insert_a_job_and_its_model(connection: Connection) -> None:
    now = "2026-01-01 00:00:00"
    rows: dict[str, dict[str, Any]] = {
        "projects": {"id": "project-1", "name": "default", "created_at": now},
        "jobs": {
            "id": "distjob-1",
            "project_id": "project-1",
            **dict.fromkeys(("spec", "resolved_spec", "metadata", "latest_metrics"), "{}"),
            **dict.fromkeys(("phases", "warnings"), "[]"),
            **dict.fromkeys(("priority", "num_events", "fence", "attempt"), 0),
            **dict.fromkeys(("num_failures", "num_losses"), 0),
            **dict.fromkeys(("created_at", "queued_at", "not_before"), now),
            "status": "succeeded",
            "finished_at": now,
            "result": json.dumps(RESULT_OF_THE_FIRST_VERSION),
            "desired_status": "running",
            "kill_requested": False,
            "version": 1,
            "max_attempts": 3,
        },
        "models": {
            "id": "model-1",
            "project_id": "project-1",
            "job_id": "distjob-1",
            "role": "student",
            "folder": "student",
            "architecture": "{}",
            "num_parameters": 1,
            "test_accuracy": 0.75,
            "created_at": now,
        },
        "job_files": {
            "job_id": "distjob-1",
            "path": "report.json",
            "bytes": 2,
            "sha256": "0" * 64,
            "media_type": "application/json",
        },
    }
    for table, columns in rows.items():
        names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        statement = text(f"INSERT INTO {table} ({names}) VALUES ({values})")  # noqa: S608 (ours)
        connection.execute(statement, columns)
