"""Makes a model of what a client has uploaded: its weights are looked at before it counts."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.registration import NewModel
from app.contracts.tensors import num_parameters
from app.db.blobs import forget_unnamed
from app.db.models import File as FileRow
from app.db.models import Model
from app.db.registry import ModelFile, commit_of, number_model
from app.db.session import Database, database_now
from app.errors import InvalidPayload, NotFound, Problem, Unavailable
from app.services import audit, quotas
from app.services.content import inspect
from app.services.files import file_view
from app.services.idempotency import Answer, Repeatable, find_answer, once
from app.services.looks import NoLook, look
from app.services.models import views
from app.services.ownership import find, find_to_name
from app.services.weights import STATISTICS, check_weights, expected_tensors
from app.storage import Storage

CONFIG, CARD, WEIGHTS = "config.json", "README.md", "model.safetensors"
MEDIA_TYPES = {CONFIG: "application/json", CARD: "text/markdown"}


def register(
    database: Database,
    storage: Storage,
    project_id: str,
    new: NewModel,
    request: Repeatable | None = None,
) -> Answer:
    """Check uploaded weights against what is said of them, and make a teacher of them.

    Raises:
        Conflict: The weights are too large to be looked at.
        InvalidPayload: There are none, or they are not what is said of them.
        QuotaExceeded: The project would have more stored than it may.
        Unavailable: Others are being looked at.
    """
    with database.read() as session:
        before = find_answer(session, project_id, request)
        if before is not None:
            return before
        weights = _weights(session, project_id, new)
    # No transaction waits while another process reads the weights.
    config = _config(new, _looked_at(storage, weights, new))
    texts = {CONFIG: config} | ({} if new.card is None else {CARD: new.card.encode()})
    # In the order in which all take what they lock of blobs.
    texts = dict(sorted(texts.items(), key=lambda each: _digest(each[1])))
    with database.write() as session:
        for content in texts.values():
            quotas.reserve(session, project_id, inspect([content]))
    for content in texts.values():
        storage.put_chunks(_digest(content), len(content), [content])

    def make(session: Session) -> str:
        row = _add(session, project_id, new)
        # Once more, and locked: it may have been deleted meanwhile.
        file = _weights(session, project_id, new, is_to_stay=True)
        session.add(_model_file(row, WEIGHTS, file.sha256, file.bytes))
        for path, content in texts.items():
            found = inspect([content])
            quotas.require_room_to_store(session, project_id, found)
            session.add(_model_file(row, path, found.sha256, found.size))
            session.flush()
            forget_unnamed(session, project_id, found.sha256)
        digests = {path: _digest(content) for path, content in texts.items()}
        row.commit_id = commit_of({WEIGHTS: file.sha256, **digests})
        audit.note(session, project_id, "model.create", row.id)
        return views(session, [row])[0].model_dump_json()

    with database.write() as session:
        return once(session, project_id, request, lambda: make(session))


def _weights(
    session: Session, project_id: str, new: NewModel, *, is_to_stay: bool = False
) -> FileRow:
    try:
        search = find_to_name if is_to_stay else find
        return search(session, FileRow, project_id, new.weights)
    except NotFound:
        message = f"given {new.weights!r}; expected the id of a file that this project has"
        raise InvalidPayload([Problem("/weights", "unknown_file", message)]) from None


def _looked_at(storage: Storage, weights: FileRow, new: NewModel) -> Mapping[str, list[float]]:
    """Return the values of the few tensors that config.json tells of.

    Raises:
        InvalidPayload: The weights are not what is said of them.
    """
    try:
        asked = [str(weights.bytes), *STATISTICS]
        found: dict[str, Any] = look(storage, file_view(weights), "app.preview.weights", asked)
    except NoLook as error:
        if error.code == "not_looked_at":
            raise Unavailable(f"{error}; try again later") from None
        raise InvalidPayload([Problem("/weights", error.code, str(error))]) from None
    if "problem" in found:
        code, message = found["problem"]
        raise InvalidPayload([Problem("/weights", code, message)])
    problems = check_weights(expected_tensors(new), found)
    if problems:
        raise InvalidPayload(problems)
    values: dict[str, list[float]] = found["values"]
    return values


def _config(new: NewModel, values: Mapping[str, list[float]]) -> bytes:
    """Write config.json as the engine does; the statistics are those that the weights have."""
    signature = new.signature
    statistics = {name: values.get(tensor) for tensor, name in STATISTICS.items()}
    description = {
        "kind": "table" if signature.is_table else "image",
        **signature.model_dump(mode="json"),
        **statistics,
    }
    config = {"architecture": new.architecture.model_dump(mode="json"), "description": description}
    return json.dumps(config, indent=2).encode()


def _add(session: Session, project_id: str, new: NewModel) -> Model:
    row = Model(
        id=f"model-{uuid7()}",
        project_id=project_id,
        role="teacher",
        architecture=new.architecture.model_dump(mode="json"),
        signature=new.signature.model_dump(mode="json"),
        num_parameters=num_parameters(expected_tensors(new)),
        description=new.description,
        labels=new.metadata,
        created_at=database_now(session),
    )
    if new.name is not None:
        number_model(session, row, new.name)
    session.add(row)
    session.flush()
    return row


def _model_file(row: Model, path: str, sha256: str, size: int) -> ModelFile:
    media_type = MEDIA_TYPES.get(path, "application/octet-stream")
    return ModelFile(model_id=row.id, path=path, bytes=size, sha256=sha256, media_type=media_type)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
