"""Whether a student can start from layers of its teacher: told from their architectures alone.

The engine copies in `worker/distillation/initialization.py`; each stack's layers are told apart
here by all that decides the shapes of their weights.
"""

import itertools
from collections.abc import Iterator, Sequence

from app.contracts.known_data import Shape, Size, num_inputs
from app.contracts.layers import residual_sizes
from app.contracts.model import (
    AnyArchitecture,
    Convnet,
    Mlp,
    RegisteredTeacher,
    TeacherInitialization,
    TrainedTeacher,
)
from app.errors import Problem
from app.services.facts import Facts
from app.services.scheme import source_of_student

Sizes = tuple[Size, Size]
"""What a layer takes and gives: units or channels."""

PLACE = "/student/initialize"


def check_initialization(facts: Facts) -> Iterator[Problem]:
    student, teacher = facts.spec.student, facts.spec.teacher
    if not isinstance(student.initialize, TeacherInitialization):
        return
    if not isinstance(teacher, TrainedTeacher | RegisteredTeacher):
        message = (
            f"given 'teacher', and the teacher's source is {teacher.source!r}; expected a single "
            "model that is trained or registered"
        )
        yield Problem(f"{PLACE}/from", "teacher_has_no_layers", message)
        return
    source = source_of_student(facts)
    if source is None:
        return
    if source.name != student.architecture.name:
        message = (
            f"given 'teacher', which is {source.name!r}, and the student is "
            f"{student.architecture.name!r}; expected the same family"
        )
        yield Problem(f"{PLACE}/from", "layers_do_not_fit", message)
        return
    fault = misfit(student.architecture, source, facts.input_shape, student.initialize)
    if fault is not None:
        yield Problem(f"{PLACE}/layers", "layers_do_not_fit", fault)


def misfit(
    student: AnyArchitecture, teacher: AnyArchitecture, inputs: Shape, start: TeacherInitialization
) -> str | None:
    """Say why a student cannot start from a teacher of its family; None where it can."""
    ours, theirs = _stacks(student, inputs), _stacks(teacher, inputs)
    faults = (_fault(stack, layers, theirs[stack], start) for stack, layers in ours.items())
    return next(filter(None, faults), None)


def _stacks(architecture: AnyArchitecture, inputs: Shape) -> dict[str, list[Sizes]]:
    """Return the stacks of like layers by their path, each layer by what it takes and gives."""
    if isinstance(architecture, Mlp):
        sizes = [num_inputs(inputs), *architecture.hidden_sizes]
        return {"hidden": list(itertools.pairwise(sizes))}
    if isinstance(architecture, Convnet):
        return {"stages": list(itertools.pairwise([inputs[0], *architecture.channels]))}
    widths, num_blocks = residual_sizes(architecture)
    return {
        f"stages.{number}": [(before, after), *[(after, after)] * (num_blocks - 1)]
        for number, (before, after) in enumerate(itertools.pairwise(widths))
    }


def _fault(
    stack: str, ours: Sequence[Sizes], theirs: Sequence[Sizes], start: TeacherInitialization
) -> str | None:
    chosen = _chosen(len(ours), len(theirs), start)
    if chosen is None:
        given = (
            f"{start.layers} for {stack!r}, of which the student has {len(ours)} layers and the "
            f"teacher {len(theirs)}"
        )
        if len(ours) > len(theirs):
            return f"given {given}; expected a student of at most as many"
        return f"given {given}; expected {len(ours)} numbers from 0 to {len(theirs) - 1}"
    for place, number in enumerate(chosen):
        if not _alike(ours[place], theirs[number]):
            return (
                f"student layer '{stack}.{place}' has the sizes {_shown(ours[place])} and teacher "
                f"layer '{stack}.{number}' {_shown(theirs[number])}; expected equal ones"
            )
    return None


def _chosen(size: int, available: int, start: TeacherInitialization) -> Sequence[int] | None:
    """Return which of the teacher's layers are taken; None where they are not there."""
    layers = start.layers
    if isinstance(layers, list):
        return layers if len(layers) == size and layers[-1] < available else None
    if size > available:
        return None
    if layers == "first" or size == 1:
        return range(size)
    return [round(place * (available - 1) / (size - 1)) for place in range(size)]


def _alike(ours: Sizes, theirs: Sizes) -> bool:
    return all(
        one is None or other is None or one == other
        for one, other in zip(ours, theirs, strict=True)
    )


def _shown(sizes: Sizes) -> str:
    return " to ".join("?" if size is None else str(size) for size in sizes)
