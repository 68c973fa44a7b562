"""The migrations make exactly the tables of the models, on both databases."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import IntegrityError

import migrations
from app.contracts.report import Report
from app.db import schema
from app.db.models import Job, Model
from app.db.registry import commit_of, number_models
from app.db.session import Database
from app.db.table import Table

NOW = "2026-01-01 00:00:00"
SCORES = {"num_examples": 4, "errors": 1, "accuracy": 0.75}
SCORES |= {"macro_f1": 0.7, "log_loss": 0.5, "calibration_error": 0.1}
SERIES: dict[str, Any] = {"project_id": "project-1", "newest_version": 1, "num_moves": 1}
ALIAS: dict[str, Any] = {
    "project_id": "project-1",
    "alias": "best",
    "model_id": "model-2",
    "move": 1,
}
ALIAS |= {"updated_at": NOW}
ALIASES = "SELECT model_id, updated_at FROM model_aliases ORDER BY model_id"
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

BROUGHT: dict[str, Any] = {
    "id": "model-2",
    "project_id": "project-1",
    "role": "teacher",
    "name": "b",
    "version": 1,
    "architecture": "{}",
    "num_parameters": 1,
    "created_at": NOW,
    "signature": "{}",
}
BROUGHT_FILE = {
    "model_id": "model-2",
    "path": "a",
    "bytes": 1,
    "sha256": "0" * 64,
    "media_type": "a",
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


def test_a_queued_job_outlives_the_way_from_the_checkpoints_down_and_up_again(
    database_url: str,
) -> None:
    database = Database(database_url)
    with database.engine.begin() as connection:
        _alembic(connection, "upgrade", "0001")
        _insert_a_job_and_its_model(connection)
        _alembic(connection, "upgrade", "0003")
        connection.execute(text("UPDATE jobs SET num_checkpoints = 1"))
        _insert_a_checkpoint_and_a_key(connection)

    with database.engine.begin() as connection:
        _alembic(connection, "downgrade", "0002")
        tables = set(inspect(connection).get_table_names())
        columns = {column["name"] for column in inspect(connection).get_columns("jobs")}
    assert tables.isdisjoint({"checkpoints", "checkpoint_files", "idempotency_keys"})
    assert "num_checkpoints" not in columns
    with database.engine.begin() as connection:
        _alembic(connection, "upgrade", "0003")

    with database.engine.connect() as connection:
        job = connection.execute(text("SELECT id, num_checkpoints FROM jobs")).one()
        left = connection.execute(text("SELECT count(*) FROM checkpoints")).scalar_one()
    assert (tuple(job), left) == (("distjob-1", 0), 0)
    database.close()


@pytest.mark.parametrize("ways", [["head"], ["0003", "0002", "head"]], ids=str)
def test_a_status_and_a_wish_that_contradict_each_other_are_refused(
    database_url: str, ways: list[str]
) -> None:
    database = Database(database_url)
    with database.engine.begin() as connection:
        for revision in ways:
            _alembic(connection, "downgrade" if revision == "0002" else "upgrade", revision)
        _insert_a_job_and_its_model(connection, test_quality=True)
    left = "result = NULL, finished_at = NULL"
    finished = "result = NULL, finished_at = created_at"
    for status, wishes, rest in [
        ("queued", ("paused", "cancelled"), left),
        ("paused", ("running", "cancelled"), left),
        ("cancelled", ("running", "paused"), finished),
    ]:
        for wish in wishes:
            change = f"UPDATE jobs SET status = '{status}', desired_status = '{wish}', {rest}"  # noqa: S608 (ours)
            with (
                pytest.raises(IntegrityError, match="ck_jobs_wishes"),
                database.engine.begin() as connection,
            ):
                connection.execute(text(change))
    database.close()


def test_the_audit_log_keeps_its_entries_and_rules_where_its_targets_grow(
    database_url: str,
) -> None:
    database = Database(database_url)
    entry: dict[str, object] = {"id": "audit-1", "action": "job.create", "target_id": "distjob-1"}
    entry |= {"outcome": "done", "count": 1, "created_at": NOW}
    with database.engine.begin() as connection:
        _alembic(connection, "upgrade", "0006")
        _insert(connection, {"audit_entries": entry})
    long = {**entry, "id": "audit-2", "target_id": "a" * 160}
    for step, revision in [("upgrade", "head"), ("downgrade", "0006"), ("upgrade", "head")]:
        with database.engine.begin() as connection:
            _alembic(connection, step, revision)
            if revision == "head":
                _insert(connection, {"audit_entries": long})
        with database.engine.connect() as connection:
            left = connection.scalars(text("SELECT id FROM audit_entries ORDER BY id")).all()
        assert left == (["audit-1", "audit-2"] if revision == "head" else ["audit-1"])
        for wrong in ({"outcome": "perhaps"}, {"count": 0}):
            with (
                pytest.raises(IntegrityError, match=f"ck_audit_entries_{next(iter(wrong))}"),
                database.engine.begin() as connection,
            ):
                _insert(connection, {"audit_entries": {**entry, "id": "audit-3", **wrong}})
    database.close()


def test_models_that_are_there_are_given_their_commits(database_url: str) -> None:
    database = Database(database_url)
    file = {"job_id": "distjob-1", "bytes": 1, "media_type": "text/plain"}
    files = {"student/b": "b" * 64, "student/a/c": "c" * 64}
    with database.engine.begin() as connection:
        _alembic(connection, "upgrade", "0009")
        _insert_a_job_and_its_model(connection, test_quality=True)
        for path, sha256 in files.items():
            _insert(connection, {"job_files": {**file, "path": path, "sha256": sha256}})
        _insert(connection, {"models": BROUGHT, "model_files": BROUGHT_FILE})
        _alembic(connection, "upgrade", "head")

    with database.write() as session:
        model = session.get_one(Model, "model-1")
        given = model.commit_id
        number_models(session, session.get_one(Job, "distjob-1"))
        assert given == model.commit_id == commit_of({"b": "b" * 64, "a/c": "c" * 64})
        assert session.get_one(Model, "model-2").commit_id == commit_of({"a": "0" * 64})
    database.close()


def test_models_of_clients_go_on_the_way_down_and_aliases_of_others_stay(
    database_url: str,
) -> None:
    database = Database(database_url)
    with database.engine.begin() as connection:
        _alembic(connection, "upgrade", "0008")
        _insert_a_job_and_its_model(connection, test_quality=True)
        connection.execute(text("UPDATE models SET name = 'a', version = 1"))
        for name in ("a", "b"):
            _insert(connection, {"model_series": {**SERIES, "name": name}})
        _insert(connection, {"model_aliases": {**ALIAS, "name": "a", "model_id": "model-1"}})
    for step, revision in [("upgrade", "head"), ("downgrade", "0008"), ("upgrade", "head")]:
        with database.engine.begin() as connection:
            _alembic(connection, step, revision)
            if revision == "head":
                _insert(connection, {"models": BROUGHT, "model_files": BROUGHT_FILE})
                _insert(connection, {"model_aliases": {**ALIAS, "name": "b"}})
        with database.engine.connect() as connection:
            aliases = connection.execute(text(ALIASES)).all()
        kept = ("model-1", "2026-01-01 00:00:00")
        expected = [kept, ("model-2", kept[1])] if revision == "head" else [kept]
        assert [(row[0], str(row[1])[:19]) for row in aliases] == expected
    for wrong, rule in (({"role": "pupil"}, "role"), ({"folder": "a"}, "origin")):
        with (
            pytest.raises(IntegrityError, match=f"ck_models_{rule}"),
            database.engine.begin() as connection,
        ):
            _insert(connection, {"models": {**BROUGHT, "id": "model-3", "version": 2, **wrong}})
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


def _insert_a_job_and_its_model(connection: Connection, *, test_quality: bool = False) -> None:
    rows: dict[str, dict[str, Any]] = {
        "projects": {"id": "project-1", "name": "default", "created_at": NOW},
        "jobs": {
            "id": "distjob-1",
            "project_id": "project-1",
            **dict.fromkeys(("spec", "resolved_spec", "metadata", "latest_metrics"), "{}"),
            **dict.fromkeys(("phases", "warnings"), "[]"),
            **dict.fromkeys(("priority", "num_events", "fence", "attempt"), 0),
            **dict.fromkeys(("num_failures", "num_losses"), 0),
            **dict.fromkeys(("created_at", "queued_at", "not_before"), NOW),
            "status": "succeeded",
            "finished_at": NOW,
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
            "test_quality" if test_quality else "test_accuracy": 0.75,
            "created_at": NOW,
        },
        "job_files": {
            "job_id": "distjob-1",
            "path": "report.json",
            "bytes": 2,
            "sha256": "0" * 64,
            "media_type": "application/json",
        },
    }
    _insert(connection, rows)


def _insert_a_checkpoint_and_a_key(connection: Connection) -> None:
    rows: dict[str, dict[str, Any]] = {
        "checkpoints": {
            "id": "checkpoint-1",
            "job_id": "distjob-1",
            "number": 1,
            "fence": 1,
            "phase": "preparing",
            "metrics": "{}",
            "created_at": NOW,
        },
        "checkpoint_files": {
            "checkpoint_id": "checkpoint-1",
            "path": "a",
            "bytes": 1,
            "sha256": "0" * 64,
        },
        "idempotency_keys": {
            "project_id": "project-1",
            "route": "/v1/distillation/jobs",
            "key": "key-1",
            "body_digest": "0" * 64,
            "answer": "{}",
            "created_at": NOW,
        },
    }
    _insert(connection, rows)


def _insert(connection: Connection, rows: dict[str, dict[str, Any]]) -> None:
    for table, columns in rows.items():
        names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        statement = text(f"INSERT INTO {table} ({names}) VALUES ({values})")  # noqa: S608 (ours)
        connection.execute(statement, columns)
