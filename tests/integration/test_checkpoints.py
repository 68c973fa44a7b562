"""A job goes on from its checkpoints: after a crash, a drain, a pause, and damage to the newest."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.config import Settings
from app.contracts.job import JobError, Resources, Status
from app.contracts.message import CheckpointWritten, OutputFile
from app.contracts.training import Training
from app.db import lifecycle, verbs, wishes
from app.db.checkpoints import Checkpoint, CheckpointFile
from app.db.models import Job, JobEvent, JobFile, JobLog
from app.db.session import Database
from app.services.files import store_file
from app.storage import Storage
from tests.house import still_running
from tests.jobs import PROJECT_ID, SPEC, claimed, queued
from worker import sandbox
from worker.checkpoints import Keeper
from worker.lease import Claim
from worker.leftovers import KEPT_SECONDS, remove_leftovers
from worker.restoration import restore
from worker.supervisor import Supervisor

ERROR = JobError(code="trainer_crashed", message="It crashed.", retryable=True)
STEPS = SPEC.model_copy(
    update={
        "training": Training(epochs=300, batch_size=256),
        "teacher": SPEC.teacher.model_copy(update={"training": Training(epochs=2)}),
        "baseline": False,
        "export": ["safetensors"],
        "resources": Resources(gpus=0, checkpoint_every_seconds=1),
    }
)
"""A student of some seconds."""


class Worker:
    """A supervisor over a database and a folder, and the wish to drain it."""

    def __init__(self, database: Database, folder: Path, **settings: object) -> None:
        self.draining = False
        self.database = database
        self.settings = Settings.model_validate(
            {
                "database_url": database.engine.url.render_as_string(hide_password=False),
                "storage_url": str(folder / "blobs"),
                "work_folder": folder / "work",
                "renew_seconds": 0.1,
                "terminate_seconds": 5,
                "backoff_seconds": 0,
                **settings,
            }
        )
        self.storage = Storage(self.settings.storage_url)
        self.supervisor = Supervisor(self.settings, "worker-1", 0, lambda: self.draining)

    def read(self, job_id: str) -> Job:
        with self.database.read() as session:
            return session.get_one(Job, job_id)

    def events(self, job_id: str) -> list[str]:
        with self.database.read() as session:
            query = select(JobEvent.type).where(JobEvent.job_id == job_id)
            return list(session.scalars(query.order_by(JobEvent.number)))

    def assert_each_attempt_went_on(self, job_id: str) -> None:
        """See that what an attempt was given is what its trainer then went on from."""
        with self.database.read() as session:
            query = select(JobEvent).where(
                JobEvent.job_id == job_id, JobEvent.type.in_(["job.restored", "job.went_on"])
            )
            events = session.scalars(query.order_by(JobEvent.number)).all()
        # One of between two stages has no step, and no training to go on with.
        given = [event for event in events if event.type == "job.restored" and event.data["step"]]
        went_on = [event for event in events if event.type == "job.went_on"]
        assert given
        assert [event.fence for event in went_on] == [event.fence for event in given]
        assert [event.data["step"] for event in went_on] == [event.data["step"] for event in given]

    def student(self, job_id: str) -> str:
        """Return the digest of the student's weights."""
        with self.database.read() as session:
            return session.get_one(JobFile, (job_id, "student/model.safetensors")).sha256

    @contextmanager
    def once_there_is_a_checkpoint(self, job_id: str, act: Callable[[], None]) -> Iterator[None]:
        """Do something as soon as the student in training has a checkpoint."""

        def wait_and_act() -> None:
            deadline = time.monotonic() + 200
            while not self._has_checkpoint(job_id):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            act()

        thread = threading.Thread(target=wait_and_act)
        thread.start()
        yield
        thread.join()

    def _has_checkpoint(self, job_id: str) -> bool:
        job = self.read(job_id)
        with self.database.read() as session:
            query = select(Checkpoint.id).where(
                Checkpoint.job_id == job_id,
                Checkpoint.role == "student",
                Checkpoint.fence == job.fence,
            )
            return job.status == Status.RUNNING and session.scalars(query).first() is not None


