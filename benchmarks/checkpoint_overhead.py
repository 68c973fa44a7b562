"""What do checkpoints cost? The same job with one a minute and with none, under the supervisor.

Two workers, each with a database and a storage of its own, train a teacher of 9.2 million
parameters on scikit-learn's digits (a checkpoint of it has 147 MB). They take turns, a few seconds
each, the other one halted with all that it started; so whatever else the machine does hits both.
Prints a Markdown table and exits with 1 if checkpoints cost more than 2 %.
`python -m benchmarks.checkpoint_overhead`; about ten minutes on two cores.
"""

import argparse
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from sqlalchemy import func, select

from app.config import Settings
from app.contracts.dataset import Builtin
from app.contracts.job import JobSpec, Resources
from app.contracts.model import Mlp, Student, TrainedTeacher
from app.contracts.response_losses import Labels
from app.contracts.training import Training
from app.db import schema
from app.db.models import Job, JobEvent, Project
from app.db.session import Database, database_now
from tests.jobs import PROJECT_ID, queued
from worker.supervisor import Supervisor

EVERY_SECONDS = 60.0
SELDOM_SECONDS = 1800.0
TURN_SECONDS = 5.0
MOST_OVERHEAD = 0.02
EPOCHS = 480


class Measured(NamedTuple):
    """One job: how long it ran while it was not halted, and what it kept."""

    seconds: float
    num_checkpoints: int


class Runner:
    """A worker in a process of its own that runs one job, in turns.

    ``every_seconds`` are of its own running, as is the time that is measured.
    """

    def __init__(self, folder: Path, every_seconds: float) -> None:
        self._url = f"sqlite:///{folder}/stillhouse.db"
        command = [sys.executable, "-m", "benchmarks.checkpoint_overhead"]
        # Its clock goes on while it is halted, which is half of the time.
        command += ["--worker", str(folder), "--every", str(2 * every_seconds)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.seconds = 0.0
        self._send(signal.SIGSTOP)

    def take_turn(self, seconds: float) -> bool:
        """Run for a while; return whether it still has work."""
        self._send(signal.SIGCONT)
        started = time.perf_counter()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._send(signal.SIGSTOP)
        self.seconds += time.perf_counter() - started
        return self._process.poll() is None

    def measured(self) -> Measured:
        database = Database(self._url)
        with database.read() as session:
            job = session.scalars(select(Job)).one()
            kept = select(func.count()).where(JobEvent.type == "job.checkpoint")
            count = session.scalar(kept) or 0
        database.close()
        if job.status != "succeeded":
            raise RuntimeError(f"the job has {job.status}: {job.error}")
        return Measured(self.seconds, count)

    def _send(self, number: signal.Signals) -> None:
        try:
            family = [*self._main.children(recursive=True), self._main]
        except psutil.NoSuchProcess:
            return
        for member in family:
            try:
                member.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    @property
    def _main(self) -> psutil.Process:
        return psutil.Process(self._process.pid)


def recipe(every_seconds: float) -> JobSpec:
    """Return a job that is almost all training of its teacher."""
    return JobSpec(
        dataset=Builtin(name="digits"),
        teacher=TrainedTeacher(
            architecture=Mlp(hidden_sizes=[3000, 3000]), training=Training(epochs=EPOCHS)
        ),
        student=Student(architecture=Mlp(hidden_sizes=[8])),
        objective=[Labels()],
        training=Training(epochs=1),
        baseline=False,
        export=["safetensors"],
        resources=Resources(gpus=0, checkpoint_every_seconds=every_seconds),
    )


def work(folder: Path, every_seconds: float) -> None:
    """Run the one job of a new database, as a worker would."""
    url = f"sqlite:///{folder}/stillhouse.db"
    database = Database(url)
    schema.upgrade(database)
    with database.write() as session:
        session.add(Project(id=PROJECT_ID, name="default", created_at=database_now(session)))
    queued(database, spec=recipe(every_seconds))
    settings = Settings(
        database_url=url, storage_url=str(folder / "blobs"), work_folder=folder / "work"
    )
    Supervisor(settings, "worker-1", 0, lambda: False).run_next()


def compare() -> tuple[Measured, Measured]:
    """Run the job with checkpoints and without, in turns."""
    with tempfile.TemporaryDirectory() as root:
        runners = []
        for every_seconds in (EVERY_SECONDS, SELDOM_SECONDS):
            folder = Path(root, str(every_seconds))
            folder.mkdir()
            runners.append(Runner(folder, every_seconds))
        waiting = list(runners)
        for number in itertools.count():
            if not waiting:
                break
            runner = waiting[number % len(waiting)]
            if not runner.take_turn(TURN_SECONDS):
                waiting.remove(runner)
        often, seldom = (runner.measured() for runner in runners)
    return often, seldom


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--every", type=float, default=EVERY_SECONDS, help=argparse.SUPPRESS)
    parser.add_argument("--repeat", type=int, default=1, help="compare so often, and take the mean")
    given = parser.parse_args()
    if given.worker is not None:
        work(given.worker, given.every)
        return 0
    overheads = []
    print("| checkpoints | seconds | kept | overhead |")
    print("| --- | ---: | ---: | ---: |")
    for _ in range(given.repeat):
        often, seldom = compare()
        overheads.append(often.seconds / seldom.seconds - 1)
        print(f"| between stages only | {seldom.seconds:.1f} | {seldom.num_checkpoints} | |")
        print(
            f"| and every {EVERY_SECONDS:.0f} s | {often.seconds:.1f} | {often.num_checkpoints} "
            f"| {100 * overheads[-1]:+.2f} % |",
            flush=True,
        )
    overhead = statistics.mean(overheads)
    print(f"\nCheckpoints cost {100 * overhead:+.2f} % of the time; at most 2 % is the bar.")
    return int(overhead > MOST_OVERHEAD)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    sys.exit(main())
