"""The rows of a CSV file, streamed, each as wide as the header."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.contracts.data_limits import MAX_COLUMNS, MAX_LINE_CHARACTERS
from worker.distillation.dataset import Tell
from worker.distillation.errors import BadInput

TELL_EVERY_ROWS = 1000


@dataclass(frozen=True)
class Table:
    """A CSV file in UTF-8, with or without a byte order mark."""

    path: Path
    delimiter: str

    def header(self) -> list[str]:
        """Return the names of the columns, without spaces around them; each is there once."""
        for line, cells in self._lines():
            names = [cell.strip() for cell in cells]
            _check_header(line, names)
            return names
        raise BadInput(
            "empty_file", "The file is empty; it should have a header and a row an example."
        )

    def rows(self, width: int, tell: Tell) -> Iterator[tuple[int, list[str]]]:
        """Yield (line number, cells without spaces around them), leaving out empty lines.

        Raises BadInput naming the line where a row has not ``width`` cells.
        """
        lines = self._lines(tell)
        next(lines)
        for line, cells in lines:
            if len(cells) != width:
                raise BadInput(
                    "ragged_row",
                    f"line {line}: {len(cells)} values, where the header names {width} columns",
                    "A value that contains the delimiter must stand in double quotes.",
                )
            yield line, [cell.strip() for cell in cells]

    def _lines(self, tell: Tell | None = None) -> Iterator[tuple[int, list[str]]]:
        """Yield (number of its first line, cells) of each row that is not empty."""
        size = self.path.stat().st_size
        line = 1
        with self.path.open("rb") as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            reader = csv.reader(_bounded(text), delimiter=self.delimiter, strict=True)
            try:
                for number, cells in enumerate(reader):
                    if cells:
                        _check_text(line, cells)
                        yield line, cells
                    line = reader.line_num + 1
                    if tell is not None and number % TELL_EVERY_ROWS == 0:
                        tell(file.tell(), size)
            except UnicodeDecodeError as error:
                raise BadInput(
                    "not_utf8",
                    f"line {line} or soon after: the file is not text in UTF-8 ({error.reason})",
                    "Save the table as CSV in UTF-8.",
                ) from error
            except csv.Error as error:
                raise BadInput(
                    "broken_csv",
                    f"line {line}: {error}",
                    "Check its double quotes; one inside a quoted value is written twice.",
                ) from error


def _bounded(text: io.TextIOWrapper) -> Iterator[str]:
    """Yield lines; one that does not end would else fill the memory."""
    number = 0
    while line := text.readline(MAX_LINE_CHARACTERS + 1):
        number += 1
        if len(line) > MAX_LINE_CHARACTERS:
            raise BadInput(
                "line_too_long",
                f"line {number}: more than {MAX_LINE_CHARACTERS:,} characters",
                "A row an example: is this a table?",
            )
        yield line


def _check_header(line: int, names: list[str]) -> None:
    if len(names) > MAX_COLUMNS:
        raise BadInput(
            "too_many_columns",
            f"line {line}: {len(names):,} columns; at most {MAX_COLUMNS:,} are read",
        )
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise BadInput("unnamed_column", f"line {line}: column {number} has no name")
        if name in first:
            raise BadInput(
                "duplicate_column",
                f'line {line}: columns {first[name]} and {number} are both named "{name}"',
                "Rename one of them.",
            )
        first[name] = number


def _check_text(line: int, cells: list[str]) -> None:
    if any("\0" in cell for cell in cells):
        raise BadInput(
            "not_text", f"line {line}: the file holds a zero byte, so it is not a text table"
        )
