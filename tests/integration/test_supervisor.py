"""Attempts as the supervisor sees them through, with the real trainer."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from app.config import Settings
from app.contracts.job import JobSpec, Resources, Status
from app.db import lifecycle, verbs, wishes
from app.db.models import Job, JobEvent, JobFile, Model
from app.db.session import Database
from tests.jobs import SPEC, queued
from worker.supervisor import Supervisor

SHORT = SPEC.model_copy(
    update={
        "training": SPEC.training.model_copy(update={"epochs": 1}),
        "teacher": SPEC.teacher.model_copy(
            update={"training": SPEC.training.model_copy(update={"epochs": 1})}
        ),
        "baseline": False,
        "export": ["safetensors"],
    }
)
LONG = SHORT.model_copy(update={"training": SPEC.training.model_copy(update={"epochs": 10_000})})


class Worker:
    """A supervisor over a database and a folder, and the wish to drain it."""

    def __init__(self, database: Database, folder: Path, gpus: int = 0) -> None:
        self.draining = False
        self.folder = folder
        url = database.engine.url.render_as_string(hide_password=False)
        settings = Settings(
            database_url=url,
            storage_url=str(folder / "blobs"),
            work_folder=folder / "work",
            renew_seconds=0.1,
            terminate_seconds=5,
            backoff_seconds=0,
        )
        self.supervisor = Supervisor(settings, "worker-1", gpus, lambda: self.draining)

    def leftovers(self) -> list[Path]:
        return list((self.folder / "work").glob("*"))


@pytest.fixture
def worker(database: Database, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(database, tmp_path)
    yield worker
    worker.supervisor.close()


@pytest.fixture
def sqlite_worker(sqlite_database: Database, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(sqlite_database, tmp_path)
    yield worker
    worker.supervisor.close()


def read(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


def trainer() -> psutil.Process | None:
    """Return this process's trainer, if one runs."""
    for child in psutil.Process(os.getpid()).children():
        if "worker.distillation" in " ".join(child.cmdline()):
            return child
    return None


@contextmanager
def meanwhile(act: Callable[[], None], database: Database, job_id: str) -> Iterator[None]:
    """Do something once the job's student is being trained."""

    def wait_and_act() -> None:
        deadline = time.monotonic() + 200
        while read(database, job_id).phase != "training_student":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()


def test_a_job_runs_to_its_files_and_models_and_leaves_no_folder(
    database: Database, worker: Worker
) -> None:
    job_id = queued(database, spec=SHORT)

    assert worker.supervisor.run_next()
    assert not worker.supervisor.run_next()

    job = read(database, job_id)
    assert job.status == Status.SUCCEEDED, job.error
    with database.read() as session:
        paths = set(session.scalars(select(JobFile.path).where(JobFile.job_id == job_id)))
        roles = set(session.scalars(select(Model.role).where(Model.job_id == job_id)))
    assert {"student/model.safetensors", "teacher/model.safetensors", "report.json"} <= paths
    assert roles == {"teacher", "student"}
    assert worker.leftovers() == []
    assert trainer() is None


def test_a_trainer_that_is_killed_is_tried_again_and_charged(
    sqlite_database: Database, sqlite_worker: Worker
) -> None:
    job_id = queued(sqlite_database, spec=LONG)

    def kill() -> None:
        running = trainer()
        assert running is not None
        running.kill()

    with meanwhile(kill, sqlite_database, job_id):
        sqlite_worker.supervisor.run_next()

    job = read(sqlite_database, job_id)
    assert (job.status, job.num_failures) == (Status.QUEUED, 1)


def test_a_cancelled_trainer_stops_at_a_step_and_the_job_is_cancelled(
    sqlite_database: Database, sqlite_worker: Worker
) -> None:
    job_id = queued(sqlite_database, spec=LONG)

    def cancel() -> None:
        with sqlite_database.write() as session:
            wishes.cancel(session, lifecycle.lock(session, job_id), kill=False)

    with meanwhile(cancel, sqlite_database, job_id):
        sqlite_worker.supervisor.run_next()

    assert read(sqlite_database, job_id).status == Status.CANCELLED
    assert trainer() is None


