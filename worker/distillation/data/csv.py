"""A table for classification in CSV: one example a row, one column its class."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.contracts.dataset import Csv
from worker.distillation.columns import ColumnSurvey, check_word, shown
from worker.distillation.dataset import Column, RawData, Tell, class_order, inputs_file
from worker.distillation.errors import BadInput
from worker.distillation.rows import Table

MAX_VALUES = 2**28  # of all inputs together: 1 GiB in float32
MAX_CLASSES = 1000
ROWS_AT_ONCE = 1024
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


@dataclass(frozen=True)
class Layout:
    """Which cells of a row are what; positions count from 0."""

    header: list[str]
    label: int
    features: list[int]


@dataclass(frozen=True)
class Findings:
    """What the first reading found."""

    columns: Mapping[int, Column]
    """By the position of the cell."""
    output_names: list[str]
    num_rows: int


def read(settings: Csv, path: Path, scratch: Path, tell: Tell) -> RawData:
    """Read the file twice: once to learn what each column is, once to take its values.

    A column of numbers is one input, one of words one input a word. Raises BadInput naming line
    and column where a value cannot be used.
    """
    table = Table(path, settings.delimiter)
    layout = _layout(settings, table.header())
    findings = _survey(table, layout, lambda done, total: tell(done, 2 * total))
    inputs, labels = _values(
        table, layout, findings, scratch, lambda done, total: tell(total + done, 2 * total)
    )
    return RawData(inputs, labels, findings.output_names, columns=[*findings.columns.values()])


def _layout(settings: Csv, header: list[str]) -> Layout:
    label = _position(header, settings.label, "label", settings.delimiter)
    if settings.features is None:
        features = [position for position in range(len(header)) if position != label]
    else:
        features = [
            _position(header, name, f"features.{number}", settings.delimiter)
            for number, name in enumerate(settings.features)
        ]
    if label in features:
        raise BadInput(
            "label_among_features",
            f'"{settings.label}" is both the label and one of the features',
            "A model that reads the answer learns nothing; remove it from `features`.",
        )
    if len(set(features)) < len(features):
        raise BadInput("duplicate_column", "`features` names a column twice")
    if not features:
        raise BadInput(
            "no_features", f'The table has no column besides the label "{settings.label}"'
        )
    return Layout(header, label, features)


def _position(header: list[str], name: str, setting: str, delimiter: str) -> int:
    if name in header:
        return header.index(name)
    if len(header) == 1:
        hint = f"The header is one column; is the delimiter {_DELIMITERS[delimiter]}?"
    else:
        nearest = difflib.get_close_matches(name, header, n=3, cutoff=0.5) or header[:5]
        hint = "Did you mean " + " or ".join(shown(near) for near in nearest) + "?"
    raise BadInput(
        "unknown_column",
        f"line 1: no column is named {shown(name)}, as `{setting}` asks",
        hint,
    )


def _survey(table: Table, layout: Layout, tell: Tell) -> Findings:
    surveys = {position: ColumnSurvey(layout.header[position]) for position in layout.features}
    output_names: set[str] = set()
    num_rows = 0
    for line, cells in table.rows(len(layout.header), tell):
        num_rows += 1
        _check_size(line, num_rows * len(surveys))
        _check_label(line, layout.header[layout.label], cells[layout.label], output_names)
        output_names.add(cells[layout.label])
        for position, survey in surveys.items():
            survey.see(line, cells[position])
    if num_rows == 0:
        raise BadInput("empty_file", "The file has a header and no rows; it needs one an example.")
    columns = {position: survey.column() for position, survey in surveys.items()}
    return Findings(columns, class_order(output_names), num_rows)


def _check_size(line: int, num_values: int) -> None:
    if num_values > MAX_VALUES:
        raise BadInput(
            "too_large",
            f"line {line}: more than {MAX_VALUES:,} values of all rows and inputs together",
            "Use fewer rows, or fewer columns by `features`.",
        )


def _check_label(line: int, column: str, text: str, seen: set[str]) -> None:
    if not text:
        raise BadInput(
            "empty_cell", f'line {line}, column "{column}": the cell is empty where a class is due'
        )
    check_word(line, column, text)
    if text not in seen and len(seen) == MAX_CLASSES:
        raise BadInput(
            "too_many_classes",
            f'line {line}, column "{column}": {shown(text)} is one class too many; a table may '
            f"have {MAX_CLASSES:,}",
            "Is this the column that names the class? A column of amounts cannot be classified.",
        )


def _values(
    table: Table, layout: Layout, findings: Findings, scratch: Path, tell: Tell
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return the inputs (N, F), memory-mapped, and the labels (N,)."""
    widths = [len(column.categories or [None]) for column in findings.columns.values()]
    _check_size(1, findings.num_rows * sum(widths))
    offsets = dict(zip(findings.columns, np.cumsum([0, *widths[:-1]]).tolist(), strict=True))
    places = {
        position: {word: place for place, word in enumerate(column.categories)}
        for position, column in findings.columns.items()
        if column.categories
    }
    classes = {name: number for number, name in enumerate(findings.output_names)}

    inputs = np.lib.format.open_memmap(
        inputs_file(scratch), "w+", np.float32, (findings.num_rows, sum(widths))
    )
    labels = np.empty(findings.num_rows, np.int64)
    rows = table.rows(len(layout.header), tell)
    start = 0
    while some := list(islice(rows, ROWS_AT_ONCE)):
        stop = start + len(some)
        labels[start:stop] = [classes[cells[layout.label]] for _, cells in some]
        for position, offset in offsets.items():
            texts = [cells[position] for _, cells in some]
            _fill(inputs[start:stop], offset, texts, places.get(position))
        start = stop
    return inputs, labels


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
