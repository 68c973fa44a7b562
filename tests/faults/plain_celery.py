"""The same kills over plain Celery, for comparison: `python -m tests.faults.plain_celery`.

A task takes three seconds and writes a line when it begins and one when it ends. Workers are killed
and started again, as in the row for rehearsals; then every task has time to end.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import psutil
from celery import Celery

from tests.faults.houses import ROOT
from tests.faults.servers import Valkey

SECONDS = 3.0
NUM_WORKERS = 3
VISIBILITY_SECONDS = 10
"""Of a message that is not acknowledged; Celery's own default is an hour."""
LAST_SECONDS = 90
KINDS: dict[str, dict[str, object]] = {
    "its defaults": {},
    "acks_late": {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "broker_transport_options": {"visibility_timeout": VISIBILITY_SECONDS},
    },
}

celery = Celery("plain", broker=os.environ.get("PLAIN_BROKER_URL"))
celery.conf.update(KINDS[os.environ.get("PLAIN_KIND", "its defaults")])


@celery.task(name="plain.job")
def job(number: int, journal: str) -> None:
    """Take the time of a rehearsal."""
    with Path(journal).open("a") as file:
        file.write(f"begun {number}\n")
    time.sleep(SECONDS)
    with Path(journal).open("a") as file:
        file.write(f"done {number}\n")


def run(kind: str, num_jobs: int, num_kills: int, seed: int) -> str:
    """Kill until the number is reached, and return a row of what became of the tasks."""
    random = Random(seed)  # noqa: S311 (a run that can be had again)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        valkey = Valkey(Path(folder))
        valkey.start()
        stack.callback(valkey.kill)
        journal = Path(folder) / "journal"
        journal.touch()
        os.environ |= {"PLAIN_BROKER_URL": valkey.url, "PLAIN_KIND": kind}
        workers = [_start(number) for number in range(NUM_WORKERS)]
        time.sleep(3)
        with Celery("plain", broker=valkey.url) as client:
            for number in range(num_jobs):
                client.send_task("plain.job", args=[number, str(journal)])
        for _ in range(num_kills):
            number = random.randrange(NUM_WORKERS)
            _kill(workers[number])
            workers[number] = _start(number)
            time.sleep(random.uniform(0.5, 3.0))
        _wait(journal, num_jobs)
        for worker in workers:
            _kill(worker)
        return _row(kind, num_jobs, num_kills, journal)


def _start(number: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "celery", "-A", "tests.faults.plain_celery", "worker"]
    return subprocess.Popen(
        [*command, "-c", "1", "-n", f"plain-{number}@%h"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _kill(worker: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in psutil.Process(worker.pid).children(recursive=True):
            member.kill()
    worker.kill()
    worker.wait()


def _wait(journal: Path, num_jobs: int) -> None:
    """Wait until all is done, or nothing has happened for long."""
    changed, size = time.monotonic(), 0
    while time.monotonic() - changed < LAST_SECONDS:
        time.sleep(0.5)
        done = Counter(line for line in journal.read_text().splitlines() if "done" in line)
        if len(done) == num_jobs:
            return
        if journal.stat().st_size != size:
            changed, size = time.monotonic(), journal.stat().st_size


def _row(kind: str, num_jobs: int, num_kills: int, journal: Path) -> str:
    lines = Counter(journal.read_text().splitlines())
    done = sum(line.startswith("done") for line in lines)
    begun = sum(line.startswith("begun") for line in lines)
    twice = sum(line.startswith("done") and times > 1 for line, times in lines.items())
    lost, never = begun - done, num_jobs - begun
    return f"| {kind} | {num_jobs} | {num_kills} | {done} | {lost} | {never} | {twice} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.plain_celery")
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print("| Celery with | jobs | kills | finished | lost | never begun | finished twice |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind in KINDS:
        print(run(kind, given.jobs, given.kills, given.seed), flush=True)


if __name__ == "__main__":
    main()
