"""A table in CSV: one example a row, one or more columns to learn to predict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.contracts.dataset import Csv
from worker.distillation.columns import ColumnSurvey, KnownColumn
from worker.distillation.dataset import Column, RawData, Tell, inputs_file
from worker.distillation.errors import BadInput, nearest, shown
from worker.distillation.rows import Table
from worker.distillation.targets import Answers, Labels, Place, answers

MAX_VALUES = 2**28  # of all inputs and targets together: 1 GiB in float32
ROWS_AT_ONCE = 1024
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


@dataclass(frozen=True)
class Layout:
    """Which cells of a row are what; positions count from 0."""

    header: list[str]
    answers: list[int]
    """Of the label, or of each target."""
    features: list[int]


@dataclass(frozen=True)
class Findings:
    """What the first reading found."""

    columns: Mapping[int, Column]
    """By the position of the cell."""
    answers: Answers
    num_rows: int


def read(
    settings: Csv, path: Path, scratch: Path, tell: Tell, like: RawData | None = None
) -> RawData:
    """Read the file twice: once to learn what each column is, once to take its values.

    A column of numbers is one input, one of words one input a word. A file that is to be ``like``
    one read before has its classes, columns and words; other columns are passed over. Raises
    BadInput naming line and column where a value cannot be used.
    """
    table = Table(path, settings.delimiter)
    layout = _layout(settings, table.header(), like)
    findings = _survey(settings, table, layout, like, lambda done, total: tell(done, 2 * total))
    inputs, labels = _values(
        table, layout, findings, scratch, lambda done, total: tell(total + done, 2 * total)
    )
    return RawData(
        inputs,
        labels,
        findings.answers.output_names(),
        columns=[*findings.columns.values()],
        task=settings.task,
    )


def _layout(settings: Csv, header: list[str], like: RawData | None) -> Layout:
    places = {name: position for position, name in enumerate(header)}
    if settings.task == "classification":
        wanted = [_position(places, settings.label, "as `label` asks", settings.delimiter)]
    else:
        wanted = _positions(places, settings.targets, "targets", settings.delimiter)
    if like is not None:
        reason = "as there is in the file to learn from"
        known = [column.name for column in like.columns or []]
        features = [_position(places, name, reason, settings.delimiter) for name in known]
    elif settings.features is None:
        features = [position for position in range(len(header)) if position not in wanted]
    else:
        features = _positions(places, settings.features, "features", settings.delimiter)
    kind = "label" if settings.task == "classification" else "target"
    for position in features:
        if position in wanted:
            raise BadInput(
                f"{kind}_among_features",
                f"{shown(header[position])} is both a {kind} and one of the features",
                "A model that reads the answer learns nothing; remove it from `features`.",
            )
    if not features:
        named = ", ".join(shown(header[position]) for position in wanted)
        raise BadInput("no_features", f"The table has no column besides the {kind} {named}")
    return Layout(header, wanted, features)


def _positions(
    places: Mapping[str, int], names: Sequence[str], setting: str, delimiter: str
) -> list[int]:
    positions: dict[int, None] = {}
    for number, name in enumerate(names):
        position = _position(places, name, f"as `{setting}.{number}` asks", delimiter)
        if position in positions:
            raise BadInput("duplicate_column", f"`{setting}` names {shown(name)} twice")
        positions[position] = None
    return list(positions)


def _position(places: Mapping[str, int], name: str, reason: str, delimiter: str) -> int:
    """Return a column's position; ``reason`` says why there should be one of that name."""
    if name in places:
        return places[name]
    if len(places) == 1:
        hint = f"The header is one column; is the delimiter {_DELIMITERS[delimiter]}?"
    else:
        hint = nearest(name, list(places))
    raise BadInput(
        "unknown_column",
        f"line 1: no column is named {shown(name)}, {reason}",
        hint,
    )


def _survey(
    settings: Csv, table: Table, layout: Layout, like: RawData | None, tell: Tell
) -> Findings:
    surveys = _surveys(layout, like)
    expected = answers(
        settings.task,
        [Place(layout.header[position], position) for position in layout.answers],
        None if like is None else like.output_names,
    )
    num_values = len(surveys) + len(settings.targets)
    num_rows = 0
    for line, cells in table.rows(len(layout.header), tell):
        num_rows += 1
        _check_size(line, num_rows * num_values)
        expected.see(line, cells)
        for position, survey in surveys.items():
            survey.see(line, cells[position])
    if num_rows == 0:
        raise BadInput("empty_file", "The file has a header and no rows; it needs one an example.")
    columns = {position: survey.column() for position, survey in surveys.items()}
    return Findings(columns, expected, num_rows)


def _surveys(layout: Layout, like: RawData | None) -> dict[int, ColumnSurvey | KnownColumn]:
    if like is None:
        return {position: ColumnSurvey(layout.header[position]) for position in layout.features}
    known = zip(layout.features, like.columns or [], strict=True)
    return {position: KnownColumn(column) for position, column in known}


def _check_size(line: int, num_values: int) -> None:
    if num_values > MAX_VALUES:
        raise BadInput(
            "too_large",
            f"line {line}: more than {MAX_VALUES:,} values of all rows, inputs and targets "
            "together",
            "Use fewer rows, or fewer columns by `features`.",
        )


def _values(
    table: Table, layout: Layout, findings: Findings, scratch: Path, tell: Tell
) -> tuple[npt.NDArray[np.float32], Labels]:
    """Return the inputs (N, F), memory-mapped, and the labels, as in ``RawData``."""
    widths = [len(column.categories or [None]) for column in findings.columns.values()]
    _check_size(1, findings.num_rows * sum(widths))
    offsets = dict(zip(findings.columns, np.cumsum([0, *widths[:-1]]).tolist(), strict=True))
    places = {
        position: {word: place for place, word in enumerate(column.categories)}
        for position, column in findings.columns.items()
        if column.categories
    }
    inputs = np.lib.format.open_memmap(
        inputs_file(scratch), "w+", np.float32, (findings.num_rows, sum(widths))
    )
    labels: list[Labels] = []
    rows = table.rows(len(layout.header), tell)
    start = 0
    while some := [cells for _, cells in islice(rows, ROWS_AT_ONCE)]:
        stop = start + len(some)
        labels.append(findings.answers.read(some))
        for position, offset in offsets.items():
            texts = [cells[position] for cells in some]
            _fill(inputs[start:stop], offset, texts, places.get(position))
        start = stop
    return inputs, np.concatenate(labels)  # type: ignore[return-value]  # all of one type


def _fill(
    inputs: npt.NDArray[np.float32],
    offset: int,
    texts: Sequence[str],
    places: Mapping[str, int] | None,
) -> None:
    """Write one column of some rows: its numbers, or a 1 at each row's word."""
    if places is None:
        inputs[:, offset] = [float(text) for text in texts]
    else:
        inputs[np.arange(len(texts)), [offset + places[text] for text in texts]] = 1
