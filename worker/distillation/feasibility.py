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
from worker.distillation.knowledge_store import read_manifest
from worker.distillation.loss import Setting, Shapes
from worker.distillation.objective import build_objective, needs
from worker.distillation.predictor import Predictor
from worker.distillation.registered import initial_student, registered_folder
from worker.distillation.reporting import Reporter
from worker.distillation.schemes import links
from worker.distillation.trainer import check_batches
from worker.distillation.workspace import Workspace


@dataclass(frozen=True)
class _Model:
    architecture: AnyArchitecture
    predictor: Predictor
    layers: Layers


@dataclass(frozen=True)
class _Course:
    """How a model is trained, and on what."""

    training: Training
    objective: Sequence[AnyLoss]
    ids_M: npt.NDArray[np.int64]


def check_trainings(
    spec: JobSpec, workspace: Workspace, dataset: Dataset, reporter: Reporter
) -> None:
    """Begin every training, and make no step of it.

    Raises:
        BadInput: as the training would, once all before it is done.
    """
    checks = _Checks(dataset, reporter)
    teacher = _check_teachers(spec, workspace, dataset, checks)
    layers = _recorded_layers(spec, workspace)
    for link in links(spec):
        model = teacher
        if model is None or model.architecture != link.architecture:
            model = _new(link.architecture, dataset)
        course = _Course(link.training, link.objective, dataset.ids["train"])
        checks.check(model, course, teacher.layers if teacher else {})
        teacher = model
    if teacher is not None:
        layers = teacher.layers
    ids_M = dataset.transfer_set(spec.transfer.omit_classes).ids["train"]
    course = _Course(spec.training, spec.objective, ids_M)
    checks.check(_student(spec, workspace, dataset, teacher), course, layers)
    if isinstance(spec.teacher, MutualTeacher):
        checks.check(_new(spec.teacher.architecture, dataset), course, layers)


class _Checks:
    """Checks each distinct training once: generations differ in their seeds alone."""

    def __init__(self, dataset: Dataset, reporter: Reporter) -> None:
        self._dataset, self._reporter = dataset, reporter
        self._done: list[tuple[object, ...]] = []

    def check(self, model: _Model, course: _Course, taught: Layers) -> None:
        """Check a training by what are the layers of the model, and of what teaches it."""
        unseeded = course.training.model_copy(update={"seed": 0})
        # All examples, or all but those of some classes: as many are the same ones.
        num_examples = len(course.ids_M)
        training = (model.architecture, unseeded, list(course.objective), taught, num_examples)
        if training not in self._done:
            self._reporter.alive()
            _check(model, course, taught, self._dataset)
            self._done.append(training)


def _check_teachers(
    spec: JobSpec, workspace: Workspace, dataset: Dataset, checks: _Checks
) -> _Model | None:
    """Check each model that teaches; return the only one."""
    teacher = spec.teacher
    if isinstance(teacher, Ensemble):
        for member in teacher.members:
            _check_teacher(member.teacher, workspace, dataset, checks)
    if isinstance(teacher, TrainedTeacher | RegisteredTeacher):
        return _check_teacher(teacher, workspace, dataset, checks)
    return None


def _check_teacher(
    teacher: TrainedTeacher | RegisteredTeacher,
    workspace: Workspace,
    dataset: Dataset,
    checks: _Checks,
) -> _Model:
    if isinstance(teacher, RegisteredTeacher):
        folder = registered_folder(teacher.model, workspace, dataset.description)
        architecture = read_config(folder).architecture
        return _Model(architecture, load_model(folder), _layers(architecture, dataset))
    model = _new(teacher.architecture, dataset)
    checks.check(model, _Course(teacher.training, [Labels()], dataset.ids["train"]), {})
    return model


def _recorded_layers(spec: JobSpec, workspace: Workspace) -> Layers:
    """Return the layers whose features are in the knowledge that the spec names."""
    named = spec.teacher.knowledge if isinstance(spec.teacher, KnowledgeTeacher) else None
    if named is None or not any(loss.pairs() for loss in spec.objective):
        return {}
    # Whether it is whole, which takes long to see, is seen where it is taken over.
    manifest = read_manifest(workspace.input(named))
    return {path: tuple(shape) for path, shape in manifest.layers.items()}


def _student(
    spec: JobSpec, workspace: Workspace, dataset: Dataset, teacher: _Model | None
) -> _Model:
    start, seed = spec.student.initialize, spec.training.seed
    if isinstance(start, ModelInitialization):
        predictor, _ = initial_student(spec.student, workspace, dataset.description, seed)
        architecture = spec.student.architecture
        return _Model(architecture, predictor, _layers(architecture, dataset))
    model = _new(spec.student.architecture, dataset)
    if isinstance(start, TeacherInitialization):
        assert teacher is not None  # noqa: S101 (refused by check_scheme)
        initialize_from_teacher(model.predictor, teacher.predictor, start.layers)
    return model


def _new(architecture: AnyArchitecture, dataset: Dataset) -> _Model:
    predictor = build(architecture, dataset.description, seed=0)
    return _Model(architecture, predictor, _layers(architecture, dataset))


def _layers(architecture: AnyArchitecture, dataset: Dataset) -> Layers:
    return layers_of(architecture, tuple(dataset.description.shape), dataset.num_outputs)


def _check(model: _Model, course: _Course, taught: Layers, dataset: Dataset) -> None:
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
