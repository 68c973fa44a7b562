"""`python -m worker.rehearsal SPEC FOLDER`: a trainer that only takes time and checkpoints.

For trying out an installation, and for its fault runs: it keeps to the protocol of
`worker.distillation`, loads no torch, and ends with a student that tells whether each step was made
once, in order. In place of training it folds a digest, step by step, from the spec's seed.
"""

import argparse
import ctypes
import faulthandler
import hashlib
import json
import os
import shutil
import signal
import struct
import sys
import time
from functools import partial
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, ValidationError

from app.contracts.job import JobError, JobSpec, Phase
from app.contracts.message import (
    STOPPED,
    ExitCode,
    Failed,
    Finished,
    PhaseFinished,
    PhaseStarted,
    StopReason,
    WentOn,
)
from app.contracts.report import FullReport, ModelReport, Report, Scores
from worker.distillation.__main__ import Control, MessagePipe, is_disk_full
from worker.distillation.checkpoint import Checkpoints, Mark
from worker.distillation.errors import Stopped
from worker.distillation.manifest import write_manifest
from worker.distillation.reporting import Pace, Reporter
from worker.distillation.workspace import Workspace

PR_SET_PDEATHSIG = 1
PREFIX = "rehearsal."
STEPS_AN_EPOCH = 5
STUDENT = "student"
STATE_FILE = "state.json"
WARNING = "This was a rehearsal: nothing has been trained, and the figures mean nothing."
PAGE = f"<!doctype html><html lang='en'><title>Rehearsal</title><p>{WARNING}</p></html>\n"


class Course(BaseModel):
    """How a rehearsal goes, from the spec's metadata: `rehearsal.steps` and so on."""

    steps: int = Field(ge=1)
    step_seconds: float = Field(0.01, ge=0)
    ignore_stop: bool = False
    """Go on whatever the supervisor says, SIGTERM included."""
    crash_at_step: int | None = None
    """Each attempt that comes to make that step, counted from 0, ends with an error."""
    hang_at_step: int | None = None
    """Each attempt that comes to make that step stays in it for ever."""

    @classmethod
    def of(cls, spec: JobSpec) -> Self:
        given = {
            name.removeprefix(PREFIX): value
            for name, value in spec.metadata.items()
            if name.startswith(PREFIX)
        }
        return cls.model_validate({"steps": spec.training.epochs * STEPS_AN_EPOCH, **given})


class State(BaseModel):
    """What a rehearsal has come to; a checkpoint's `state.json`."""

    step: int
    digest: str
    belongs_to: dict[str, str] = {}

    @classmethod
    def first(cls, seed: int) -> Self:
        return cls(step=0, digest=hashlib.sha256(str(seed).encode()).hexdigest())

    def next(self) -> Self:
        """Fold one step: each digest is of the one before and of the step's number."""
        digest = hashlib.sha256(f"{self.digest} {self.step}".encode()).hexdigest()
        return self.model_copy(update={"step": self.step + 1, "digest": digest})


def student_digest(seed: int, steps: int) -> str:
    """Return the sha256 of the weights of a student whose every step was made once, in order."""
    state = State.first(seed)
    for _ in range(steps):
        state = state.next()
    return hashlib.sha256(_weights(state)).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Rehearse a spec and return the process's exit code."""
    given = _parser().parse_args(arguments)
    if given.parent_pid is not None:
        _die_with(given.parent_pid)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    send = MessagePipe(given.messages_fd).send
    try:
        spec = JobSpec.model_validate_json(given.spec.read_bytes())
        course = Course.of(spec)
    except ValidationError as error:
        failure = JobError(code="invalid_spec", message=str(error), retryable=False)
        send(Failed(error=failure))
        return ExitCode.BAD_INPUT
    if course.ignore_stop:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        reporter = Reporter(send)
    else:
        reporter = Reporter(send, Control(given.control_fd).heard)
        signal.signal(signal.SIGTERM, lambda *_: setattr(reporter, "stop_reason", StopReason.DRAIN))
    return _run(spec, course, Workspace(given.folder), reporter)


def _run(spec: JobSpec, course: Course, workspace: Workspace, reporter: Reporter) -> int:
    try:
        rehearse(spec, course, workspace, reporter)
    except Stopped:
        assert reporter.stop_reason is not None  # noqa: S101 (it is why)
        return STOPPED[reporter.stop_reason]
    except OSError as error:
        if not is_disk_full(error):
            raise
        reporter.send(Failed(error=JobError(code="disk_full", message=str(error), retryable=True)))
        return ExitCode.DISK_FULL
    return ExitCode.SUCCEEDED


