"""Who teaches whom: the chain from the teacher over assistants and generations to the student."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from app.contracts.job import JobSpec, Phase
from app.contracts.model import (
    AnyArchitecture,
    KnowledgeTeacher,
    MutualTeacher,
    RegisteredTeacher,
    SignalsTeacher,
    TeacherInitialization,
    TrainedTeacher,
)
from app.contracts.objective import AnyLoss
from app.contracts.training import Training
from worker.distillation.build import build
from worker.distillation.capture import layer_names, resolved
from worker.distillation.checkpoint import Checkpoints, Mark
from worker.distillation.collection import Collection
from worker.distillation.dataset import Dataset
from worker.distillation.device import choose_device
from worker.distillation.errors import BadInput
from worker.distillation.few_classes import tell_of_few
from worker.distillation.knowledge import TeacherIdentity, collect, planned
from worker.distillation.objective import needs
from worker.distillation.reporting import Reporter
from worker.distillation.teachers import identity, load_teacher_folder
from worker.distillation.teaching import LiveTeaching, RecordedTeaching, Teaching
from worker.distillation.trainer import EXAMPLES_TO_LEARN_SHAPES
from worker.distillation.workspace import Workspace


@dataclass(frozen=True)
class Link:
    """One model of the chain between teacher and student."""

    role: str
    architecture: AnyArchitecture
    training: Training
    objective: Sequence[AnyLoss]


@dataclass(frozen=True)
class Lesson:
    """What a student is to learn, from the teacher in a folder."""

    role: str
    objective: Sequence[AnyLoss]
    training: Training
    teacher: Path
    student: AnyArchitecture


def links(spec: JobSpec) -> list[Link]:
    """Return the assistants, then the generations before the last; empty for most jobs.

    Mirzadeh et al., 2020, "Improved Knowledge Distillation via Teacher Assistant",
    https://arxiv.org/abs/1902.03393, section 3; Furlanello et al., 2018, "Born-Again Neural
    Networks", https://arxiv.org/abs/1805.04770, section 3: each generation starts anew, from a
    seed of its own.
    """
    assistants = [
        Link(
            f"assistant_{number}",
            each.architecture,
            each.training,
            each.objective or spec.objective,
        )
        for number, each in enumerate(spec.assistants, start=1)
    ]
    generations = [
        Link(
            f"generation_{number}",
            spec.student.architecture,
            spec.training.model_copy(update={"seed": (spec.training.seed + number) % 2**63}),
            spec.objective,
        )
        for number in range(1, spec.generations)
    ]
    return assistants + generations


def check_scheme(spec: JobSpec) -> None:
    """Refuse what does not go together, whatever the data.

    Raises:
        BadInput: naming the part of the spec.
    """
    source = spec.teacher.source
    answers_only = not isinstance(spec.teacher, TrainedTeacher | RegisteredTeacher)
    if isinstance(spec.teacher, MutualTeacher | KnowledgeTeacher | SignalsTeacher) and links(spec):
        raise BadInput(
            "no_teacher_for_assistants",
            f"`teacher.source` is {source}; assistants and generations learn from a model that "
            "runs",
            hint="use a trained or registered teacher or an ensemble",
        )
    if isinstance(spec.teacher, MutualTeacher) and spec.training.micro_batch_size is not None:
        raise BadInput(
            "micro_batches_with_peer",
            f"`training.micro_batch_size` is {spec.training.micro_batch_size}, and the teacher is "
            "a peer: in each step both answer to the whole batch before either learns from it",
            hint="leave micro_batch_size out",
        )
    if isinstance(spec.teacher, SignalsTeacher) and spec.training.augmentation:
        raise BadInput(
            "signals_of_other_views",
            "`training.augmentation` is given, and uploaded signals are of the examples as they "
            "are; a recorded answer belongs to the very view that the student sees",
            hint="leave training.augmentation empty",
        )
    taught = links(spec)[0].objective if links(spec) else spec.objective
    has_features = any(loss.pairs() for loss in taught)
    if answers_only and not isinstance(spec.teacher, KnowledgeTeacher) and has_features:
        raise BadInput(
            "teacher_has_no_layers",
            f"`teacher.source` is {source}, which gives answers and no hidden layers; the "
            "objective of what it teaches has losses of layers",
            hint="use losses of answers alone, or a single trained or registered teacher",
        )
    if answers_only and isinstance(spec.student.initialize, TeacherInitialization):
        raise BadInput(
            "teacher_has_no_layers",
            f"`student.initialize` is from the teacher, and `teacher.source` is {source}",
            hint="use a single trained or registered teacher",
        )


def planned_lesson(
    lesson: Lesson, spec: JobSpec, dataset: Dataset, device: torch.device
) -> tuple[list[AnyLoss], LiveTeaching, Collection]:
    """Return the objective without globs, its live teacher, and what a record would hold.

    Raises:
        BadInput: a layer is not there.
    """
    teacher = load_teacher_folder(lesson.teacher, dataset.description, device)
    student = build(lesson.student, dataset.description, seed=0)
    objective = resolved(
        lesson.objective, layer_names(student.network), layer_names(teacher.network)
    )
    layers = needs(objective).teacher_layers
    live = LiveTeaching(teacher, lesson.training.precision, layers)
    some = np.array(dataset.inputs[dataset.ids["train"][:EXAMPLES_TO_LEARN_SHAPES]])
    inputs = torch.from_numpy(some).to(device).float()
    manifest = planned(
        spec.knowledge,
        lesson.training,
        objective,
        dataset,
        TeacherIdentity(*identity(lesson.teacher)),
        live.shapes(inputs),
    )
    return objective, live, Collection(manifest, lesson.training, dataset, device)


@contextmanager
def taught(
    lesson: Lesson, spec: JobSpec, dataset: Dataset, workspace: Workspace, reporter: Reporter
) -> Iterator[tuple[list[AnyLoss], Teaching | None]]:
    """Give a link's objective and its teaching, recorded where that fits the spec's budget.

    The record stays, as `<role>_knowledge`, for a run that goes on with this link.
    """
    if not needs(lesson.objective).teacher:
        yield list(lesson.objective), None
        return
    device = choose_device(spec.resources)
    objective, live, collection = planned_lesson(lesson, spec, dataset, device)
    if collection.manifest.bytes > spec.knowledge.max_bytes:
        yield objective, live
        return
    tell_of_few(collection.manifest, objective, reporter)
    name = f"{lesson.role}_knowledge"
    if not workspace.is_finished(name):
        checkpoints = Checkpoints(spec, workspace, reporter)
        with workspace.writing(name, resuming=True) as folder:
            start = Mark(Phase.TRAINING_ASSISTANTS, name, 0)
            collect(collection, live, folder, reporter, checkpoints, start)
    yield objective, RecordedTeaching(workspace.stage(name), dataset, device)
