"""A run's messages as lines for a person at a terminal."""

import sys
from typing import TextIO

from app.contracts.job import Progress
from app.contracts.message import (
    AnyMessage,
    Failed,
    Finished,
    PhaseFinished,
    PhaseStarted,
    ProgressMade,
    Warned,
)
from app.contracts.report import ModelReport, Report


class Console:
    """Writes a line a phase, progress in place where the stream is a terminal, then a table."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self.stream = stream
        self._in_place = stream.isatty()

    def send(self, message: AnyMessage) -> None:
        if isinstance(message, ProgressMade):
            if self._in_place:
                self.stream.write(f"\r\x1b[K  {_progress(message.progress)}")
                self.stream.flush()
            return
        text = _line(message)
        if text:
            self.stream.write(f"\r\x1b[K{text}\n" if self._in_place else f"{text}\n")
            self.stream.flush()


def _line(message: AnyMessage) -> str:
    text = ""
    if isinstance(message, PhaseStarted):
        text = f"{_words(message.phase)} ..."
    elif isinstance(message, PhaseFinished):
        text = "  not needed" if message.skipped else f"  {message.summary}"
    elif isinstance(message, Warned):
        text = f"  warning: {message.message}"
    elif isinstance(message, Failed):
        text = f"failed ({message.error.code}): {message.error.message}"
        if message.error.hint:
            text += f"\n  {message.error.hint}"
    elif isinstance(message, Finished):
        text = table(message.report)
    return text


def table(report: Report) -> str:
    """Lay teacher, baseline and student side by side, on the test part."""
    models = {"teacher": report.teacher, "baseline": report.baseline, "student": report.student}
    head = f"{'':10}{'accuracy':>10}{'errors':>8}{'log loss':>10}{'parameters':>12}{'bytes':>12}"
    return "\n".join([head, *(_row(role, model) for role, model in models.items() if model)])


def _row(role: str, model: ModelReport) -> str:
    test = model.test
    accuracy = f"{test.accuracy * 100:.2f} %"
    return (
        f"{role:10}{accuracy:>10}{test.errors:>8}{test.log_loss:>10.4f}"
        f"{model.num_parameters:>12,}{model.bytes:>12,}"
    )


def _progress(progress: Progress) -> str:
    parts = [f"{progress.step} of {progress.steps}"]
    if progress.epoch is not None:
        parts.insert(0, f"epoch {progress.epoch} of {progress.epochs}")
    if progress.examples_per_second is not None:
        parts.append(f"{progress.examples_per_second:,.0f} examples/s")
    if progress.seconds_left is not None:
        parts.append(f"{progress.seconds_left:.0f} s left")
    return ", ".join(parts)


def _words(name: str) -> str:
    return name.replace("_", " ")
