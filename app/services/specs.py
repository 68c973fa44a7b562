"""What is wrong or surprising in a spec beyond its form, told without the engine."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.dataset import AnyDataset, Builtin, Csv
from app.contracts.job import JobSpec
from app.contracts.model import ModelInitialization, RegisteredTeacher, TrainedTeacher
from app.contracts.response_losses import Labels
from app.contracts.training import OneCycle, Step, Training
from app.db.models import File, JobFile, Model
from app.errors import InvalidPayload, Problem
from app.services.files import GZIP, TAR, TEXT, ZIP
from app.services.ownership import owned

TABLES = {"breast_cancer", "wine"}
NEEDS_IMAGES = {"convnet", "cifar_resnet"}
FILE_KINDS = {"csv": {TEXT}, "image_archive": {ZIP, TAR, GZIP}}
"""What the bytes of a file may be, for each format."""


def check(session: Session, project_id: str, spec: JobSpec) -> list[str]:
    """Return what works and may surprise.

    Raises:
        InvalidPayload: With all that cannot work.
    """
    problems = [
        *_dataset(session, project_id, spec.dataset),
        *_objective(spec),
        *_exports(spec),
        *_models(session, project_id, spec),
    ]
    for pointer, training in _trainings(spec):
        problems += _training(pointer, training)
    if _is_table(spec.dataset):
        problems += _images_only(spec)
    if problems:
        raise InvalidPayload(problems)
    return list(_surprises(spec))


def _is_table(dataset: AnyDataset) -> bool:
    if isinstance(dataset, Builtin):
        return dataset.name in TABLES
    return isinstance(dataset.format, Csv)


def _trainings(spec: JobSpec) -> list[tuple[str, Training]]:
    trainings = [("/training", spec.training)]
    if isinstance(spec.teacher, TrainedTeacher):
        trainings.append(("/teacher/training", spec.teacher.training))
    return trainings


def _dataset(session: Session, project_id: str, dataset: AnyDataset) -> Iterator[Problem]:
    if isinstance(dataset, Builtin):
        return
    file = session.scalar(owned(File, project_id).where(File.id == dataset.file))
    if file is None:
        message = f"given {dataset.file!r}; expected the id of a file that this project has"
        yield Problem("/dataset/file", "unknown_file", message)
    elif file.media_type not in FILE_KINDS[dataset.format.name]:
        expected = " or ".join(sorted(FILE_KINDS[dataset.format.name]))
        message = f"given a file that is {file.media_type}; {dataset.format.name} needs {expected}"
        yield Problem("/dataset/file", "wrong_kind_of_file", message)
    if isinstance(dataset.format, Csv):
        yield from _columns(dataset.format)


def _columns(table: Csv) -> Iterator[Problem]:
    features = table.features or []
    for number, name in enumerate(features):
        pointer = f"/dataset/format/features/{number}"
        if name == table.label:
            message = f"given {name!r}, which is the label; a model would only copy it"
            yield Problem(pointer, "label_as_feature", message)
        elif name in features[:number]:
            yield Problem(pointer, "duplicate", f"given {name!r} a second time; expected it once")


def _objective(spec: JobSpec) -> Iterator[Problem]:
    if all(loss.weight == 0 for loss in spec.objective):
        message = "every loss has weight 0, so nothing would be learned; expected one above 0"
        yield Problem("/objective", "no_weight", message)


def _exports(spec: JobSpec) -> Iterator[Problem]:
    for number, name in enumerate(spec.export):
        if name in spec.export[:number]:
            message = f"given {name!r} a second time; expected each format once"
            yield Problem(f"/export/{number}", "duplicate", message)


def _training(pointer: str, training: Training) -> Iterator[Problem]:
    schedule = training.schedule
    if isinstance(schedule, Step):
        milestones = schedule.milestones
        if milestones != sorted(set(milestones)):
            message = f"given {milestones}; expected each milestone later than the one before"
            yield Problem(f"{pointer}/schedule/milestones", "not_ascending", message)
    if not isinstance(schedule, OneCycle) and schedule.warmup_epochs > training.epochs:
        message = (
            f"given {schedule.warmup_epochs:g}; expected at most the {training.epochs} epochs "
            "of the training"
        )
        yield Problem(f"{pointer}/schedule/warmup_epochs", "longer_than_training", message)


def _images_only(spec: JobSpec) -> Iterator[Problem]:
    architectures = [("/student", spec.student.architecture)]
    if isinstance(spec.teacher, TrainedTeacher):
        architectures.append(("/teacher", spec.teacher.architecture))
    for holder, architecture in architectures:
        if architecture.name in NEEDS_IMAGES:
            message = f"given {architecture.name!r}, which needs images; a table needs 'mlp'"
            yield Problem(f"{holder}/architecture/name", "needs_images", message)
    for pointer, training in _trainings(spec):
        if training.augmentation:
            message = "augmentations change images; expected none for a table"
            yield Problem(f"{pointer}/augmentation", "needs_images", message)


def _models(session: Session, project_id: str, spec: JobSpec) -> Iterator[Problem]:
    if isinstance(spec.teacher, RegisteredTeacher):
        teacher = _usable(session, project_id, spec.teacher.model)
        if isinstance(teacher, Problem):
            yield Problem("/teacher/model", teacher.code, teacher.message)
        elif _is_table(spec.dataset) and teacher.architecture["name"] in NEEDS_IMAGES:
            message = f"given a {teacher.architecture['name']!r}, which needs images, not a table"
            yield Problem("/teacher/model", "needs_images", message)
    if isinstance(spec.student.initialize, ModelInitialization):
        start = _usable(session, project_id, spec.student.initialize.model)
        wanted = spec.student.architecture.model_dump(mode="json")
        if isinstance(start, Problem):
            yield Problem("/student/initialize/model", start.code, start.message)
        elif start.architecture != wanted:
            message = f"given a model of {start.architecture}; the student's is {wanted}"
            yield Problem("/student/initialize/model", "other_architecture", message)


def _usable(session: Session, project_id: str, model_id: str) -> Model | Problem:
    """Read a model that a job can start from, or say why there is none."""
    model = session.scalar(owned(Model, project_id).where(Model.id == model_id))
    if model is None:
        message = f"given {model_id!r}; expected the id of a model that this project has"
        return Problem("", "unknown_model", message)
    weights = f"{model.folder}/model.safetensors"
    stored = select(JobFile).where(JobFile.job_id == model.job_id, JobFile.path == weights)
    if session.scalar(stored) is None:
        message = (
            f"given {model_id!r}, which was not exported as safetensors; expected one that was"
        )
        return Problem("", "not_exported", message)
    return model


def _surprises(spec: JobSpec) -> Iterator[str]:
    if all(isinstance(loss, Labels) or loss.weight == 0 for loss in spec.objective):
        yield "The objective never looks at the teacher: this is plain training, not distillation."
    for number, loss in enumerate(spec.objective):
        if loss.weight == 0:
            yield f"/objective/{number}: {loss.loss} has weight 0 and changes nothing."
    for pointer, training in _trainings(spec):
        schedule = training.schedule
        if isinstance(schedule, Step) and schedule.milestones[-1] >= training.epochs:
            yield (
                f"{pointer}/schedule/milestones: {schedule.milestones[-1]} is not before the end "
                f"of the {training.epochs} epochs, so that drop never comes."
            )
    if "safetensors" not in spec.export:
        yield "/export: without safetensors no later job can start from these models."
