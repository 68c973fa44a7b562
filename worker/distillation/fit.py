"""Check that what a spec asks for can be done with the kind of data it names."""

import difflib
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from app.contracts.job import JobSpec
from app.contracts.model import (
    AnyArchitecture,
    AnyTeacher,
    Ensemble,
    MutualTeacher,
    TrainedTeacher,
)
from app.contracts.objective import AnyLoss
from app.contracts.response_losses import Labels
from app.contracts.training import ShiftCrop, Training
from worker.distillation.dataset import Part, RawData
from worker.distillation.errors import BadInput
from worker.distillation.objective import check_loss

SMALLEST_SIDE = 4
_FOR_TABLES = ("mlp",)


def check_fit(spec: JobSpec, shape: list[int]) -> None:
    """Refuse a spec that does not fit inputs of ``shape``: [C, H, W] of images, [F] of a table.

    Raises BadInput naming the part of the spec.
    """
    is_table = len(shape) == 1
    if not is_table and min(shape[1:]) < SMALLEST_SIDE:
        raise BadInput(
            "image_too_small",
            f"The images are {shape[2]} x {shape[1]} pixels; at least {SMALLEST_SIDE} x "
            f"{SMALLEST_SIDE} are expected",
            "Give a larger `size`.",
        )
    for place, architecture in _architectures(spec):
        if is_table and architecture.name not in _FOR_TABLES:
            raise BadInput(
                "architecture_needs_images",
                f"`{place}` is {architecture.name}, which takes images; the data is a table",
                "Use mlp.",
            )
    for place, training in _trainings(spec):
        if is_table and training.augmentation:
            raise BadInput(
                "augmentation_needs_images",
                f"`{place}.augmentation` asks for {training.augmentation[0].name}, which changes "
                "images; the data is a table",
                "Leave `augmentation` empty.",
            )
        if not is_table:
            _check_shifts(place, training, min(shape[1:]))


def check_task(spec: JobSpec, data: RawData) -> None:
    """Refuse what the spec asks of another kind of task than the data's.

    Raises BadInput naming the part of the spec.
    """
    for place, loss in _losses(spec):
        check_loss(loss, data.task, len(data.output_names))
        if data.task == "regression" and isinstance(loss, Labels) and loss.label_smoothing:
            raise BadInput(
                "smoothing_needs_classes",
                f"`{place}.label_smoothing` is {loss.label_smoothing:g}; the data is for "
                "regression, whose targets are no classes",
                "Leave it out, or use a huber distance.",
            )
    if (
        data.task == "regression"
        and isinstance(spec.teacher, Ensemble)
        and spec.teacher.mean == "probabilities"
    ):
        raise BadInput(
            "mean_needs_classes",
            "`teacher.mean` is probabilities; the data is for regression, whose predictions are "
            "none",
            "Use logits, which for regression is the mean of the predictions.",
        )
    _check_storage(spec, data)
    _check_transfer(spec, data)


def check_targets(data: RawData, train: npt.NDArray[np.int64]) -> None:
    """Refuse targets that do not vary, and labels that are all yes or all no, in the train part.

    Raises BadInput naming the column.
    """
    for name, values in zip(data.output_names, data.labels[train].T, strict=True):
        known = values[~np.isnan(values)]
        if len(known) == 0 or known.min() == known.max():
            given = f"is {known[0]:g} in every" if len(known) else "is not known in any"
            raise BadInput(
                "target_does_not_vary",
                f'"{name}" {given} train example; there is nothing to learn',
                "Leave it out of `targets`, or add examples that differ.",
            )


def check_held_out(data: RawData, ids: Mapping[Part, npt.NDArray[np.int64]]) -> None:
    """Refuse a held-out part of which no label is known: nothing could be measured on it.

    Raises BadInput naming the part.
    """
    held: tuple[Part, ...] = ("validation", "test")
    for part in held:
        held_out = data.labels[ids[part]]
        if len(held_out) and np.isnan(held_out).all():
            raise BadInput(
                "no_label_known",
                f"No label of the {len(held_out):,} {part} examples is known, so that nothing can "
                "be measured on them",
                f"Fill in their `targets`, or give another `dataset.{part}_file`.",
            )