@pytest.fixture
def worker(sqlite_database: Database, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(sqlite_database, tmp_path)
    yield worker
    worker.supervisor.close()


def trainer() -> psutil.Process:
    """Return the trainer itself, which may be inside of a sandbox."""
    family = psutil.Process(os.getpid()).children(recursive=True)
    return next(
        member
        for member in reversed(family)
        if "worker.distillation" in member.cmdline() and member.name() != "bwrap"
    )


@pytest.fixture
def undisturbed(worker: Worker) -> str:
    """Return the digest of the student that a run which nobody disturbs makes."""
    job_id = queued(worker.database, spec=STEPS)
    worker.supervisor.run_next()
    assert worker.read(job_id).status == Status.SUCCEEDED
    return worker.student(job_id)


@pytest.mark.parametrize("with_sandbox", [True, False], ids=["sandbox", "plain"])
def test_a_killed_trainer_s_job_goes_on_and_its_student_is_the_same(
    worker: Worker,
    undisturbed: str,
    monkeypatch: pytest.MonkeyPatch,
    with_sandbox: bool,  # noqa: FBT001 (a case)
) -> None:
    if with_sandbox and not sandbox.prefix():
        pytest.skip("bubblewrap does not work here")
    if not with_sandbox:
        monkeypatch.setattr("worker.launcher.prefix", lambda: ())
    job_id = queued(worker.database, spec=STEPS)

    for _ in range(2):
        with worker.once_there_is_a_checkpoint(job_id, lambda: trainer().kill()):
            worker.supervisor.run_next()
        job = worker.read(job_id)
        assert (job.status, job.num_failures) == (Status.QUEUED, 1)
    worker.supervisor.run_next()

    assert worker.read(job_id).status == Status.SUCCEEDED
    assert worker.events(job_id).count("job.restored") == 2
    worker.assert_each_attempt_went_on(job_id)
    assert worker.student(job_id) == undisturbed


def test_a_drained_job_goes_on_at_the_very_step_and_nothing_is_charged(
    worker: Worker, undisturbed: str
) -> None:
    job_id = queued(worker.database, spec=STEPS)

    with worker.once_there_is_a_checkpoint(job_id, lambda: setattr(worker, "draining", True)):
        worker.supervisor.run_all()
    job = worker.read(job_id)
    assert (job.status, job.num_failures, job.num_losses) == (Status.QUEUED, 0, 0)
    with worker.database.read() as session:
        steps = session.scalars(
            select(Checkpoint.step).where(Checkpoint.job_id == job_id).order_by(Checkpoint.number)
        ).all()
    worker.draining = False
    worker.supervisor.run_next()

    assert worker.student(job_id) == undisturbed
    worker.assert_each_attempt_went_on(job_id)
    with worker.database.read() as session:
        restored = session.scalars(
            select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.type == "job.restored")
        ).one()
    assert restored.data["step"] == steps[-1]


def test_a_paused_job_rests_until_it_is_resumed_and_then_goes_on(
    worker: Worker, undisturbed: str
) -> None:
    job_id = queued(worker.database, spec=STEPS)

    def pause() -> None:
        with worker.database.write() as session:
            wishes.pause(session, lifecycle.lock(session, job_id))

    with worker.once_there_is_a_checkpoint(job_id, pause):
        worker.supervisor.run_all()
    job = worker.read(job_id)
    assert (job.status, job.worker_id, job.num_failures) == (Status.PAUSED, None, 0)
    assert not worker.supervisor.run_next()

    with worker.database.write() as session:
        wishes.resume(session, lifecycle.lock(session, job_id))
    assert worker.supervisor.run_next()
    assert worker.student(job_id) == undisturbed
    worker.assert_each_attempt_went_on(job_id)
    wanted = ("job.pause_requested", "job.paused", "job.resumed", "job.restored", "job.succeeded")
    assert [event for event in worker.events(job_id) if event in wanted] == list(wanted)


