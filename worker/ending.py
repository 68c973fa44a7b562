"""How a trainer ended, and what follows for its job: arithmetic, no effects."""

import signal
from dataclasses import dataclass
from enum import Enum

from app.contracts.job import JobError, Phase
from app.contracts.message import NO_GPU, STOPPED, ExitCode
from app.contracts.report import Report

TRIES_IN_LITTLE_MEMORY = 2


class Verdict(Enum):
    """What becomes of the job."""

    DELIVER = "deliver"
    FAIL = "fail"
    RETRY = "retry"
    GIVE_BACK = "give back"
    """Its worker goes, or its client has paused it: nothing is charged."""
    SET_ASIDE = "set aside"
    """Its machine is at fault: nothing is charged, but not for ever."""


@dataclass
class Ending:
    """What the supervisor saw of a trainer, up to its end."""

    exit_code: int | None = None
    """Negative for a signal, as in ``subprocess``."""
    error: JobError | None = None
    report: Report | None = None
    phase: Phase | None = None
    killed: bool = False
    """It was killed because it did not stop in time when it was asked to."""
    overdue: bool = False
    hung: bool = False
    """It made no step for so long that it was killed."""
    out_of_memory: bool = False
    """The kernel has killed some process for memory meanwhile."""

    @property
    def verdict(self) -> Verdict:
        if self.exit_code == ExitCode.SUCCEEDED and self.report is not None:
            return Verdict.DELIVER
        if self.overdue or (self._was_refused and not self.found_no_gpu):
            return Verdict.FAIL
        if self.exit_code == ExitCode.DISK_FULL or self.found_no_gpu:
            return Verdict.SET_ASIDE
        has_stopped = self.exit_code in STOPPED.values()
        return Verdict.GIVE_BACK if has_stopped or self.killed else Verdict.RETRY

    @property
    def found_no_gpu(self) -> bool:
        """Say whether it wanted for a GPU; only a worker that has one is given such a job."""
        return self._was_refused and self.error is not None and self.error.code == NO_GPU

    @property
    def most_failures(self) -> int | None:
        """Return how often a job may end so before it fails, where that is less than usual."""
        return TRIES_IN_LITTLE_MEMORY if self._was_out_of_memory else None

    @property
    def _was_refused(self) -> bool:
        return self.exit_code == ExitCode.BAD_INPUT and self.error is not None

    @property
    def _was_out_of_memory(self) -> bool:
        return self.exit_code == -signal.SIGKILL and self.out_of_memory and not self.hung

    def explain(self) -> JobError:
        """Return the error of a job that this ending fails or has tried again."""
        if self.overdue:
            error = DEADLINE_EXCEEDED
        elif self.hung:
            error = TRAINER_HUNG
        elif self._was_out_of_memory:
            error = OUT_OF_MEMORY
        elif self.found_no_gpu:
            error = GPU_AWAY
        else:
            error = self.error or _crash(self.exit_code)
        return error.model_copy(update={"phase": error.phase or self.phase})


DEADLINE_EXCEEDED = JobError(
    code="deadline_exceeded",
    message="The attempt ran longer than resources.max_runtime_seconds.",
    retryable=True,
    hint="Give it more time, fewer epochs or a smaller model.",
)
TRAINER_HUNG = JobError(
    code="trainer_hung",
    message="The trainer made no step for very long, and was killed.",
    retryable=True,
    hint="The job's logs say where each of its threads was.",
)
OUT_OF_MEMORY = JobError(
    code="out_of_memory",
    message="The trainer was killed because the machine ran out of memory.",
    retryable=True,
    hint="Lower batch_size, choose a smaller architecture, or use a larger machine.",
)

GPU_AWAY = JobError(
    code=NO_GPU,
    message="The worker's GPU is away: torch finds none on its machine.",
    retryable=True,
    hint="Look at that machine's driver with nvidia-smi; the spec is not at fault.",
)


def _crash(exit_code: int | None) -> JobError:
    return JobError(
        code="trainer_crashed",
        message=f"The trainer {_spoken(exit_code)}.",
        retryable=True,
        hint="The job's logs hold the last words of the trainer.",
    )


def worker_failure(error: Exception) -> JobError:
    """Return the error of an attempt that broke outside its trainer.

    The client learns its kind; its words, which may name paths and hosts, are in the worker's log.
    """
    return JobError(
        code="worker_failed",
        message=f"The worker failed around the trainer ({type(error).__name__}).",
        retryable=True,
        hint="See the worker's log; its disk, database and storage are the first to look at.",
    )


def input_missing(error: Exception) -> JobError:
    """Return the error of a job whose file or model is no longer there."""
    return JobError(
        code="input_missing",
        message=f"Something that the spec names cannot be read: {error}.",
        phase=Phase.PREPARING,
        retryable=False,
        hint="Upload it again and post a job that names the new id.",
    )


def _spoken(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"ended with exit code {exit_code} and no result"
    name = signal.Signals(-exit_code).name
    return "was killed by someone (SIGKILL)" if name == "SIGKILL" else f"was ended by {name}"