def rehearse(spec: JobSpec, course: Course, workspace: Workspace, reporter: Reporter) -> None:
    """Go through the phases of a job; only training the student takes time.

    Raises:
        Stopped: at a step boundary, after a checkpoint where one was asked for.
    """
    for phase in Phase:
        reporter.send(PhaseStarted(phase=phase))
        if phase is Phase.TRAINING_STUDENT and not workspace.is_finished(STUDENT):
            _train(spec, course, workspace, reporter)
        elif phase is Phase.EXPORTING:
            _export(spec, workspace)
        reporter.send(
            PhaseFinished(
                phase=phase, skipped=phase not in {Phase.TRAINING_STUDENT, Phase.EXPORTING}
            )
        )
    reporter.send(Finished(report=_report(spec)))


def _train(spec: JobSpec, course: Course, workspace: Workspace, reporter: Reporter) -> None:
    """Make the steps that are left, and leave the student and a checkpoint of it."""
    checkpoints = Checkpoints(spec, workspace, reporter)
    newest = _newest(checkpoints)
    if newest is not None:
        phase = Phase.TRAINING_STUDENT
        reporter.send(WentOn(phase=phase, role=STUDENT, step=newest.step))
    state = newest or State.first(spec.training.seed)
    pace = Pace(Phase.TRAINING_STUDENT, course.steps, spec.training.batch_size)
    while state.step < course.steps:
        epoch = state.step // STEPS_AN_EPOCH + 1
        if checkpoints.due:
            mark = Mark(Phase.TRAINING_STUDENT, STUDENT, state.step, epoch)
            kept = state.model_copy(update={"belongs_to": checkpoints.belonging()})
            checkpoints.write(mark, partial(_save, spec, kept))
        reporter.progress(partial(pace.at, state.step, epoch))
        _make_step(course, state.step)
        state = state.next()
        if state.step % STEPS_AN_EPOCH == 0:
            reporter.metrics(state.step, {"student/loss": int(state.digest[:8], 16) / 2**32})
    with workspace.writing(STUDENT) as folder:
        _save(spec, state, folder)
    checkpoints.announce(Mark(Phase.TRAINING_STUDENT, STUDENT, state.step), folder=None)
    checkpoints.clear()


def _make_step(course: Course, step: int) -> None:
    if step == course.crash_at_step:
        raise RuntimeError(f"the spec asks for a crash at step {step}")
    while step == course.hang_at_step:
        time.sleep(1)
    time.sleep(course.step_seconds)


def _newest(checkpoints: Checkpoints) -> State | None:
    folder = checkpoints.newest(STUDENT)
    if folder is None:
        return None
    state = State.model_validate_json((folder / STATE_FILE).read_bytes())
    if state.belongs_to == checkpoints.belonging():
        return state
    checkpoints.discard(STUDENT)
    return None


def _save(spec: JobSpec, state: State, folder: Path) -> None:
    config = {"architecture": spec.student.architecture.model_dump(), "rehearsal": True}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "model.safetensors").write_bytes(_weights(state))
    (folder / STATE_FILE).write_text(state.model_dump_json(indent=2))


def _weights(state: State) -> bytes:
    """Return the state's digest as a file of one tensor of 32 bytes."""
    digest = bytes.fromhex(state.digest)
    tensor = {"dtype": "U8", "shape": [len(digest)], "data_offsets": [0, len(digest)]}
    header = json.dumps({"digest": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + digest


def _export(spec: JobSpec, workspace: Workspace) -> None:
    with workspace.writing("outputs") as folder:
        (folder / STUDENT).mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copy(workspace.stage(STUDENT) / name, folder / STUDENT / name)
        report = FullReport(**dict(_report(spec)), details={})
        (folder / "report.json").write_text(report.model_dump_json(indent=2))
        (folder / "report.html").write_text(PAGE)
        write_manifest(folder)


def _report(spec: JobSpec) -> Report:
    def model(name: str) -> ModelReport:
        return ModelReport(
            architecture=name, num_parameters=0, test=Scores(num_examples=0, quality=0)
        )

    student = model(spec.student.architecture.name)
    return Report(
        task=spec.dataset.task,
        teacher=model(spec.teacher.source),
        baseline=student if spec.baseline else None,
        student=student,
        fidelity=None,
        num_examples={"train": 0, "validation": 0, "test": 0},
        output_names=["nothing"],
        warnings=[WARNING],
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.rehearsal", description=__doc__)
    parser.add_argument("spec", type=Path)
    parser.add_argument("folder", type=Path)
    for name in ("--messages-fd", "--control-fd"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--parent-pid", type=int)  # in a sandbox there is none to know
    return parser


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the line above.
    if os.getppid() != parent:
        sys.exit("the parent process is gone")


if __name__ == "__main__":
    sys.exit(main())
