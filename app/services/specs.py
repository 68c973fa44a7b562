"""What is wrong or surprising in a spec beyond its form, told without the engine."""

import difflib
from collections.abc import Iterator
from itertools import combinations

from sqlalchemy.orm import Session

from app.contracts.dataset import Builtin, Csv, FileDataset
from app.contracts.job import JobSpec
from app.contracts.layer_names import MOST_NEAREST
from app.contracts.response_losses import Labels
from app.contracts.training import Step
from app.errors import InvalidPayload, Problem
from app.services.content import GZIP, TAR, TEXT, ZIP
from app.services.facts import Facts, gather
from app.services.initialization import check_initialization
from app.services.layers import check_layers
from app.services.objectives import check_losses, check_storage, objectives
from app.services.scheme import trainings
from app.services.teachers import check_teachers
from app.services.trainings import check_images, check_trainings

FILE_KINDS = {"csv": {TEXT}, "image_archive": {ZIP, TAR, GZIP}}
"""What the bytes of a file may be, for each format."""
FEWEST_CLASSES = 2


def check(session: Session, project_id: str, spec: JobSpec) -> list[str]:
    """Return what works and may surprise.

    Raises:
        InvalidPayload: With all that cannot work.
    """
    facts = gather(session, project_id, spec)
    problems = [
        *_dataset(facts),
        *check_losses(facts),
        *_exports(spec),
        *check_teachers(facts),
        *check_initialization(facts),
        *_transfer(facts),
        *check_storage(facts),
        *check_trainings(facts),
        *check_images(facts),
    ]
    # The layers of what cannot run on the data are no matter.
    if not any(problem.code == "needs_images" for problem in problems):
        problems += check_layers(facts)
    if problems:
        raise InvalidPayload(problems)
    return list(_surprises(facts))


def _dataset(facts: Facts) -> Iterator[Problem]:
    dataset = facts.spec.dataset
    if isinstance(dataset, Builtin):
        return
    kinds = FILE_KINDS[dataset.format.name]
    for field, file_id in dataset.files.items():
        media_type = facts.files.get(file_id)
        if media_type is None:
            message = f"given {file_id!r}; expected the id of a file that this project has"
            yield Problem(f"/dataset/{field}", "unknown_file", message)
        elif media_type not in kinds:
            expected = " or ".join(sorted(kinds))
            message = f"given a file that is {media_type}; {dataset.format.name} needs {expected}"
            yield Problem(f"/dataset/{field}", "wrong_kind_of_file", message)
    if isinstance(dataset.format, Csv):
        yield from _columns(dataset.format)


def _columns(table: Csv) -> Iterator[Problem]:
    answers = table.targets or [table.label]
    for number, name in enumerate(table.targets):
        if name in table.targets[:number]:
            message = f"given {name!r} a second time; expected it once"
            yield Problem(f"/dataset/format/targets/{number}", "duplicate", message)
    features = table.features or []
    for number, name in enumerate(features):
        pointer = f"/dataset/format/features/{number}"
        if name in answers:
            message = f"given {name!r}, which is to be predicted; a model would only copy it"
            yield Problem(pointer, "label_as_feature", message)
        elif name in features[:number]:
            yield Problem(pointer, "duplicate", f"given {name!r} a second time; expected it once")


def _exports(spec: JobSpec) -> Iterator[Problem]:
    for number, name in enumerate(spec.export):
        if name in spec.export[:number]:
            message = f"given {name!r} a second time; expected each format once"
            yield Problem(f"/export/{number}", "duplicate", message)


def _transfer(facts: Facts) -> Iterator[Problem]:
    transfer, names = facts.spec.transfer, facts.output_names
    if transfer.omit_classes and facts.task != "classification":
        message = f"given for {facts.task}, which has no classes; expected none"
        yield Problem("/transfer/omit_classes", "no_classes_to_omit", message)
    elif names is not None:
        yield from _omitted(transfer.omit_classes, names)
    if transfer.repair and not (transfer.omit_classes and facts.spec.dataset.has_validation):
        message = (
            "given true; it needs `transfer.omit_classes`, and `dataset.split.validation` above 0 "
            "or a `dataset.validation_file`"
        )
        yield Problem("/transfer/repair", "nothing_to_repair", message)


def _omitted(omitted: list[str], names: list[str]) -> Iterator[Problem]:
    for number, name in enumerate(omitted):
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=MOST_NEAREST, cutoff=0.0)
            message = f"given {name!r}; the nearest classes are {', '.join(nearest)}"
            yield Problem(f"/transfer/omit_classes/{number}", "unknown_class", message)
    left = len(set(names) - set(omitted))
    if omitted and left < FEWEST_CLASSES:
        message = f"leaves {left} of {len(names)} classes; expected {FEWEST_CLASSES} at least"
        yield Problem("/transfer/omit_classes", "too_few_classes", message)


def _surprises(facts: Facts) -> Iterator[str]:
    for pointer, objective in objectives(facts.spec):
        where = "" if pointer == "/objective" else f"{pointer}: "
        if all(isinstance(loss, Labels) or loss.weight == 0 for loss in objective):
            yield (
                f"{where}The objective never looks at the teacher: this is plain training, not "
                "distillation."
            )
        for number, loss in enumerate(objective):
            if loss.weight == 0:
                yield f"{pointer}/{number}: {loss.loss} has weight 0 and changes nothing."
    yield from _same_files(facts)
    yield from _never_reached(facts)
    if "safetensors" not in facts.spec.export:
        yield "/export: without safetensors no later job can start from these models."


def _same_files(facts: Facts) -> Iterator[str]:
    if isinstance(facts.spec.dataset, FileDataset):
        for (field, one), (other_field, other) in combinations(facts.spec.dataset.files.items(), 2):
            if one == other:
                yield (
                    f"/dataset/{other_field}: the same file as `{field}`, so what is measured on "
                    "it is too good."
                )


def _never_reached(facts: Facts) -> Iterator[str]:
    for one in trainings(facts):
        schedule, epochs = one.training.schedule, one.training.epochs
        if isinstance(schedule, Step) and schedule.milestones[-1] >= epochs:
            yield (
                f"{one.pointer}/schedule/milestones: {schedule.milestones[-1]} is not before the "
                f"end of the {epochs} epochs, so that drop never comes."
            )
    for number, loss in enumerate(facts.spec.objective):
        warmup, epochs = loss.weight_schedule.warmup_epochs, facts.spec.training.epochs
        if warmup > epochs:
            yield (
                f"/objective/{number}/weight_schedule/warmup_epochs: {warmup:g} is beyond the "
                f"{epochs} epochs, so {loss.loss} never has its whole weight."
            )
