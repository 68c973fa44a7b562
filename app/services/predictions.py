"""What models answer, a student beside its teacher."""

from typing import Any

from sqlalchemy import select
from structlog import get_logger

from app.contracts.job import FileEntry
from app.contracts.prediction import Answers, Prediction, Question
from app.contracts.registry import Model
from app.db.models import Job
from app.db.models import Model as ModelRow
from app.db.session import Database
from app.errors import Conflict, InvalidPayload, NotFound, Problem, Unavailable
from app.predictor import Predictor
from app.services.models import read_model
from app.services.ownership import find
from app.storage import Storage

log = get_logger(__name__)

ONNX = "onnx/model.onnx"
LARGEST_BYTES = 512 * 1024 * 1024


def predict(
    database: Database,
    storage: Storage,
    predictor: Predictor,
    project_id: str,
    model_id: str,
    *,
    question: Question,
) -> Prediction:
    """Ask a model, and its teacher if that can be asked, too.

    Raises:
        Conflict: The model cannot be asked here.
        InvalidPayload: The inputs are not such as the model takes.
        Unavailable: There was no answer in time.
    """
    model = read_model(database, project_id, model_id)
    file = _require_onnx(model)
    teacher_id = _teacher_of(database, project_id, model) if question.with_teacher else None
    beside = _onnx(read_model(database, project_id, teacher_id)) if teacher_id else None
    files = [file, beside] if beside else [file]
    reply = predictor.ask(storage, {one.sha256: one.bytes for one in files}, question.inputs)
    _refuse(reply)
    given = {one["sha256"]: one for one in reply["answers"]}
    asked = given[file.sha256]
    return Prediction(
        task=asked["task"],
        output_names=asked["output_names"],
        answers=_answers(model.id, asked),
        teacher=_answers(teacher_id, given[beside.sha256]) if teacher_id and beside else None,
    )


def _require_onnx(model: Model) -> FileEntry:
    file = _onnx(model)
    if file is None and model.job_id is None:
        raise Conflict(
            f"the model has no file {ONNX}, as no model has that a client brought; a student that "
            "a job distils from it can be asked"
        )
    if file is None:
        way = "`teacher_onnx`" if model.role == "teacher" else "`onnx` in its `export`"
        raise Conflict(f"the model has no file {ONNX}; a job delivers one with {way}")
    if file.bytes > LARGEST_BYTES:
        raise Conflict(
            f"the model's file has {file.bytes} bytes; models of {LARGEST_BYTES} at most are asked "
            "here; download it to run it"
        )
    return file


def _onnx(model: Model) -> FileEntry | None:
    return next((file for file in model.files if file.path == ONNX), None)


def _teacher_of(database: Database, project_id: str, model: Model) -> str | None:
    """Return the id of the model that a student learnt from, if it is still there."""
    if model.role == "teacher" or model.job_id is None:
        return None
    with database.read() as session:
        job = find(session, Job, project_id, model.job_id)
        query = select(ModelRow.id).where(ModelRow.job_id == job.id, ModelRow.role == "teacher")
        trained: str | None = session.scalar(query)
        named: str | None = trained or job.resolved_spec["teacher"].get("model")
        try:
            return find(session, ModelRow, project_id, named).id if named else None
        except NotFound:
            return None


def _refuse(reply: dict[str, Any]) -> None:
    match reply:
        case {"problem": str(message)}:
            raise InvalidPayload([Problem("/inputs", "wrong_inputs", message)])
        case {"unreadable": str(sha256)}:
            log.error("blob_unreadable", sha256=sha256)
            raise Unavailable("the model's file is gone from the storage, or damaged there")
        case {"unrunnable": str(message)}:
            raise Conflict(f"ONNX Runtime cannot run the model: {message}")


def _answers(model_id: str, given: dict[str, Any]) -> Answers:
    return Answers.model_validate({**given, "model": model_id})
