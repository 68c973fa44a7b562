"""What a person watches: bytes that come or go, and a job; where there is no terminal, in lines."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from app.cli.result import print_result
from app.contracts.job import Job, Phase, PhaseRecord, Status


def byte_bar(on: Console) -> Progress:
    """Make a bar for bytes; where there is no terminal it shows nothing."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=on,
        disable=not on.is_terminal,
        transient=True,
    )


class JobDisplay:
    """Shows each state of one job that it is given."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._bars: dict[Phase, TaskID] = {}
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, job: Job) -> None:
        if job.status is Status.QUEUED and job.waiting_reason is not None:
            self._say(f"attempt {job.attempt + 1} waits: {job.waiting_reason}")
        if job.status is Status.PAUSED:
            self._say("paused; `stillhouse jobs resume` lets it go on")
        for record in job.phases:
            self._show_phase(job, record)

    def _show_phase(self, job: Job, record: PhaseRecord) -> None:
        if not self._console.is_terminal:
            self._say(f"{record.name.value}: {record.status}")
            return
        bar = self._bars.get(record.name)
        if bar is None:
            bar = self._progress.add_task(record.name.value.replace("_", " "), total=1, note="")
            self._bars[record.name] = bar
        if record.finished_at is not None:
            seconds = (record.finished_at - record.started_at).total_seconds()
            self._progress.update(bar, total=1, completed=1, note=f"{seconds:.1f} s")
        elif job.progress is not None and job.progress.phase is record.name:
            made = job.progress
            self._progress.update(
                bar, total=made.steps or None, completed=made.step or 0, note=describe(job)
            )

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._console.print(Text(line))


def describe(job: Job) -> str:
    """Say in a few words how far the present phase is."""
    made = job.progress
    if made is None:
        return ""
    words = []
    if made.epoch is not None and made.epochs is not None:
        words.append(f"epoch {made.epoch}/{made.epochs}")
    if made.examples_per_second is not None:
        words.append(f"{made.examples_per_second:,.0f} examples/s")
    if made.seconds_left is not None:
        words.append(f"{made.seconds_left:.0f} s left")
    return ", ".join(words)


def print_outcome(console: Console, job: Job) -> None:
    """Say how the job stands, with its result or the reason why there is none."""
    doing = job.waiting_reason or ("" if job.phase is None else job.phase.value)
    standing = f"{job.status.value}, {doing}" if doing and job.result is None else job.status.value
    console.print(f"{job.id} {standing}", style="bold", markup=False, highlight=False)
    if job.error is not None:
        where = "" if job.error.phase is None else f" while {job.error.phase.value}"
        console.print(f"{job.error.code}{where}: {job.error.message}", style="red", markup=False)
        if job.error.hint is not None:
            console.print(job.error.hint, markup=False)
    if job.result is not None:
        print_result(console, job.result)
    # Both may hold the same warning.
    for warning in dict.fromkeys([*job.warnings, *(job.result.warnings if job.result else [])]):
        console.print(f"Note: {warning}", style="yellow", markup=False)
