"""Check that what a spec asks for can be done with the kind of data it names."""

from collections.abc import Iterator

from app.contracts.job import JobSpec
from app.contracts.model import AnyArchitecture, TrainedTeacher
from app.contracts.training import ShiftCrop, Training
from worker.distillation.errors import BadInput

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


def _check_shifts(place: str, training: Training, side: int) -> None:
    for number, augmentation in enumerate(training.augmentation):
        if isinstance(augmentation, ShiftCrop) and augmentation.pixels >= side:
            raise BadInput(
                "shift_too_large",
                f"`{place}.augmentation.{number}.pixels` is {augmentation.pixels}; the images are "
                f"{side} pixels wide or high, so some would be moved out of sight",
                f"Use fewer, such as {max(1, side // 8)}.",
            )


def _architectures(spec: JobSpec) -> Iterator[tuple[str, AnyArchitecture]]:
    if isinstance(spec.teacher, TrainedTeacher):
        yield "teacher.architecture", spec.teacher.architecture
    yield "student.architecture", spec.student.architecture


def _trainings(spec: JobSpec) -> Iterator[tuple[str, Training]]:
    if isinstance(spec.teacher, TrainedTeacher):
        yield "teacher.training", spec.teacher.training
    yield "training", spec.training
