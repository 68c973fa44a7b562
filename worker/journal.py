"""Turns what a trainer says and prints into rows of its job."""

import os
from datetime import datetime
from pathlib import Path

from pydantic import JsonValue
from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.contracts.job import Phase, PhaseRecord, Progress
from app.contracts.message import (
    AnyMessage,
    MetricsMeasured,
    PhaseFinished,
    PhaseStarted,
    ProgressMade,
    Warned,
    WentOn,
)
from app.db import verbs
from app.db.lifecycle import Event
from app.db.models import Job, JobLog, JobMetric
from app.db.session import database_now

PIECE_BYTES = 64 * 1024
LIMIT_BYTES = 1024 * 1024
"""Of the log that the database keeps of one attempt: its first piece, and the newest ones."""
FILE_BYTES = 16 * LIMIT_BYTES
"""Of the file itself: it is emptied when all of it was read."""


class Output:
    """Follows the file that a trainer prints to, in pieces that end with a line.

    The trainer appends to it, so it may be cut from the outside.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._number = 0

    def next_piece(self) -> bytes:
        """Return what has come since the last piece taken, at most a limited amount.

        Of a trainer that prints faster than this is called, the newest.
        """
        if not self._path.exists():
            return b""
        size = self._path.stat().st_size
        self._offset = max(self._offset, size - LIMIT_BYTES)
        with self._path.open("rb") as file:
            file.seek(self._offset)
            piece = file.read(PIECE_BYTES)
        return piece[: piece.rfind(b"\n") + 1] or piece

    def write(self, session: Session, job: Job, piece: bytes) -> None:
        """Add a piece to a held job; ``taken`` follows once that is committed."""
        number = self._number + 1
        session.execute(
            delete(JobLog).where(
                JobLog.job_id == job.id,
                JobLog.fence == job.fence,
                JobLog.number > 1,
                JobLog.number <= number - LIMIT_BYTES // PIECE_BYTES,
            )
        )
        session.add(
            JobLog(
                job_id=job.id,
                fence=job.fence,
                number=number,
                text=piece.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}"),
                created_at=database_now(session),
            )
        )

    def taken(self, piece: bytes) -> None:
        self._offset += len(piece)
        self._number += 1
        if self._offset >= FILE_BYTES and self._offset == self._path.stat().st_size:
            os.truncate(self._path, 0)
            self._offset = 0


def write_messages(session: Session, job: Job, messages: list[AnyMessage]) -> None:
    """Write a held job's events, phases, warnings and metrics, in the order they were said."""
    now = database_now(session)
    for message in messages:
        match message:
            case PhaseStarted():
                _start_phase(session, job, message, now)
            case PhaseFinished():
                _finish_phase(session, job, message, now)
            case Warned() if message.message not in job.warnings:
                event = Event("job.warning", message.message)
                verbs.record(session, job, event, warnings=[*job.warnings, message.message])
            case WentOn():
                words = f"The {_spoken(message.role).lower()} goes on from step {message.step:,}."
                data: dict[str, JsonValue] = {"role": message.role, "step": message.step}
                verbs.record(session, job, Event("job.went_on", words, data))
            case MetricsMeasured():
                session.add_all(
                    JobMetric(
                        job_id=job.id,
                        fence=job.fence,
                        name=name,
                        step=message.step,
                        value=value,
                        created_at=now,
                    )
                    for name, value in message.values.items()
                )


def latest_progress(messages: list[AnyMessage]) -> Progress | None:
    """Return the last progress among the messages, if it is of the last phase among them."""
    for message in reversed(messages):
        match message:
            case ProgressMade():
                return message.progress
            case PhaseStarted():
                return Progress(phase=message.phase)
    return None


def latest_metrics(messages: list[AnyMessage]) -> dict[str, float]:
    """Return the last value of each series among the messages."""
    latest: dict[str, float] = {}
    for message in messages:
        if isinstance(message, MetricsMeasured):
            latest.update(message.values)
    return latest


def _start_phase(session: Session, job: Job, message: PhaseStarted, now: datetime) -> None:
    if message.restored and _record_of(job, message.phase) is not None:
        return
    phase = PhaseRecord(name=message.phase, status="running", started_at=now)
    others = [record for record in job.phases if record["name"] != message.phase]
    verbs.record(
        session,
        job,
        Event(
            "job.phase_started", f"{_spoken(message.phase)} has begun.", {"phase": message.phase}
        ),
        phase=message.phase,
        phases=[*others, phase.model_dump(mode="json")],
    )


def _finish_phase(session: Session, job: Job, message: PhaseFinished, now: datetime) -> None:
    known = _record_of(job, message.phase)
    if message.restored and known is not None and known.finished_at is not None:
        return
    phases = [PhaseRecord.model_validate(phase) for phase in job.phases]
    done = [
        phase.model_copy(
            update={"status": "skipped" if message.skipped else "succeeded", "finished_at": now}
        )
        if phase.name == message.phase
        else phase
        for phase in phases
    ]
    outcome = message.summary or ("skipped" if message.skipped else "done")
    verbs.record(
        session,
        job,
        Event(
            "job.phase_finished",
            f"{_spoken(message.phase)}: {outcome}",
            {"phase": message.phase, "skipped": message.skipped},
        ),
        phases=[phase.model_dump(mode="json") for phase in done],
    )


def _record_of(job: Job, phase: Phase) -> PhaseRecord | None:
    """Return what an earlier attempt, or this one, has noted of a phase."""
    for record in job.phases:
        if record["name"] == phase:
            return PhaseRecord.model_validate(record)
    return None


def _spoken(name: str) -> str:
    return name.replace("_", " ").capitalize()
