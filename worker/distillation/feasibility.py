"""Check, before anything is trained, that every training of a spec can begin.

Networks and losses are built as their trainings will build them, and let go; what layers give is
known of each architecture, so that no network is run.

Shapes: M = examples trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from app.contracts.job import JobSpec
from app.contracts.layers import Layers, layers_of
from app.contracts.model import (
    AnyArchitecture,
    Ensemble,
    KnowledgeTeacher,
    ModelInitialization,
    MutualTeacher,
    RegisteredTeacher,
    TeacherInitialization,
    TrainedTeacher,
)
from app.contracts.objective import AnyLoss
from app.contracts.response_losses import Labels
from app.contracts.training import Training
from worker.distillation.build import build, load_model, read_config
from worker.distillation.capture import gives_no_tensor, resolved, unknown_layer
from worker.distillation.dataset import Dataset
from worker.distillation.initialization import initialize_from_teacher
from worker.distillation.knowledge_store import StoredKnowledge
from worker.distillation.loss import Setting, Shapes
from worker.distillation.objective import build_objective, needs
from worker.distillation.predictor import Predictor
from worker.distillation.registered import initial_student, registered_folder
from worker.distillation.schemes import links
from worker.distillation.trainer import check_batches
from worker.distillation.workspace import Workspace


@dataclass(frozen=True)
class _Model:
    predictor: Predictor
    layers: Layers


@dataclass(frozen=True)
class _Course:
    """How a model is trained, and on what."""

    training: Training
    objective: Sequence[AnyLoss]
    ids_M: npt.NDArray[np.int64]


def check_trainings(spec: JobSpec, workspace: Workspace, dataset: Dataset) -> None:
    """Begin every training, and make no step of it.

    Raises:
        BadInput: as the training would, once all before it is done.
    """
    teacher, layers = _check_teachers(spec, workspace, dataset), _recorded_layers(spec, workspace)
    for link in links(spec):
        model = _new(link.architecture, dataset)
        course = _Course(link.training, link.objective, dataset.ids["train"])
        _check(model, course, teacher.layers if teacher else {}, dataset)
        teacher = model
    if teacher is not None:
        layers = teacher.layers
    ids_M = dataset.transfer_set(spec.transfer.omit_classes).ids["train"]
    course = _Course(spec.training, spec.objective, ids_M)
    _check(_student(spec, workspace, dataset, teacher), course, layers, dataset)
    if isinstance(spec.teacher, MutualTeacher):
        _check(_new(spec.teacher.architecture, dataset), course, layers, dataset)


def _check_teachers(spec: JobSpec, workspace: Workspace, dataset: Dataset) -> _Model | None:
    """Check each model that teaches; return the only one."""
    teacher = spec.teacher
    if isinstance(teacher, Ensemble):
        for member in teacher.members:
            _check_teacher(member.teacher, workspace, dataset)
    if isinstance(teacher, TrainedTeacher | RegisteredTeacher):
        return _check_teacher(teacher, workspace, dataset)
    return None


def _check_teacher(
    teacher: TrainedTeacher | RegisteredTeacher, workspace: Workspace, dataset: Dataset
) -> _Model:
    if isinstance(teacher, RegisteredTeacher):
        folder = registered_folder(teacher.model, workspace, dataset.description)
        return _Model(load_model(folder), _layers(read_config(folder).architecture, dataset))
    model = _new(teacher.architecture, dataset)
    _check(model, _Course(teacher.training, [Labels()], dataset.ids["train"]), {}, dataset)
    return model


def _recorded_layers(spec: JobSpec, workspace: Workspace) -> Layers:
    """Return the layers whose features are in the knowledge that the spec names."""
    named = spec.teacher.knowledge if isinstance(spec.teacher, KnowledgeTeacher) else None
    # Only where it matters: to open a record is to read it all.
    if named is None or not any(loss.pairs() for loss in spec.objective):
        return {}
    manifest = StoredKnowledge.open(workspace.input(named)).manifest
    return {path: tuple(shape) for path, shape in manifest.layers.items()}


def _student(
    spec: JobSpec, workspace: Workspace, dataset: Dataset, teacher: _Model | None
) -> _Model:
    start, seed = spec.student.initialize, spec.training.seed
    if isinstance(start, ModelInitialization):
        predictor, _ = initial_student(spec.student, workspace, dataset.description, seed)
        return _Model(predictor, _layers(spec.student.architecture, dataset))
    model = _new(spec.student.architecture, dataset)
    if isinstance(start, TeacherInitialization):
        assert teacher is not None  # noqa: S101 (refused by check_scheme)
        initialize_from_teacher(model.predictor, teacher.predictor, start.layers)
    return model


def _new(architecture: AnyArchitecture, dataset: Dataset) -> _Model:
    predictor = build(architecture, dataset.description, seed=0)
    return _Model(predictor, _layers(architecture, dataset))


def _layers(architecture: AnyArchitecture, dataset: Dataset) -> Layers:
    return layers_of(architecture, tuple(dataset.description.shape), dataset.num_outputs)


def _check(model: _Model, course: _Course, taught: Layers, dataset: Dataset) -> None:
    """Check a training by what are the layers of the model, and of what teaches it."""
    check_batches(model.predictor, course.training, course.objective, len(course.ids_M))
    objective = resolved(course.objective, list(model.layers), list(taught))
    needed = needs(objective)
    setting = Setting(
        student_shapes=_shapes(model.layers, needed.student_layers),
        teacher_shapes=_shapes(taught, needed.teacher_layers),
        task=dataset.description.task,
        num_outputs=dataset.num_outputs,
        train_ids_M=torch.tensor(np.sort(course.ids_M)),
        labels=torch.tensor(dataset.labels),
        seed=course.training.seed,
    )
    build_objective(objective, setting)


def _shapes(layers: Layers, paths: Sequence[str]) -> Shapes:
    for path in paths:
        if path not in layers:
            raise unknown_layer(path, list(layers))
        if layers[path] is None:
            raise gives_no_tensor(path, list(layers))
    # Of data that has been read, every size is known.
    return cast("Shapes", {path: layers[path] for path in paths})
