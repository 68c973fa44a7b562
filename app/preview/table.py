"""A table in CSV: its columns, its first rows, how many of each class, what is wrong where."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Protocol

from app.cells import number_of
from app.contracts.data_limits import (
    LARGEST,
    MAX_CATEGORIES,
    MAX_COLUMNS,
    MAX_LINE_CHARACTERS,
    MAX_WORD_LENGTH,
)
from app.members import Enough
from app.preview.findings import Broken, Findings

DELIMITERS = ",;\t|"
MOST_TEXTS = 200_000
"""Different ones that are remembered, of all columns together."""
FEWEST_CLASSES = 2


class Reader(Protocol):
    """What ``csv.reader`` makes."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...


@dataclass
class ColumnLook:
    """One column's cells so far."""

    name: str
    num_numbers: int = 0
    num_words: int = 0
    first_word: tuple[int, str] | None = None
    first_empty: int | None = None
    first_infinite: tuple[int, str] | None = None
    texts: set[str] = field(default_factory=set)

    @property
    def kind(self) -> str:
        if self.num_words:
            return "words"
        return "numbers" if self.num_numbers else "empty"

    def see(self, line: int, text: str) -> None:
        number = number_of(text)
        if not text:
            self.first_empty = self.first_empty or line
        elif number is None:
            self.num_words += 1
            self.first_word = self.first_word or (line, text)
        elif abs(number) <= LARGEST:
            self.num_numbers += 1
        else:  # NaN too, which compares with nothing
            self.first_infinite = self.first_infinite or (line, text)

    def problems(self) -> Iterator[Broken]:
        """Say why no job would take the column as it is."""
        if self.first_word is not None and self.num_numbers > self.num_words:
            yield self._at("not_a_number", *self.first_word, "is no number, as most of it are")
        elif self.first_word is None and self.first_infinite is not None:
            yield self._at("not_a_number", *self.first_infinite, "is no finite number of 32 bits")
        elif self.first_word is None and self.first_empty is not None:
            yield self._at("empty_cell", self.first_empty, "", "stands where a number is expected")
        elif self.first_word is not None and len(self.texts) > MAX_CATEGORIES:
            message = f"column {self.name!r} has more than {MAX_CATEGORIES} different words"
            yield Broken("too_many_categories", message)

    def _at(self, code: str, line: int, text: str, fault: str) -> Broken:
        return Broken(code, f"column {self.name[:40]!r}: {text[:40]!r} {fault}", line=line)


def look(file: IO[bytes], findings: Findings, label: str, delimiter: str | None) -> None:
    """Read as much of the table as there is time for."""
    findings.kind = "table"
    lines = _Lines(file)
    reader = csv.reader(lines, delimiter=delimiter or _guessed(file), strict=True)
    rows = _rows(reader)
    try:
        header = _header(next(rows, None))
    except csv.Error as error:
        raise Broken("broken_csv", str(error), line=reader.line_num) from None
    findings.num_columns, findings.num_rows = len(header), 0
    columns = [ColumnLook(name) for name in header]
    place = header.index(label) if label in header else None
    findings.classes = None if place is None else Counter()
    try:
        _read(rows, columns, place, findings)
    except csv.Error as error:
        raise Broken("broken_csv", str(error), line=reader.line_num) from None
    finally:
        _conclude(columns, place, findings)


class _Lines:
    """Lines of text, each of bounded length, with the number of the last one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_LINE_CHARACTERS + 1)
        self._number += 1
        if not line:
            raise StopIteration
        if len(line) > MAX_LINE_CHARACTERS:
            if not line.isascii():
                # It has fewer characters than bytes, and may be short enough.
                raise Enough
            message = f"the line has more than {MAX_LINE_CHARACTERS} characters"
            raise Broken("line_too_long", message, line=self._number)
        if b"\0" in line:
            raise Broken("not_text", "the line holds a zero byte", line=self._number)
        try:
            return line.decode("utf-8-sig" if self._number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            message = f"the line is not text in UTF-8 ({error.reason})"
            raise Broken("not_utf8", message, line=self._number) from None


def _guessed(file: IO[bytes]) -> str:
    start = file.readline(MAX_LINE_CHARACTERS).decode("utf-8", "replace")
    file.seek(0)
    return max(DELIMITERS, key=start.count)


def _rows(reader: Reader) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its first line, cells) of each row that is not empty."""
    line = 1
    for cells in reader:
        if cells:
            yield line, [cell.strip() for cell in cells]
        line = reader.line_num + 1


def _header(row: tuple[int, list[str]] | None) -> list[str]:
    if row is None:
        raise Broken("empty_file", "the file has no header")
    line, names = row
    if len(names) > MAX_COLUMNS:
        message = f"{len(names)} columns; at most {MAX_COLUMNS} are read"
        raise Broken("too_many_columns", message, line=line)
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if not name:
            raise Broken("unnamed_column", f"column {number} has no name", line=line)
        if name in seen:
            raise Broken("duplicate_column", f"two columns are named {name!r}", line=line)
        seen.add(name)
    return names


def _read(
    rows: Iterator[tuple[int, list[str]]],
    columns: list[ColumnLook],
    place: int | None,
    findings: Findings,
) -> None:
    num_texts, num_rows = 0, 0
    for line, cells in rows:
        if findings.is_late():
            return
        if len(cells) != len(columns):
            message = f"{len(cells)} values, where the header names {len(columns)} columns"
            findings.problem("ragged_row", message, line=line)
            continue
        num_rows += 1
        findings.num_rows = num_rows
        findings.row(cells)
        if place is not None and findings.classes is not None:
            _count(cells[place], line, findings.classes, findings)
        for column, text in zip(columns, cells, strict=True):
            column.see(line, text)
            if num_texts < MOST_TEXTS and len(column.texts) <= MAX_CATEGORIES:
                num_texts += text not in column.texts
                column.texts.add(text)
            if len(text) > MAX_WORD_LENGTH and number_of(text) is None:
                message = f"column {column.name[:40]!r}: {text[:40]!r} has {len(text)} characters"
                findings.problem("too_long", message, line=line)


def _count(name: str, line: int, classes: Counter[str], findings: Findings) -> None:
    if not name:
        findings.problem("empty_cell", "the label is empty", line=line)
    elif len(classes) <= MOST_TEXTS or name in classes:
        classes[name[: MAX_WORD_LENGTH + 1]] += 1


def _conclude(columns: list[ColumnLook], place: int | None, findings: Findings) -> None:
    for number, column in enumerate(columns):
        findings.column(column.name, column.kind)
        if number != place:
            for problem in column.problems():
                findings.refused(problem)
    if findings.num_rows == 0 and findings.is_whole:
        findings.problem("empty_file", "the file has a header and no whole row")
    if len(columns) == (place is not None):
        findings.problem("no_features", "the table has no column besides the label", line=1)
    classes = findings.classes
    if classes is not None and findings.is_whole and len(classes) < FEWEST_CLASSES:
        findings.problem("one_class", f"the label has {len(classes)} classes; expected 2 or more")