def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_used(
    worker: Worker, undisturbed: str
) -> None:
    job_id = queued(worker.database, spec=STEPS)
    with worker.once_there_is_a_checkpoint(job_id, lambda: trainer().kill()):
        worker.supervisor.run_next()
    with worker.database.read() as session:
        newest = session.scalars(
            select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.number.desc())
        ).first()
        assert newest is not None
        path = f"{newest.folder}/training.safetensors"
        sha256 = session.get_one(CheckpointFile, (newest.id, path)).sha256
    blob = Path(worker.settings.storage_url) / "blobs" / sha256[:2] / sha256
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)

    worker.supervisor.run_next()

    assert worker.student(job_id) == undisturbed
    events = worker.events(job_id)
    assert events.count("job.checkpoint_damaged") == events.count("job.restored") == 1


def test_a_trainer_that_hangs_says_where_and_is_tried_again(
    sqlite_database: Database, tmp_path: Path
) -> None:
    worker = Worker(sqlite_database, tmp_path, hang_seconds=10, trainer="worker.rehearsal")
    hanging = STEPS.model_copy(update={"metadata": {"rehearsal.hang_at_step": "5"}})
    job_id = queued(sqlite_database, spec=hanging)

    worker.supervisor.run_next()

    job = worker.read(job_id)
    assert (job.status, job.num_failures) == (Status.QUEUED, 1)
    with sqlite_database.read() as session:
        requeued = session.scalars(
            select(JobEvent).where(JobEvent.type == "job.requeued", JobEvent.job_id == job_id)
        ).one()
        printed = "".join(session.scalars(select(JobLog.text)).all())
    assert "no step" in requeued.message
    assert requeued.data == {"code": "trainer_hung"}
    assert "most recent call first" in printed
    worker.supervisor.close()


