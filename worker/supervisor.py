"""One attempt at a job: claim, start the trainer, relay its messages, deliver, and end it well."""

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from obstore.exceptions import BaseError
from opentelemetry.trace import NoOpTracer, Tracer
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from structlog import get_logger

from app.config import Settings
from app.contracts.job import DesiredStatus, JobError, JobSpec
from app.contracts.message import CheckpointWritten, Failed, Finished, PhaseStarted, StopReason
from app.contracts.report import Report
from app.db import verbs
from app.db.lifecycle import Actor
from app.db.models import Job, JobFile
from app.db.session import AWAY, LONGEST_SILENCE_SECONDS, Database
from app.storage import Storage
from worker.checkpoints import Keeper
from worker.delivery import BadDelivery, add_files, add_results, store_outputs
from worker.ending import Ending, Verdict, input_missing, worker_failure
from worker.inputs import fetch_inputs
from worker.knowledge import Collected, Reused, add_knowledge, store_knowledge
from worker.launcher import Trainer, with_gpus_of
from worker.lease import LONGEST_OUTAGE_SECONDS, Claim, Lease, Wish
from worker.leftovers import Sweeper
from worker.memory import num_killed
from worker.observation import Observation
from worker.pulse import Pulse
from worker.registry import InputMissing
from worker.restoration import restore

log = get_logger(__name__)

LOOK_SECONDS = 0.2
"""How often a quiet trainer and the client's wishes are looked at."""

LAST_GOOD = "last_good"
"""The folder, in the workspace and among a failed job's files, of its last good model."""

LastWrite = Callable[[Session, Job], object]


class Interrupted(Exception):
    """Someone wants the attempt to end before its trainer has started."""


