"""How a trainer ended, and what follows for its job: arithmetic, no effects."""

import signal
from dataclasses import dataclass
from enum import Enum

from app.contracts.job import JobError, Phase
from app.contracts.message import ExitCode
from app.contracts.report import Report


class Verdict(Enum):
    """What becomes of the job."""

    DELIVER = "deliver"
    FAIL = "fail"
    RETRY = "retry"
    GIVE_BACK = "give back"


@dataclass
class Ending:
    """What the supervisor saw of a trainer, up to its end."""

    exit_code: int | None = None
    """Negative for a signal, as in ``subprocess``."""
    error: JobError | None = None
    report: Report | None = None
    phase: Phase | None = None
    drained: bool = False
    """The worker is going, and has asked the trainer to stop."""
    overdue: bool = False

    @property
    def verdict(self) -> Verdict:
        if self.exit_code == ExitCode.SUCCEEDED and self.report is not None:
            return Verdict.DELIVER
        if self.overdue or (self.exit_code == ExitCode.BAD_INPUT and self.error is not None):
            return Verdict.FAIL
        return Verdict.GIVE_BACK if self.drained else Verdict.RETRY

    def explain(self) -> JobError:
        """Return the error of a job that this ending fails or has tried again."""
        if self.overdue:
            return JobError(
                code="deadline_exceeded",
                message="The attempt ran longer than resources.max_runtime_seconds.",
                phase=self.phase,
                retryable=True,
                hint="Give it more time, fewer epochs or a smaller model.",
            )
        if self.error is not None:
            return self.error.model_copy(update={"phase": self.error.phase or self.phase})
        return JobError(
            code="trainer_crashed",
            message=f"The trainer {_spoken(self.exit_code)}.",
            phase=self.phase,
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
    if name == "SIGKILL":
        return "was killed (SIGKILL), which is most often the machine running out of memory"
    return f"was ended by {name}"
