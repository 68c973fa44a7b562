"""What a column of a table is, numbers or words, learnt by seeing all of its cells."""

from dataclasses import dataclass, field
from functools import cached_property

from app.cells import number_of
from app.contracts.data_limits import LARGEST, MAX_CATEGORIES, MAX_WORD_LENGTH
from worker.distillation.dataset import Column, class_order
from worker.distillation.errors import BadInput, nearest, shown


@dataclass(frozen=True)
class Cell:
    """Where a value stands and what it is."""

    line: int
    text: str


@dataclass
class ColumnSurvey:
    """One column's cells so far: counts, the first of each kind, and the different texts."""

    name: str
    num_numbers: int = 0
    num_words: int = 0
    first_word: Cell | None = None
    first_empty: Cell | None = None
    first_infinite: Cell | None = None
    first_uncounted: Cell | None = None
    texts: set[str] = field(default_factory=set)

    def see(self, line: int, text: str) -> None:
        number = number_of(text)
        if not text:
            self.first_empty = self.first_empty or Cell(line, text)
        elif number is None:
            self.num_words += 1
            self.first_word = self.first_word or Cell(line, text)
            check_word(line, self.name, text)
        elif abs(number) <= LARGEST:
            self.num_numbers += 1
        else:  # NaN too, which compares with nothing
            self.first_infinite = self.first_infinite or Cell(line, text)
        if len(self.texts) < MAX_CATEGORIES:
            self.texts.add(text)
        elif text not in self.texts:
            self.first_uncounted = self.first_uncounted or Cell(line, text)

    def column(self) -> Column:
        """Decide what the column is.

        It is words if any cell is neither a number nor empty; an empty cell is then a category of
        its own. But words among mostly numbers are taken for mistakes. Raises BadInput naming the
        line and the column.
        """
        if self.first_word is None:
            self._check_numbers()
            return Column(name=self.name)
        if self.num_numbers > self.num_words:
            raise self._error(
                "not_a_number",
                self.first_word,
                "is not a number, as most values of this column are",
                "Correct the value; or leave the column out with `features`; or, if these are "
                "names rather than amounts, put a letter before each.",
            )
        if self.first_uncounted is not None:
            raise self._error(
                "too_many_categories",
                self.first_uncounted,
                f"is one word too many: a column of words may have {MAX_CATEGORIES:,} "
                "different ones",
                "Leave the column out with `features`.",
            )
        return Column(name=self.name, categories=class_order(self.texts))

    def _check_numbers(self) -> None:
        if self.first_infinite is not None:
            raise self._error(
                "not_a_number", self.first_infinite, "is not a finite number of 32 bits"
            )
        if self.first_empty is not None:
            raise BadInput(
                "empty_cell",
                f'line {self.first_empty.line}, column "{self.name}": the cell is empty where a '
                "number is expected",
                "Fill it, remove the row, or leave the column out with `features`.",
            )

    def _error(self, code: str, cell: Cell, fault: str, hint: str | None = None) -> BadInput:
        return BadInput(
            code, f'line {cell.line}, column "{self.name}": {shown(cell.text)} {fault}', hint
        )


@dataclass(frozen=True)
class KnownColumn:
    """A column as the file to learn from has it, to which the cells of a further file keep."""

    known: Column

    def see(self, line: int, text: str) -> None:
        """Check a cell. Raises BadInput naming the line and the column."""
        if self.known.categories is None:
            self._check_number(line, text)
        elif text not in self._words:
            raise BadInput(
                "unknown_category",
                f'line {line}, column "{self.known.name}": {shown(text)} is not among the '
                f"{len(self._words):,} different values of this column in the file to learn from",
                f"{nearest(text, self.known.categories)} A model knows no others: correct it, or "
                "leave the column out with `features`.",
            )

    def column(self) -> Column:
        return self.known

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(self.known.categories or ())

    def _check_number(self, line: int, text: str) -> None:
        number = number_of(text)
        if number is None or not abs(number) <= LARGEST:  # NaN too
            raise BadInput(
                "not_a_number" if text else "empty_cell",
                f'line {line}, column "{self.known.name}": {shown(text)} is not a finite number of '
                "32 bits, as this column has in the file to learn from",
                "Correct it, remove the row, or leave the column out with `features`.",
            )


def check_word(line: int, column: str, text: str) -> None:
    """Refuse what is a text rather than the name of a category."""
    if len(text) > MAX_WORD_LENGTH:
        raise BadInput(
            "too_long",
            f'line {line}, column "{column}": {shown(text)} has {len(text):,} characters; the '
            f"name of a class or category may have {MAX_WORD_LENGTH}",
            "Leave the column out with `features`: free text is not a category.",
        )