def _check_storage(spec: JobSpec, data: RawData) -> None:
    if spec.knowledge.storage != "top_k":
        return
    if data.task != "classification":
        raise BadInput(
            "top_k_needs_classes",
            "`knowledge.storage` is top_k, which keeps the most probable of several classes; the "
            f"data is for {data.task}",
            "Use float16 or float32.",
        )
    for place, loss in _losses(spec):
        if loss.needs_dense_logits:
            raise BadInput(
                "storage_does_not_fit_loss",
                f"`knowledge.storage` is top_k, and `{place}` is {loss.loss}, which looks at each "
                "class; top_k keeps the most probable ones, rounded and without the level of "
                "their logits",
                "Use auto, float16 or float32.",
            )


def _check_transfer(spec: JobSpec, data: RawData) -> None:
    omitted, names = spec.transfer.omit_classes, data.output_names
    if omitted and data.task != "classification":
        raise BadInput(
            "no_classes_to_omit",
            f"`transfer.omit_classes` is given, and the data is for {data.task}",
            "Leave it out.",
        )
    for name in omitted:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
            raise BadInput(
                "unknown_class",
                f'`transfer.omit_classes` names "{name}", which is no class of the data',
                f"The nearest are {', '.join(nearest)}.",
            )
    if omitted and len(names) - len(set(omitted)) < 2:  # noqa: PLR2004 (what telling apart needs)
        raise BadInput(
            "too_few_classes",
            f"`transfer.omit_classes` leaves {len(names) - len(set(omitted))} of {len(names)} "
            "classes; at least 2 are expected",
        )
    if spec.transfer.repair and not (omitted and spec.dataset.has_validation):
        raise BadInput(
            "nothing_to_repair",
            "`transfer.repair` needs `transfer.omit_classes`, and a validation part to count on",
            "Name the classes, and set `dataset.split.validation` above 0 or give a "
            "`dataset.validation_file`.",
        )


def _check_shifts(place: str, training: Training, side: int) -> None:
    for number, augmentation in enumerate(training.augmentation):
        if isinstance(augmentation, ShiftCrop) and augmentation.pixels >= side:
            raise BadInput(
                "shift_too_large",
                f"`{place}.augmentation.{number}.pixels` is {augmentation.pixels}; the images are "
                f"{side} pixels wide or high, so some would be moved out of sight",
                f"Use fewer, such as {max(1, side // 8)}.",
            )


def _losses(spec: JobSpec) -> Iterator[tuple[str, AnyLoss]]:
    objectives = {"objective": spec.objective}
    for number, assistant in enumerate(spec.assistants):
        objectives[f"assistants.{number}.objective"] = assistant.objective or []
    for place, objective in objectives.items():
        for number, loss in enumerate(objective):
            yield f"{place}.{number}", loss


def _trained_teachers(spec: JobSpec) -> Iterator[tuple[str, TrainedTeacher]]:
    teachers: dict[str, AnyTeacher] = {"teacher": spec.teacher}
    if isinstance(spec.teacher, Ensemble):
        for number, member in enumerate(spec.teacher.members):
            teachers[f"teacher.members.{number}.teacher"] = member.teacher
    for place, teacher in teachers.items():
        if isinstance(teacher, TrainedTeacher):
            yield place, teacher


def _architectures(spec: JobSpec) -> Iterator[tuple[str, AnyArchitecture]]:
    for place, teacher in _trained_teachers(spec):
        yield f"{place}.architecture", teacher.architecture
    if isinstance(spec.teacher, MutualTeacher):
        yield "teacher.architecture", spec.teacher.architecture
    for number, assistant in enumerate(spec.assistants):
        yield f"assistants.{number}.architecture", assistant.architecture
    yield "student.architecture", spec.student.architecture


def _trainings(spec: JobSpec) -> Iterator[tuple[str, Training]]:
    for place, teacher in _trained_teachers(spec):
        yield f"{place}.training", teacher.training
    for number, assistant in enumerate(spec.assistants):
        yield f"assistants.{number}.training", assistant.training
    yield "training", spec.training
