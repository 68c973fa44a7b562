"""How a run ends early: the client's input is at fault, our export is, or someone stopped it."""

import difflib
from collections.abc import Sequence

from app.contracts.job import JobError
from worker.distillation.history import History

_SHOWN_LENGTH = 40


class JobFailure(Exception):
    """The job cannot succeed; running it again would not help.

    ``code`` is for programs (snake_case), the message names what was given and what is expected
    (for a table, the line and column), and ``hint`` says what to do.
    """

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(_sendable(message))
        self.code = code
        self.hint = None if hint is None else _sendable(hint)

    def as_error(self) -> JobError:
        return JobError(code=self.code, message=str(self), retryable=False, hint=self.hint)


class BadInput(JobFailure):
    """The spec or the data cannot work."""


class NonFinite(BadInput):
    """A loss or a weight is no longer a finite number.

    ``history`` is of the epochs before, where there were any: the model is as the best left it.
    """

    def __init__(self, message: str) -> None:
        self.history: History | None = None
        super().__init__(
            "non_finite_loss",
            message,
            hint="lower the optimizer's lr or the loss's weight, or give the schedule a warm-up",
        )


class BadExport(JobFailure):
    """An exported file does not answer as the student does: no fault of the client's."""


class Stopped(Exception):
    """The supervisor, or Ctrl-C, asked the run to stop; raised at a step boundary."""


def nearest(text: str, known: Sequence[str]) -> str:
    """Ask whether one of the names nearest to ``text`` was meant."""
    near = difflib.get_close_matches(text, known, n=3, cutoff=0.5) or known[:5]
    return "Did you mean " + " or ".join(map(shown, near)) + "?"


def shown(text: str) -> str:
    """Quote a value for a message, cut short if it is long."""
    return f'"{text}"' if len(text) <= _SHOWN_LENGTH else f'"{text[:_SHOWN_LENGTH]}..."'


def _sendable(text: str) -> str:
    """Show half a pair of surrogates, as in names that are not UTF-8, by its number."""
    return text.encode("utf-8", "backslashreplace").decode()
