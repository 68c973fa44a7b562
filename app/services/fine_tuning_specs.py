"""What OpenAI's clients ask for, as a job spec: the same parts under their native names."""

import copy
import re
from typing import Any, get_args

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.contracts.dataset import Builtin
from app.contracts.fine_tuning_request import FineTuningRequest, Hyperparameters
from app.contracts.job import JobSpec
from app.contracts.model import AnyArchitecture, Student
from app.contracts.naming import unknown_model
from app.contracts.training import Adamw, Sgd
from app.db.models import File
from app.errors import InvalidPayload, NotFound, Problem
from app.services.default_teachers import larger
from app.services.explanations import explain, pointer_to
from app.services.naming import find_model, names_of_models
from app.services.ownership import owned
from app.services.specs import FILE_KINDS

Parts = dict[str, Any]

BUILTIN = get_args(Builtin.model_fields["name"].annotation)
DEFAULT_RATES: dict[str, float] = {one().name: one().lr for one in (Sgd, Adamw)}
NATIVE = {
    "n_epochs": ("training", "epochs"),
    "batch_size": ("training", "batch_size"),
    "learning_rate_multiplier": ("training", "optimizer", "lr"),
}
"""Where the spec has what OpenAI calls hyperparameters."""
RENAMED = {
    "/dataset/validation_file": "validation_file",
    "/training/seed": "seed",
    "/name": "suffix",
}
"""Where the spec has what a request says in one field of its own."""
ARCHITECTURES: list[str] = [
    one.model_fields["name"].default for one in get_args(get_args(AnyArchitecture)[0])
]
FILE = "file-"
"""What an id begins with."""


def to_spec(session: Session, project_id: str, request: FineTuningRequest) -> JobSpec:
    """Make the spec of a request, with defaults for all that it does not say.

    Raises:
        InvalidPayload: With native pointers; ``as_sent`` tells where the request said it.
    """
    spec = _Draft(copy.deepcopy(request.method.distillation.parts))
    _name_dataset(session, project_id, spec, request.training_file)
    _name_validation(spec, request)
    _name_student(session, project_id, spec, request.model)
    for hyperparameters in _hyperparameters(request).values():
        _train_with(spec, hyperparameters)
    for path, value in (
        (("training", "seed"), request.seed),
        (("name",), request.suffix),
        (("metadata",), request.metadata),
    ):
        if value is not None:
            spec.put(path, value)
    if spec.problems:
        raise InvalidPayload(spec.problems)
    if "teacher" not in spec.parts:
        _add_teacher(spec)
    return _checked(spec.parts)


def as_sent(request: FineTuningRequest, pointer: str) -> str:
    """Return where a request says what stands at ``pointer`` in its spec."""
    if "teacher" not in request.method.distillation.parts:
        # The default teacher is trained as the request says for the student.
        pointer = re.sub("^/teacher(?=/training/)", "", pointer)
    said = _said_elsewhere(request)
    above = [place for place in said if f"{pointer}/".startswith(f"{place}/")]
    return said[max(above, key=len)] if above else f"/method/distillation{pointer}"


