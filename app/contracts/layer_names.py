"""What a layer's name in a spec means: a module path, or a glob over module paths."""

import difflib
import re
from collections.abc import Sequence
from typing import Literal

from app.contracts.loss import LayerPair

MOST_NEAREST = 3
MOST_PAIRS = 64

Side = Literal["student", "teacher"]


class LayerNameError(ValueError):
    """A name that matches no layer, or globs that match unequally many; ``side`` is at fault."""

    def __init__(self, side: Side, message: str, hint: str) -> None:
        super().__init__(message)
        self.side = side
        self.hint = hint


def expanded(
    pair: LayerPair, student_names: Sequence[str], teacher_names: Sequence[str]
) -> list[LayerPair]:
    """Return the pairs of single layers that a pair of names or globs means.

    The names of a network's layers come in its own order.

    Raises:
        LayerNameError: A side matches nothing, or the sides match unequally many or too many.
    """
    students = matching(pair.student, student_names, "student")
    teachers = matching(pair.teacher, teacher_names, "teacher")
    if len(students) != len(teachers) or len(students) > MOST_PAIRS:
        raise LayerNameError(
            "student",
            f"{pair.student!r} matches {len(students)} layers of the student and {pair.teacher!r} "
            f"{len(teachers)} of the teacher; expected as many on both sides, at most {MOST_PAIRS}",
            "write out the pairs, or narrow a glob: `*` matches within one part of a path",
        )
    return [
        LayerPair(student=student, teacher=teacher)
        for student, teacher in zip(students, teachers, strict=True)
    ]


def matching(path: str, names: Sequence[str], side: Side) -> list[str]:
    """Return the layers that a path or glob names: `*` and `?` match within a part of a path.

    Raises:
        LayerNameError: None; the hint has the nearest names.
    """
    pattern = re.escape(path).replace(r"\*", "[^.]*").replace(r"\?", "[^.]")
    found = [name for name in names if re.fullmatch(pattern, name)]
    if not found:
        nearest = difflib.get_close_matches(path, names, n=MOST_NEAREST, cutoff=0.0)
        raise LayerNameError(
            side,
            f"the {side} has no layer {path!r}",
            f"the nearest names are {', '.join(nearest)}",
        )
    return found
