"""Who teaches whom in a job, step by step, and which layers each has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.contracts.layers import Layers
from app.contracts.model import AnyArchitecture, MutualTeacher, TrainedTeacher
from app.contracts.objective import AnyLoss
from app.contracts.references import teachers
from app.contracts.training import Training
from app.services.facts import Facts

NEEDS_IMAGES = {"convnet", "cifar_resnet"}
BATCH_NORM = {"convnet", "cifar_resnet"}
"""Architectures whose training depends on which examples share a batch."""

WITHOUT_LAYERS = {
    "ensemble": "an ensemble gives one mean answer, and no hidden layers of its own",
    "signals": "uploaded signals are answers, and no hidden layers are among them",
    "mutual": "a peer and the student compare answers alone",
}
"""Why a teacher has no layers to learn from, by its source."""


@dataclass(frozen=True)
class Lesson:
    """One model that learns from another by an objective."""

    pointer: str
    """To the objective."""
    objective: Sequence[AnyLoss]
    student: Layers
    teacher: Layers | None
    """None where it has no layers, or where they are not known."""
    why_no_layers: str | None = None


@dataclass(frozen=True)
class Apprenticeship:
    """One training, of models of these architectures, by this objective."""

    pointer: str
    training: Training
    architectures: Sequence[AnyArchitecture]
    objective: Sequence[AnyLoss] = ()


def lessons(facts: Facts) -> Iterator[Lesson]:
    """Give every lesson of a job, the assistants' first; generations learn as the student does."""
    spec = facts.spec
    teacher, why_no_layers = _teacher_layers(facts)
    for number, assistant in enumerate(spec.assistants):
        pointer = f"/assistants/{number}/objective" if assistant.objective else "/objective"
        layers = facts.layers(assistant.architecture)
        objective = assistant.objective or spec.objective
        yield Lesson(pointer, objective, layers, teacher, why_no_layers)
        teacher, why_no_layers = layers, None
    student = facts.layers(spec.student.architecture)
    yield Lesson("/objective", spec.objective, student, teacher, why_no_layers)
    if spec.generations > 1:
        yield Lesson("/objective", spec.objective, student, student)


def source_of_student(facts: Facts) -> AnyArchitecture | None:
    """Return the architecture that teaches the student; None where it is not known."""
    spec = facts.spec
    if spec.generations > 1:
        return spec.student.architecture
    if spec.assistants:
        return spec.assistants[-1].architecture
    return facts.teacher


def trainings(facts: Facts) -> Iterator[Apprenticeship]:
    """Give every training that a spec describes."""
    spec = facts.spec
    students = [spec.student.architecture]
    if isinstance(spec.teacher, MutualTeacher):
        students.append(spec.teacher.architecture)
    yield Apprenticeship("/training", spec.training, students, spec.objective)
    for pointer, teacher in teachers(spec).items():
        if isinstance(teacher, TrainedTeacher):
            yield Apprenticeship(f"{pointer}/training", teacher.training, [teacher.architecture])
    for number, assistant in enumerate(spec.assistants):
        yield Apprenticeship(
            f"/assistants/{number}/training",
            assistant.training,
            [assistant.architecture],
            assistant.objective or spec.objective,
        )


def architectures(facts: Facts) -> Iterator[tuple[str, AnyArchitecture]]:
    """Give every architecture that a spec describes, with the pointer to what has it."""
    spec = facts.spec
    yield "/student", spec.student.architecture
    for pointer, teacher in teachers(spec).items():
        if isinstance(teacher, TrainedTeacher):
            yield pointer, teacher.architecture
    if isinstance(spec.teacher, MutualTeacher):
        yield "/teacher", spec.teacher.architecture
    for number, assistant in enumerate(spec.assistants):
        yield f"/assistants/{number}", assistant.architecture


def _teacher_layers(facts: Facts) -> tuple[Layers | None, str | None]:
    """Return the layers of the job's teacher, or why it has none; neither where it is unknown."""
    layers: Layers | None = None
    if facts.knowledge is not None:
        layers = {path: tuple(size) for path, size in facts.knowledge.layers.items()} or None
        return layers, (None if layers else "with this knowledge no layers were collected")
    if facts.teacher is not None:
        layers = facts.layers(facts.teacher)
    return layers, WITHOUT_LAYERS.get(facts.spec.teacher.source)
