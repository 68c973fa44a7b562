"""What was found in a file, kept within bounds, as JSON for the process that asked."""

import time
from collections import Counter
from typing import Any

from app.members import Refused

MOST_ROWS = 10
MOST_COLUMNS = 50
MOST_CELL = 80
MOST_CLASSES = 100
MOST_PROBLEMS = 20
MOST_MESSAGE = 300
LOOKING_SECONDS = 4.0


class Broken(Refused):
    """There is no looking further; where it is, and what it is."""

    def __init__(
        self, code: str, message: str, *, line: int | None = None, member: str | None = None
    ) -> None:
        super().__init__(code, message, member=member)
        self.line = line


class Findings:
    """Collects what a look shows."""

    def __init__(self) -> None:
        self.kind = "unknown"
        self.is_whole = True
        self.num_rows: int | None = None
        self.num_columns: int | None = None
        self.num_problems = 0
        self.classes: Counter[str] | None = None
        self._columns: list[dict[str, str]] = []
        self._rows: list[list[str]] = []
        self._problems: list[dict[str, Any]] = []
        self._until = time.process_time() + LOOKING_SECONDS

    def is_late(self) -> bool:
        """Tell whether there was time enough for looking; what is left is then not looked at."""
        if time.process_time() > self._until:
            self.is_whole = False
        return not self.is_whole

    def column(self, name: str, kind: str) -> None:
        if len(self._columns) < MOST_COLUMNS:
            self._columns.append({"name": _cut(name, MOST_CELL), "kind": _cut(kind, MOST_CELL)})

    def row(self, cells: list[str]) -> None:
        if len(self._rows) < MOST_ROWS:
            self._rows.append([_cut(cell, MOST_CELL) for cell in cells[:MOST_COLUMNS]])

    def problem(
        self, code: str, message: str, *, line: int | None = None, member: str | None = None
    ) -> None:
        self.num_problems += 1
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(
                {
                    "code": code,
                    "message": _cut(message, MOST_MESSAGE),
                    "line": line,
                    "member": None if member is None else _cut(member, MOST_MESSAGE),
                }
            )

    def refused(self, error: Refused) -> None:
        line = error.line if isinstance(error, Broken) else None
        self.problem(error.code, str(error), line=line, member=error.member)

    def as_json(self) -> dict[str, Any]:
        classes = None if self.classes is None else self.classes.most_common(MOST_CLASSES)
        return {
            "kind": self.kind,
            "is_whole": self.is_whole,
            "num_rows": self.num_rows,
            "num_columns": self.num_columns,
            "columns": self._columns,
            "rows": self._rows,
            "num_classes": None if self.classes is None else len(self.classes),
            "classes": [
                {"name": _cut(name, MOST_CELL), "count": count} for name, count in classes or []
            ],
            "num_problems": self.num_problems,
            "problems": self._problems,
        }


def _cut(text: str, length: int) -> str:
    # What cannot be sent as UTF-8 is shown as its number.
    text = text[: length + 1].encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= length else f"{text[:length]}..."
