"""A bit flips in a stored blob, or its end is cut off: a checkpoint's, or a delivered file's."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx2
import psutil
from sqlalchemy import select

from app.cli.client import Refused, Service
from app.cli.download import download
from app.contracts.job import FileEntry
from app.db.checkpoints import Checkpoint, CheckpointFile
from app.db.models import Job, JobFile
from tests.faults.client import PATH
from tests.faults.history import History, blob_path
from tests.faults.houses import SHORT, FaultHouse, open_house
from tests.faults.oracle import STUDENT_FILE
from tests.faults.outcome import Outcome, Plan
from tests.faults.specs import rehearsal

STEPS = 600
AT_A_TIME = 3
WAIT_SECONDS = 60
FOUND = "job.checkpoint_damaged"


def run(plan: Plan) -> Outcome:
    """Damage checkpoints that jobs have to go on from, then as many delivered files."""
    began = time.monotonic()
    random = Random(plan.seed)  # noqa: S311 (a run that can be had again)
    damaged: dict[str, str] = {}
    posted = 0
    with open_house(plan.database, SHORT, sabotage=plan.sabotage) as house:
        while len(damaged) < plan.faults // 2:
            names = [f"damage-{plan.seed}-{posted + each}" for each in range(AT_A_TIME)]
            posted += AT_A_TIME
            for name in names:
                house.post(*rehearsal(name, int(name.rsplit("-", 1)[1]), STEPS))
            damaged |= _damage_checkpoints(house, random)
            house.wait_for_end(WAIT_SECONDS)
        delivered = plan.faults - len(damaged)
        unnoticed = [*_damage_deliveries(house, random, delivered)]
        history, wrong = house.judged()
        wrong += [*_unfound(history, damaged), *unnoticed]
        house.is_kept = bool(wrong)
    return Outcome(
        "bit flip, truncation of a stored blob",
        plan.database,
        plan.seed,
        posted,
        len(damaged) + delivered,
        time.monotonic() - began,
        wrong,
        counts={"checkpoints": len(damaged), "delivered files": delivered},
    )


def damage(path: Path, random: Random) -> None:
    """Flip one bit of a file, or cut off its end."""
    content = bytearray(path.read_bytes())
    place = random.randrange(len(content))
    if random.random() < 0.5:
        content[place] ^= 1 << random.randrange(8)
    else:
        del content[place:]
    path.write_bytes(content)


def _damage_checkpoints(house: FaultHouse, random: Random) -> dict[str, str]:
    """Kill workers whose jobs have two checkpoints, and damage the newer; return them by job."""
    damaged: dict[str, str] = {}
    deadline = time.monotonic() + WAIT_SECONDS
    while len(damaged) < AT_A_TIME and house.open_jobs() and time.monotonic() < deadline:
        time.sleep(0.1)
        open_jobs = {job.id: job for job in house.open_jobs()}
        for family in house.families():
            job = None if family.attempt is None else open_jobs.get(family.attempt.job_id)
            if job is None or job.num_checkpoints < 2 or job.id in damaged:
                continue
            assert house.touched is not None
            house.touched.add((job.id, job.fence))
            with contextlib.suppress(psutil.NoSuchProcess):
                family.child.kill()
                damaged[job.id] = _damage_newest(house, job, random)
    return damaged


def _damage_newest(house: FaultHouse, job: Job, random: Random) -> str:
    with house.database.read() as session:
        newest, older = session.scalars(
            select(Checkpoint).where(Checkpoint.job_id == job.id).order_by(Checkpoint.number.desc())
        ).all()
        digests = [
            set(
                session.scalars(
                    select(CheckpointFile.sha256).where(CheckpointFile.checkpoint_id == one.id)
                )
            )
            for one in (newest, older)
        ]
    # What both name would take the older with it.
    victim = random.choice(sorted(digests[0] - digests[1] or digests[0]))
    damage(blob_path(house.blobs, victim), random)
    return newest.id


def _unfound(history: History, damaged: dict[str, str]) -> Iterator[str]:
    for job_id, checkpoint in damaged.items():
        job = history.jobs[job_id]
        told = [event.data["checkpoint"] for event in job.events if event.type == FOUND]
        if checkpoint not in told:
            yield f"{job.name}: the damage of {checkpoint} was not found"


def _damage_deliveries(house: FaultHouse, random: Random, number: int) -> Iterator[str]:
    """Damage students, download each as `stillhouse jobs download` does, and mend them again."""
    with house.database.read() as session:
        rows = session.scalars(select(JobFile).where(JobFile.path == STUDENT_FILE)).all()
    for turn in range(number):
        row = rows[turn % len(rows)]
        path = blob_path(house.blobs, row.sha256)
        content = path.read_bytes()
        damage(path, random)
        if not _is_refused(house, row):
            yield f"{row.path} of {row.job_id} was damaged and taken for good"
        path.write_bytes(content)


def _is_refused(house: FaultHouse, row: JobFile) -> bool:
    entry = FileEntry(path=row.path, bytes=row.bytes, sha256=row.sha256, media_type=row.media_type)
    source = f"{PATH}/{row.job_id}/files"
    with tempfile.TemporaryDirectory() as folder:
        try:
            download(Service(house.house.client), source, entry, Path(folder), lambda _: None)
        except (Refused, httpx2.TransportError):
            return not (Path(folder) / row.path).exists()
    return False