class _Draft:
    """A spec in the making, and what was said in two ways."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.problems: list[Problem] = []

    def put(self, path: tuple[str, ...], value: object) -> None:
        """Set what the request says in OpenAI's words; the native ones may say no other."""
        given = self.offer(path, value)
        if given != value:
            message = (
                f"given {value!r}, and {given!r} as `{'.'.join(path)}` in method.distillation; "
                "expected it once"
            )
            self.problems.append(Problem(pointer_to(path), "given_twice", message[:400]))

    def offer(self, path: tuple[str, ...], value: object) -> object:
        """Set a default; return what is there afterwards."""
        place = self.parts
        for name in path[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                # No spec is like that, and validating it says so.
                return value
        return place.setdefault(path[-1], value)


def _name_dataset(session: Session, project_id: str, spec: _Draft, training_file: str) -> None:
    if training_file in BUILTIN:
        spec.put(("dataset", "source"), "builtin")
        spec.put(("dataset", "name"), training_file)
        return
    if not training_file.startswith(FILE):
        names = ", ".join(repr(name) for name in BUILTIN)
        message = f"given {training_file!r}; expected the id of an uploaded file, or {names}"
        spec.problems.append(Problem("/dataset/file", "unknown_file", message))
        return
    spec.put(("dataset", "source"), "file")
    spec.put(("dataset", "file"), training_file)
    file = session.scalar(owned(File, project_id).where(File.id == training_file))
    is_archive = file is not None and file.media_type in FILE_KINDS["image_archive"]
    spec.offer(("dataset", "format", "name"), "image_archive" if is_archive else "csv")


def _name_validation(spec: _Draft, request: FineTuningRequest) -> None:
    pointer, given = "/dataset/validation_file", request.validation_file
    if given is None:
        return
    if request.training_file in BUILTIN:
        message = (
            f"given {given!r} beside the built-in {request.training_file!r}, of which a share is "
            "held out; expected none"
        )
        spec.problems.append(Problem(pointer, "unexpected_file", message))
    elif not given.startswith(FILE):
        message = f"given {given!r}; expected the id of an uploaded file"
        spec.problems.append(Problem(pointer, "unknown_file", message))
    else:
        spec.put(("dataset", "validation_file"), given)


def _name_student(session: Session, project_id: str, spec: _Draft, model: str) -> None:
    if model in ARCHITECTURES:
        spec.put(("student", "architecture", "name"), model)
        return
    try:
        row = find_model(session, project_id, model)
    except NotFound:
        names = [*ARCHITECTURES, *names_of_models(session, project_id)]
        message = f"{unknown_model(model, names)}; architectures are {', '.join(ARCHITECTURES)}"
        spec.problems.append(Problem("/student/architecture", "unknown_model", message))
        return
    spec.put(("student", "architecture"), row.architecture)
    spec.offer(("student", "initialize"), {"from": "model", "model": row.id})


def _hyperparameters(request: FineTuningRequest) -> dict[str, Hyperparameters]:
    """Return both places that OpenAI has had for them, the older one first."""
    return {
        "/hyperparameters": request.hyperparameters,
        "/method/distillation/hyperparameters": request.method.distillation.hyperparameters,
    }


def _train_with(spec: _Draft, hyperparameters: Hyperparameters) -> None:
    for name, path in NATIVE.items():
        value = getattr(hyperparameters, name)
        if value is None:
            continue
        if name == "learning_rate_multiplier":
            optimizer = spec.offer(("training", "optimizer", "name"), Adamw().name)
            value *= DEFAULT_RATES.get(str(optimizer), 1)
        spec.put(path, value)


def _add_teacher(spec: _Draft) -> None:
    """Let a larger network of the student's family teach, trained as the student is."""
    try:
        student = Student.model_validate(spec.parts["student"])
    except ValidationError:
        # Told with all else that is wrong.
        return
    teacher = larger(student.architecture)
    if teacher is None:
        message = (
            "there is no larger architecture of the student's family; expected a `teacher` in "
            "method.distillation"
        )
        raise InvalidPayload([Problem("/teacher", "no_default_teacher", message)])
    spec.parts["teacher"] = {
        "source": "train",
        "architecture": teacher.model_dump(mode="json"),
        "training": copy.deepcopy(spec.parts.get("training", {})),
    }


def _checked(parts: Parts) -> JobSpec:
    try:
        return JobSpec.model_validate(parts)
    except ValidationError as error:
        # A default teacher is missing only where the student is wrong, which is told.
        told = [one for one in error.errors() if one["loc"] != ("teacher",) or "teacher" in parts]
        raise InvalidPayload(explain(JobSpec, told)) from None


def _said_elsewhere(request: FineTuningRequest) -> dict[str, str]:
    """Tell which places in the spec come from where in a request; all below them does, too."""
    parts = request.method.distillation.parts
    said = {f"/dataset/{name}": "/training_file" for name in ("source", "file", "name")}
    said["/student/architecture/name"] = "/model"
    if "dataset" not in parts:
        said["/dataset"] = "/training_file"
    said |= {f"/{part}": "/model" for part in ("student", "teacher") if part not in parts}
    if request.model not in ARCHITECTURES:
        said |= {"/student/architecture": "/model", "/student/initialize/model": "/model"}
    for pointer, field in RENAMED.items():
        if getattr(request, field) is not None:
            said[pointer] = f"/{field}"
    for place, hyperparameters in _hyperparameters(request).items():
        for name, path in NATIVE.items():
            if getattr(hyperparameters, name) is not None:
                said[pointer_to(path)] = f"{place}/{name}"
    return said
