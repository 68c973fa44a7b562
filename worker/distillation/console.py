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
from app.contracts.report import Report
from app.contracts.report_figures import figures, roles


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
        text = f"  {message.summary or ('not needed' if message.skipped else '')}"
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
    columns = [["", *figures(report)]]
    columns += [[role] for role in roles(report)]
    for cells in figures(report).values():
        for column, cell in zip(columns[1:], cells, strict=True):
            column.append(cell)
    widths = [max(map(len, column)) for column in columns]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in zip(*columns, strict=True)
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