def test_a_trainer_that_ignores_the_wish_to_stop_is_killed(
    sqlite_database: Database, sqlite_worker: Worker
) -> None:
    job_id = queued(sqlite_database, spec=LONG)

    def freeze_and_cancel() -> None:
        running = trainer()
        assert running is not None
        running.send_signal(signal.SIGSTOP)
        with sqlite_database.write() as session:
            wishes.cancel(session, lifecycle.lock(session, job_id), kill=False)

    with meanwhile(freeze_and_cancel, sqlite_database, job_id):
        sqlite_worker.supervisor.run_next()

    assert read(sqlite_database, job_id).status == Status.CANCELLED
    assert trainer() is None


def test_a_draining_worker_gives_its_job_back_uncharged(
    sqlite_database: Database, sqlite_worker: Worker
) -> None:
    job_id = queued(sqlite_database, spec=LONG)

    def drain() -> None:
        sqlite_worker.draining = True

    with meanwhile(drain, sqlite_database, job_id):
        sqlite_worker.supervisor.run_all()

    job = read(sqlite_database, job_id)
    assert (job.status, job.num_failures, job.num_losses) == (Status.QUEUED, 0, 0)


def test_an_attempt_whose_job_was_taken_over_changes_nothing(
    sqlite_database: Database, sqlite_worker: Worker
) -> None:
    job_id = queued(sqlite_database, spec=LONG)
    others = sqlite_worker.folder / "work" / job_id / "2"

    def take_over() -> None:
        with sqlite_database.write() as session:
            verbs.take_back(session, lifecycle.lock(session, job_id))
        with sqlite_database.write() as session:
            verbs.claim(session, "worker-2", 0, 60)
        others.mkdir()

    with meanwhile(take_over, sqlite_database, job_id):
        sqlite_worker.supervisor.run_next()

    job = read(sqlite_database, job_id)
    assert (job.status, job.fence, job.worker_id) == (Status.RUNNING, 2, "worker-2")
    assert trainer() is None
    assert list(others.parent.iterdir()) == [others]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"resources": {"max_runtime_seconds": 1}}, "deadline_exceeded"),
        (
            {
                "dataset": {
                    "source": "file",
                    "file": "file-gone",
                    "format": {"name": "csv"},
                }
            },
            "input_missing",
        ),
        (
            {
                "dataset": {"source": "builtin", "name": "wine"},
                "student": {"architecture": {"name": "convnet"}},
            },
            "architecture_needs_images",
        ),
    ],
    ids=["deadline", "input", "misfit"],
)
def test_what_cannot_work_fails_with_its_reason_at_the_first_attempt(
    sqlite_database: Database,
    sqlite_worker: Worker,
    change: dict[str, Any],
    code: str,
) -> None:
    spec = JobSpec.model_validate({**LONG.model_dump(mode="json"), **change})
    job_id = queued(sqlite_database, spec=spec)

    sqlite_worker.supervisor.run_next()

    job = read(sqlite_database, job_id)
    assert job.status == Status.FAILED
    assert job.attempt == 1
    assert job.error is not None
    assert job.error["code"] == code
    assert job.error["hint"]


@pytest.mark.parametrize("gpus", [None, 1], ids=["any worker", "a GPU worker"])
def test_a_worker_whose_gpu_is_away_sets_one_job_aside_and_takes_no_other(
    gpus: int | None, sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    worker = Worker(sqlite_database, tmp_path, gpus=1)
    spec = SHORT.model_copy(update={"resources": Resources(gpus=gpus)})
    tried, untouched = (queued(sqlite_database, gpus=gpus, spec=spec) for _ in range(2))

    worker.supervisor.run_all()
    worker.supervisor.close()

    job = read(sqlite_database, tried)
    assert (job.status, job.num_failures, job.num_losses) == (Status.QUEUED, 0, 1)
    with sqlite_database.read() as session:
        event = session.scalars(select(JobEvent).where(JobEvent.type == "job.requeued")).one()
    assert (event.job_id, event.data) == (tried, {"code": "no_gpu"})
    assert read(sqlite_database, untouched).attempt == 0
    assert worker.supervisor.gpu_is_away
