"""Whether each training of a job can be done: its schedule, its batches, its augmentations."""

from collections.abc import Iterator

from app.contracts.training import OneCycle, ShiftCrop, Step, Training
from app.errors import Problem
from app.services.facts import Facts
from app.services.scheme import BATCH_NORM, NEEDS_IMAGES, Apprenticeship, architectures, trainings


def check_trainings(facts: Facts) -> Iterator[Problem]:
    for one in trainings(facts):
        yield from _schedule(one.pointer, one.training)
        yield from _micro_batches(one)
        if not facts.is_table:
            yield from _shifts(one, facts)


def check_images(facts: Facts) -> Iterator[Problem]:
    """Refuse what needs images where the data is a table."""
    if not facts.is_table:
        return
    for holder, architecture in architectures(facts):
        if architecture.name in NEEDS_IMAGES:
            message = f"given {architecture.name!r}, which needs images; a table needs 'mlp'"
            yield Problem(f"{holder}/architecture/name", "needs_images", message)
    for one in trainings(facts):
        if one.training.augmentation:
            message = "augmentations change images; expected none for a table"
            yield Problem(f"{one.pointer}/augmentation", "needs_images", message)


def _schedule(pointer: str, training: Training) -> Iterator[Problem]:
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


def _micro_batches(one: Apprenticeship) -> Iterator[Problem]:
    at_once, pointer = one.training.micro_batch_size, f"{one.pointer}/micro_batch_size"
    if at_once is None:
        return
    relating = [loss.loss for loss in one.objective if loss.relates_examples]
    with_norm = [each.name for each in one.architectures if each.name in BATCH_NORM]
    if at_once > one.training.batch_size:
        message = f"given {at_once}; expected at most the batch_size, {one.training.batch_size}"
        yield Problem(pointer, "larger_than_batch", message)
    elif relating:
        message = (
            f"given {at_once} beside {relating[0]!r}, which relates the examples of a batch and "
            "would see only some of them; expected none"
        )
        yield Problem(pointer, "micro_batches_with_relations", message)
    elif with_norm:
        message = (
            f"given {at_once} for {with_norm[0]!r}, whose batch norm would then have statistics of "
            "a micro-batch alone; expected none, or an architecture without"
        )
        yield Problem(pointer, "micro_batches_with_batch_norm", message)


def _shifts(one: Apprenticeship, facts: Facts) -> Iterator[Problem]:
    sides = [side for side in facts.input_shape[1:] if side is not None]
    for number, augmentation in enumerate(one.training.augmentation):
        if isinstance(augmentation, ShiftCrop) and augmentation.pixels >= min(sides, default=1024):
            message = (
                f"given {augmentation.pixels}; expected fewer than the {min(sides)} pixels of an "
                "image's side, or some would be moved out of sight"
            )
            pointer = f"{one.pointer}/augmentation/{number}/pixels"
            yield Problem(pointer, "shift_too_large", message)
