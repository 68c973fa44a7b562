"""How a run ends early: the client's input is at fault, or someone asked it to stop."""

from app.contracts.job import JobError


class BadInput(Exception):
    """The spec or the data cannot work; running again would not help.

    ``code`` is for programs (snake_case), the message names what was given and what is expected
    (for a table, the line and column), and ``hint`` says what to do.
    """

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint

    def as_error(self) -> JobError:
        return JobError(code=self.code, message=str(self), retryable=False, hint=self.hint)


class Stopped(Exception):
    """The supervisor, or Ctrl-C, asked the run to stop; raised at a step boundary."""
