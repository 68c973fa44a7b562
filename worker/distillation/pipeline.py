"""A whole run: the stages in order, each done once however often the run is started."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from app.contracts.job import JobSpec, Phase
from app.contracts.message import Failed, Finished, PhaseFinished, PhaseStarted
from app.contracts.report import Report
from worker.distillation.checkpoint import Checkpoints, Mark
from worker.distillation.environment import note_environment
from worker.distillation.errors import JobFailure
from worker.distillation.knowledge import is_reused
from worker.distillation.provenance import note_spec
from worker.distillation.reporting import Reporter
from worker.distillation.stages import (
    collect_knowledge,
    evaluate,
    export,
    prepare,
    train_assistants,
    train_baseline,
    train_student,
    train_teacher,
)
from worker.distillation.summaries import read_report, summary
from worker.distillation.workspace import Workspace

Stage = Callable[[JobSpec, Workspace, Reporter], None]

STAGES: tuple[tuple[Phase, str, Stage], ...] = (
    (Phase.PREPARING, "prepared", prepare.run),
    (Phase.TRAINING_TEACHER, "teacher", train_teacher.run),
    (Phase.TRAINING_ASSISTANTS, "assistants", train_assistants.run),
    (Phase.COLLECTING_KNOWLEDGE, "knowledge", collect_knowledge.run),
    (Phase.TRAINING_BASELINE, "baseline", train_baseline.run),
    (Phase.TRAINING_STUDENT, "student", train_student.run),
    (Phase.EVALUATING, "evaluation", evaluate.run),
    (Phase.EXPORTING, "outputs", export.run),
)
"""Each phase, the folder it leaves (none if it has nothing to do), and what does it."""


def run(spec: JobSpec, workspace: Workspace, reporter: Reporter) -> Report:
    """Run what is not finished yet; every message of the run goes through ``reporter``.

    Raises:
        JobFailure: the run cannot succeed; it has been reported.
        Stopped: the reporter was asked to stop; the finished stages stay.
    """
    with _failures_reported(Phase.PREPARING, reporter):
        note_spec(spec, workspace)
    note_environment(spec, workspace, reporter)
    for phase, name, stage in STAGES:
        restored = workspace.is_finished(name)
        reporter.send(PhaseStarted(phase=phase, restored=restored))
        if not restored:
            with _failures_reported(phase, reporter):
                stage(spec, workspace, reporter)
            _keep(phase, name, (spec, workspace, reporter))
        elif phase is Phase.PREPARING:
            prepare.warn_again(workspace, reporter)
        if workspace.is_finished(name) and not is_reused(workspace.stage(name)):
            said = summary(phase, workspace)
            reporter.send(PhaseFinished(phase=phase, summary=said, restored=restored))
        else:
            said = summary(phase, workspace) if workspace.is_finished(name) else ""
            reporter.send(PhaseFinished(phase=phase, skipped=True, summary=said))
    report = read_report(workspace)
    reporter.send(Finished(report=report))
    return report


def _keep(phase: Phase, name: str, run: tuple[JobSpec, Workspace, Reporter]) -> None:
    """Tell that a run can go on after this stage, where it has left what took long to make.

    What stages like this one kept on their way is no longer needed; but a stage that is made again
    in each run, such as the first, has kept nothing, and must leave what later ones go on from.
    """
    spec, workspace, reporter = run
    if name not in workspace.finished():
        return
    checkpoints = Checkpoints(spec, workspace, reporter)
    if not is_reused(workspace.stage(name)):
        checkpoints.announce(Mark(phase, name, 0), folder=None)
    checkpoints.clear()


@contextmanager
def _failures_reported(phase: Phase, reporter: Reporter) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        failure = JobFailure(
            "out_of_gpu_memory",
            f"the GPU's memory does not hold this phase: {error}",
            hint="lower batch_size, choose a smaller architecture or precision bfloat16",
        )
        _report(failure, phase, reporter)
        raise failure from error
    except JobFailure as failure:
        _report(failure, phase, reporter)
        raise


def _report(failure: JobFailure, phase: Phase, reporter: Reporter) -> None:
    error = failure.as_error().model_copy(update={"phase": phase})
    reporter.send(Failed(error=error))
