"""What a row of the fault table has come to: counts, complaints, figures; added up and printed."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

DatabaseKind = Literal["sqlite", "postgres"]


@dataclass(frozen=True)
class Plan:
    """What one run of a row should reach."""

    database: DatabaseKind
    jobs: int
    faults: int
    seed: int
    sabotage: str | None = None
    """The folder under `sabotage` whose change to the product every process of it loads."""


@dataclass
class Figure:
    """Measured seconds, and what their 99th percentile may be."""

    samples: list[float]
    limit: float | None = None

    def quantile(self, share: float) -> float:
        """Return the smallest sample that at least that share of all do not exceed."""
        ordered = sorted(self.samples)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    @property
    def is_met(self) -> bool:
        return not self.samples or self.limit is None or self.quantile(0.99) <= self.limit


@dataclass
class Outcome:
    """A run of a row, or several added up."""

    row: str
    database: str
    seed: int
    jobs: int
    faults: int
    seconds: float
    complaints: list[str] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    """What else was counted, by what it is called."""

    @property
    def is_good(self) -> bool:
        return not self.complaints and all(figure.is_met for figure in self.figures.values())


def append(outcome: Outcome, path: Path) -> None:
    """Add a run to a file of them, a line each."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(outcome)) + "\n")


def read(path: Path) -> list[Outcome]:
    outcomes = []
    for line in path.read_text().splitlines():
        given = json.loads(line)
        figures = {name: Figure(**figure) for name, figure in given.pop("figures").items()}
        outcomes.append(Outcome(**given, figures=figures))
    return outcomes


def added_up(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return one outcome a row and database, in the order in which they first appear."""
    sums: dict[tuple[str, str], Outcome] = {}
    for one in outcomes:
        empty = Outcome(one.row, one.database, one.seed, 0, 0, 0)
        total = sums.setdefault((one.row, one.database), empty)
        total.jobs += one.jobs
        total.faults += one.faults
        total.seconds += one.seconds
        total.complaints += one.complaints
        for name, figure in one.figures.items():
            before = total.figures.setdefault(name, Figure([], figure.limit))
            before.samples += figure.samples
        for name, number in one.counts.items():
            total.counts[name] = total.counts.get(name, 0) + number
    return list(sums.values())


def table(outcomes: list[Outcome]) -> str:
    """Return a Markdown table of rows, then the complaints that there are."""
    lines = [
        "| fault | database | jobs | faults | complaints | measured | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in outcomes:
        counts = [f"{name} {number}" for name, number in one.counts.items()]
        figures = [_spoken(name, figure) for name, figure in one.figures.items() if figure.samples]
        lines.append(
            f"| {one.row} | {one.database} | {one.jobs} | {one.faults} | {len(one.complaints)} "
            f"| {'; '.join(counts + figures)} | {one.seconds:.0f} |"
        )
    for one in outcomes:
        lines += [f"- {one.row}, {one.database}: {sentence}" for sentence in one.complaints]
    return "\n".join(lines)


def _spoken(name: str, figure: Figure) -> str:
    text = (
        f"{name}: p50 {figure.quantile(0.5):.1f} s, p99 {figure.quantile(0.99):.1f} s "
        f"of {len(figure.samples)}"
    )
    if figure.limit is not None:
        text += f" ({'within' if figure.is_met else 'OVER'} {figure.limit:g} s)"
    return text