class Supervisor:
    """Runs jobs one after another for one worker."""

    def __init__(
        self,
        settings: Settings,
        worker_id: str,
        gpus: int,
        draining: Callable[[], bool],
        tracer: Tracer = NoOpTracer(),  # noqa: B008 (it has no state)
    ) -> None:
        """``gpus`` is how many this worker has; ``draining`` says that it should take no more."""
        self._settings = settings
        # A job's row must be free for the next attempt once the lease is over, though two of this
        # worker's threads were halted in transactions, one after the other.
        silence_seconds = min(LONGEST_SILENCE_SECONDS, settings.lease_seconds / 2)
        self._database = Database(settings.database_url, silence_seconds)
        self._storage = Storage(settings.storage_url)
        self._worker_id = worker_id
        self._gpus = gpus
        self._draining = draining
        self._sweeper = Sweeper(self._database, settings.work_folder)
        self._tracer = tracer
        self._observed = Observation(tracer)
        self.gpu_is_away = False

    def run_all(self) -> None:
        """Run jobs until none waits, the worker is to go, or a trainer has found no GPU."""
        self._sweeper.sweep()
        while not (self._draining() or self.gpu_is_away) and self.run_next():
            pass

    def run_next(self) -> bool:
        """Claim a job and see one attempt at it through; return whether there was one."""
        with self._database.write() as session:
            lease_seconds = self._settings.lease_seconds
            job = verbs.claim(session, self._worker_id, self._gpus, lease_seconds)
        if job is None:
            return False
        bound = log.bind(job_id=job.id, fence=job.fence, attempt=job.attempt)
        bound.info("attempt_begins")
        folder = self._settings.work_folder.absolute() / job.id / str(job.fence)
        self._observed = Observation(self._tracer)
        with self._observed.around(job):
            try:
                self._attempt(job, folder)
            except verbs.FenceLost as lost:
                bound.warning("fence_lost", reason=str(lost))
            except Exception as error:  # noqa: BLE001 (the one place that answers for what nobody foresaw)
                bound.exception("attempt_broke")
                with contextlib.suppress(verbs.FenceLost):
                    self._commit(job, self._after(error))
            finally:
                _remove(folder)
        bound.info("attempt_ends", outcome=self._observed.outcome)
        return True

    def close(self) -> None:
        self._database.close()

    def _attempt(self, job: Job, folder: Path) -> None:
        folder.mkdir(parents=True)
        # What attempts that were killed on this machine have left behind.
        for earlier in folder.parent.iterdir():
            if int(earlier.name) < job.fence:
                shutil.rmtree(earlier, ignore_errors=True)
        spec = with_gpus_of(self._gpus, JobSpec.model_validate(job.resolved_spec))
        (folder / "spec.json").write_text(spec.model_dump_json(indent=2))
        claim = Claim(job.id, job.fence)
        with Lease(self._database, claim, self._settings, folder / "trainer.log") as lease:
            last_write = self._run(job, spec, folder, lease)
        if lease.wish is Wish.ABANDON:
            raise verbs.FenceLost("the lease could not be kept")
        self._commit(job, last_write)

    def _run(self, job: Job, spec: JobSpec, folder: Path, lease: Lease) -> LastWrite:
        """Bring what the trainer needs, run it, and return what ends the attempt."""

        def check() -> None:
            if lease.wish is not Wish.GO_ON or self._draining():
                raise Interrupted

        try:
            fetch_inputs(self._database, self._storage, job, spec, folder, check)
            restore(self._database, self._storage, job, folder, check)
        except InputMissing as missing:
            return self._fail(input_missing(missing), [])
        except Interrupted:
            return verbs.give_back
        claim = Claim(job.id, job.fence)
        with Keeper(self._database, self._storage, claim, folder) as keeper:
            ending = self._train(spec, folder, lease, keeper)
            if lease.wish in {Wish.STOP, Wish.KILL, Wish.ABANDON}:
                keeper.give_up()
        return self._last_write(ending, spec, folder)

    def _train(self, spec: JobSpec, folder: Path, lease: Lease, keeper: Keeper) -> Ending:
        """Run the trainer to its end, passing on what it says and what the client wants."""
        ending, killed_before = Ending(), num_killed()
        deadline = time.monotonic() + spec.resources.max_runtime_seconds
        pulse = Pulse(self._settings.hang_seconds, time.monotonic())
        use_gpu = spec.resources.gpus != 0
        trainer = Trainer.start(self._settings.trainer, folder, use_gpu=use_gpu)
        try:
            while ending.exit_code is None:
                # Asked before the messages are read, so that the last of them are not missed.
                ending.exit_code = trainer.exit_code()
                if self._relay(trainer, ending, lease, keeper):
                    pulse.beat(time.monotonic())
                ending.overdue |= time.monotonic() > deadline
                if pulse.hangs(time.monotonic()) and not ending.hung:
                    ending.hung = True
                    trainer.dump_stacks()
                self._obey(trainer, lease.wish, ending)
        finally:
            trainer.end()
        ending.out_of_memory = num_killed() > killed_before
        return ending

    def _relay(self, trainer: Trainer, ending: Ending, lease: Lease, keeper: Keeper) -> bool:
        """Pass on what the trainer says; return whether it has said anything."""
        heard = False
        for message in trainer.messages(LOOK_SECONDS):
            heard = True
            self._observed.hear(message)
            match message:
                case Failed():
                    ending.error = message.error
                case Finished():
                    ending.report = message.report
                case PhaseStarted():
                    ending.phase = message.phase
                    lease.add(message)
                case CheckpointWritten():
                    keeper.offer(message)
                case _:
                    lease.add(message)
        return heard

    def _obey(self, trainer: Trainer, wish: Wish, ending: Ending) -> None:
        if wish in {Wish.KILL, Wish.ABANDON} or ending.hung:
            trainer.kill()
            return
        reason = self._reason_to_stop(wish, ending)
        if reason is not None:
            ending.killed |= trainer.stop(reason, self._settings.terminate_seconds)

    def _reason_to_stop(self, wish: Wish, ending: Ending) -> StopReason | None:
        if wish is Wish.STOP or ending.overdue:
            return StopReason.CANCEL
        if wish is Wish.PAUSE:
            return StopReason.PAUSE
        return StopReason.DRAIN if self._draining() else None

    def _last_write(self, ending: Ending, spec: JobSpec, folder: Path) -> LastWrite:
        """Return what ends the attempt in the database; files are stored before."""
        match ending.verdict:
            case Verdict.DELIVER:
                assert ending.report is not None  # noqa: S101 (what the verdict says)
                files = store_outputs(self._storage, folder / "outputs")
                knowledge = store_knowledge(self._storage, spec, folder)
                return self._succeed(spec, files, knowledge, ending.report)
            case Verdict.FAIL:
                return self._fail(ending.explain(), self._last_good(folder))
            case _:
                return self._another_try(ending)

    def _another_try(self, ending: Ending) -> LastWrite:
        if ending.verdict is Verdict.GIVE_BACK:
            return verbs.give_back
        if ending.verdict is Verdict.SET_ASIDE:
            self.gpu_is_away = ending.found_no_gpu
            return self._set_aside(ending.explain())
        return self._retry(ending.explain(), ending.most_failures)

    def _last_good(self, folder: Path) -> list[JobFile]:
        """Store the model as it was before its training went astray, where it left one."""
        if not (folder / LAST_GOOD / "manifest.json").is_file():
            return []
        try:
            return store_outputs(self._storage, folder / LAST_GOOD, f"{LAST_GOOD}/")
        except BadDelivery as error:
            # The job's own error matters more than what is kept of it.
            log.warning("last_good_not_kept", folder=str(folder), reason=str(error))
            return []

    def _succeed(
        self,
        spec: JobSpec,
        files: list[JobFile],
        knowledge: Collected | Reused | None,
        report: Report,
    ) -> LastWrite:
        def write(session: Session, job: Job) -> None:
            add_results(session, job, files, report)
            add_knowledge(session, job, spec, knowledge)
            verbs.succeed(session, job, report)

        return write

    def _fail(self, error: JobError, files: list[JobFile]) -> LastWrite:
        def write(session: Session, job: Job) -> None:
            add_files(session, job, files)
            verbs.fail(session, job, error, Actor.HOLDER)

        return write

    def _retry(self, error: JobError, most_failures: int | None = None) -> LastWrite:
        wait = self._settings.backoff_seconds
        return lambda session, job: verbs.retry(session, job, error, wait, most_failures)

    def _after(self, error: Exception) -> LastWrite:
        """Return what ends an attempt that broke around its trainer."""
        away = isinstance(error, (SQLAlchemyError, BaseError, OSError))
        failure = worker_failure(error)
        return self._set_aside(failure) if away else self._retry(failure)

    def _set_aside(self, error: JobError) -> LastWrite:
        wait = self._settings.backoff_seconds
        return lambda session, job: verbs.set_aside(session, job, error, wait)

    def _commit(self, job: Job, last_write: LastWrite) -> None:
        """Write the attempt's end under its fence, waiting for a database that is away."""
        give_up = time.monotonic() + LONGEST_OUTAGE_SECONDS
        while True:
            try:
                with self._database.write() as session:
                    held = verbs.hold(session, job.id, job.fence)
                    if held.desired_status == DesiredStatus.CANCELLED:
                        verbs.confirm_cancelled(session, held, Actor.HOLDER)
                    else:
                        last_write(session, held)
            except AWAY as error:
                if time.monotonic() > give_up:
                    raise
                log.warning("database_away", job_id=job.id, reason=type(error).__name__)
                time.sleep(self._settings.renew_seconds)
            else:
                self._observed.outcome = held.status
                return


def _remove(folder: Path) -> None:
    """Remove an attempt's folder, and the job's if no other attempt on this machine has one."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