class Kept:
    """A held job with an attempt's folder, and a keeper of its checkpoints."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.job_id = queued(database)
        self.job = claimed(database)
        self.database = database
        self.storage = Storage(str(folder / "blobs"))
        self.folder = folder / "attempt"
        self.folder.mkdir()

    def keep(self, *steps: int) -> None:
        claim = Claim(self.job.id, self.job.fence)
        with Keeper(self.database, self.storage, claim, self.folder) as keeper:
            for step in steps:
                keeper.offer(self.written(step))

    def written(self, step: int, *more: str) -> CheckpointWritten:
        folder = f"checkpoints/{step:010}-student"
        (self.folder / folder).mkdir(parents=True)
        files = []
        for name in ("model.safetensors", *more):
            path = self.folder / folder / name
            words = "weights" if name == "model.safetensors" else name
            path.write_text(f"{words} of step {step}")
            size, sha256 = path.stat().st_size, self.storage.put(path)
            files.append(OutputFile(path=f"{folder}/{name}", bytes=size, sha256=sha256))
        return CheckpointWritten.model_validate(
            {
                "phase": "training_student",
                "role": "student",
                "folder": folder,
                "step": step,
                "files": files,
            }
        )

    def rows(self) -> list[tuple[int, int | None]]:
        with self.database.read() as session:
            rows = session.scalars(select(Checkpoint).order_by(Checkpoint.number)).all()
            return [(row.number, row.step) for row in rows]


def test_offers_are_linked_aside_so_that_the_trainer_may_remove_them(kept: Kept) -> None:
    claim = Claim(kept.job.id, kept.job.fence)
    message = kept.written(10)
    blob = kept.storage.find(message.files[0].sha256)
    assert blob is not None
    kept.storage.delete(blob.sha256)

    keeper = Keeper(kept.database, kept.storage, claim, kept.folder)
    keeper.offer(message)
    shutil.rmtree(kept.folder / "checkpoints")
    with keeper:
        pass

    assert kept.rows() == [(1, 10)]
    assert kept.storage.find(blob.sha256) is not None
    assert list((kept.folder / "checkpoint.offers").iterdir()) == []


def test_offers_with_nothing_new_to_store_may_pass_each_other_over(kept: Kept) -> None:
    message = kept.written(10)
    claim = Claim(kept.job.id, kept.job.fence)
    keeper = Keeper(kept.database, kept.storage, claim, kept.folder)
    keeper._stored = {file.sha256 for file in message.files}  # noqa: SLF001 (as time would)

    keeper.offer(message)
    keeper.offer(message)
    with keeper:
        pass

    assert kept.rows() == [(1, 10)]


def test_a_checkpoint_whose_commit_was_not_answered_is_kept_once(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.checkpoints.RETRY_SECONDS", 0.01)
    kept.keep(10)
    write, lost = Database.write, iter([True])

    @contextmanager
    def write_and_lose_the_answer(database: Database) -> Iterator[Session]:
        with write(database) as session:
            yield session
        if next(lost, False):
            raise OperationalError("COMMIT", None, ConnectionError("cut"))

    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", write_and_lose_the_answer)
        kept.keep(20)

    assert kept.rows() == [(1, 10), (2, 20)]


def test_a_checkpoint_counts_though_old_bytes_cannot_be_removed(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Storage, __: str) -> None:
        raise OSError("away")

    monkeypatch.setattr(Storage, "delete", away)
    claim = Claim(kept.job.id, kept.job.fence)
    with Keeper(kept.database, kept.storage, claim, kept.folder) as keeper:
        for step in (10, 20, 30):
            keeper.offer(kept.written(step, "training.safetensors"))
            deadline = time.monotonic() + 60
            while not kept.rows() or kept.rows()[-1][1] != step:
                assert time.monotonic() < deadline
                time.sleep(0.01)

    assert kept.rows() == [(2, 20), (3, 30)]


def test_where_files_cannot_be_linked_they_are_copied(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(_: Path, __: Path) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    kept.keep(10)

    assert kept.rows() == [(1, 10)]


def test_nothing_is_kept_of_an_attempt_that_is_given_up(kept: Kept) -> None:
    claim = Claim(kept.job.id, kept.job.fence)
    keeper = Keeper(kept.database, kept.storage, claim, kept.folder)
    keeper.offer(kept.written(10))
    keeper.give_up()
    with keeper:
        pass

    assert kept.rows() == []


@pytest.mark.parametrize("is_uploaded", [False, True])
def test_an_optimizer_s_bytes_go_with_their_checkpoint_unless_a_client_has_uploaded_them(
    kept: Kept, *, is_uploaded: bool
) -> None:
    if is_uploaded:
        content = BytesIO(b"training.safetensors of step 10")
        store_file(kept.database, kept.storage, PROJECT_ID, content, "mine.safetensors", "model")
    claim = Claim(kept.job.id, kept.job.fence)
    digests = []
    with Keeper(kept.database, kept.storage, claim, kept.folder) as keeper:
        for step in (10, 20, 30):
            message = kept.written(step, "training.safetensors")
            digests.append({file.path[-21:]: file.sha256 for file in message.files})
            keeper.offer(message)
            deadline = time.monotonic() + 60
            while len(kept.rows()) < min(step // 10, 2) or kept.rows()[-1][1] != step:
                assert time.monotonic() < deadline
                time.sleep(0.01)

    found = [
        [kept.storage.find(sha256) is not None for sha256 in each.values()] for each in digests
    ]
    # Weights, then the optimizer's state, of each checkpoint.
    assert found == [[True, is_uploaded], [True, True], [True, True]]


@pytest.mark.parametrize("size", [0, 1, 9])
def test_a_checkpoint_whose_file_was_cut_is_not_used(kept: Kept, tmp_path: Path, size: int) -> None:
    kept.keep(10)
    kept.keep(20)
    with kept.database.read() as session:
        cut = session.scalars(
            select(CheckpointFile).join(Checkpoint).where(Checkpoint.number == 2)
        ).one()
    blob = tmp_path / "blobs" / "blobs" / cut.sha256[:2] / cut.sha256
    blob.write_bytes(blob.read_bytes()[:size])

    (tmp_path / "next").mkdir()
    restore(kept.database, kept.storage, kept.job, tmp_path / "next", lambda: None)

    (file,) = [path for path in (tmp_path / "next").rglob("*") if path.is_file()]
    assert file.read_text() == "weights of step 10"


def test_failures_are_counted_on_where_a_job_comes_no_further(kept: Kept) -> None:
    kept.keep(10)
    with kept.database.write() as session:
        verbs.retry(session, verbs.hold(session, kept.job_id, kept.job.fence), ERROR, 0)
    kept.job = claimed(kept.database)
    shutil.rmtree(kept.folder / "checkpoints")
    kept.keep(10)
    with kept.database.read() as session:
        assert session.get_one(Job, kept.job_id).num_failures == 1

    kept.keep(11)
    with kept.database.read() as session:
        assert session.get_one(Job, kept.job_id).num_failures == 0


@pytest.fixture
def kept(database: Database, tmp_path: Path) -> Kept:
    return Kept(database, tmp_path)


def test_the_two_newest_checkpoints_are_kept_and_the_newest_comes_back(
    kept: Kept, tmp_path: Path
) -> None:
    for step in (10, 20, 30):
        kept.keep(step)

    assert kept.rows() == [(2, 20), (3, 30)]
    (tmp_path / "next").mkdir()
    restore(kept.database, kept.storage, kept.job, tmp_path / "next", lambda: None)
    (file,) = [path for path in (tmp_path / "next").rglob("*") if path.is_file()]
    assert file.relative_to(tmp_path / "next").as_posix() == (
        "checkpoints/0000000030-student/model.safetensors"
    )
    assert file.read_text() == "weights of step 30"


def test_an_attempt_that_has_lost_its_fence_commits_no_checkpoint(kept: Kept) -> None:
    kept.keep(10)
    with kept.database.write() as session:
        lifecycle.lock(session, kept.job_id)
        session.get_one(Job, kept.job_id).fence += 1

    kept.keep(20)

    assert kept.rows() == [(1, 10)]


def test_a_file_that_is_not_what_was_said_is_no_checkpoint(kept: Kept, tmp_path: Path) -> None:
    message = kept.written(10)
    (kept.folder / message.files[0].path).write_text("weights of step 11")
    outside = kept.written(20)
    outside.files[0].path = "../blobs/x"
    gone = kept.written(30)
    (kept.folder / gone.files[0].path).unlink()
    behind_a_link = kept.written(40)
    folder = (kept.folder / behind_a_link.files[0].path).parent
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")

    for each in (message, outside, gone, behind_a_link):
        claim = Claim(kept.job.id, kept.job.fence)
        with Keeper(kept.database, kept.storage, claim, kept.folder) as keeper:
            keeper.offer(each)

    assert kept.rows() == []


def test_a_checkpoint_waits_for_a_database_that_is_away(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.checkpoints.RETRY_SECONDS", 0.01)
    write, calls = Database.write, iter(range(10**6))

    def away_at_first(database: Database) -> object:
        if next(calls) < 3:
            raise OSError("away")
        return write(database)

    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", away_at_first)
        kept.keep(10)

    assert kept.rows() == [(1, 10)]


def test_leftovers_of_a_day_ago_go_and_those_of_running_attempts_stay(
    database: Database, tmp_path: Path
) -> None:
    queued(database)
    job = claimed(database)
    running, over = tmp_path / job.id / "1", tmp_path / job.id / "0"
    unknown = tmp_path / "distjob-gone" / "3"
    for folder in (running, over, unknown):
        folder.mkdir(parents=True)
    later = time.time() + KEPT_SECONDS + 1

    remove_leftovers(database, tmp_path, later - 10)
    assert running.is_dir()
    assert over.is_dir()
    remove_leftovers(database, tmp_path, later)

    assert running.is_dir()
    assert not over.exists()
    assert not unknown.parent.exists()


def test_a_worker_that_dies_takes_its_trainer_along(
    sqlite_database: Database, tmp_path: Path
) -> None:
    """In a sandbox or not: the kernel ends it, however the worker has ended."""
    long = STEPS.model_copy(update={"training": Training(epochs=10_000)})
    queued(sqlite_database, spec=long)
    child = os.fork()
    if child == 0:
        Worker(sqlite_database, tmp_path).supervisor.run_next()
        os._exit(0)
    deadline = time.monotonic() + 60
    while not (family := psutil.Process(child).children(recursive=True)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(2)
    family = psutil.Process(child).children(recursive=True)

    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    alive = still_running(family)
    assert family
    assert alive == []
