"""API keys: made, listed, revoked, and recognised by a keyed hash."""

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.registry import ApiKey, Page
from app.contracts.requests import NewApiKey, Scope
from app.db.models import ApiKey as ApiKeyRow
from app.db.models import Project
from app.db.session import Database, DatabaseClock, database_now
from app.errors import Forbidden, InvalidPayload, Problem, Unauthorized
from app.services import audit, key_text
from app.services.ownership import ends, find, newest, owned
from app.services.projects import add_project

DEFAULT_PROJECT = "default"
LAST_USE_GRAIN = timedelta(minutes=1)

_PEPPER_BYTES = 32


@dataclass(frozen=True)
class Identity:
    """Whom a key speaks for, and what it may do."""

    key_id: str
    project_id: str
    scopes: frozenset[str]
    expires_at: datetime | None = None


def load_pepper(path: Path) -> bytes:
    """Read the secret that keys are hashed under, or make it, readable by its owner only.

    Raises:
        ValueError: The file is too short to be a secret.
    """
    if not path.exists():
        _make_pepper(path)
    pepper = path.read_bytes()
    if len(pepper) < _PEPPER_BYTES:
        raise ValueError(f"{path} has {len(pepper)} bytes; a pepper needs {_PEPPER_BYTES}")
    return pepper


def create_key(
    database: Database,
    pepper: bytes,
    *,
    project: str,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for the project of that name, made with it when missing; return its secret too."""
    with database.write() as session:
        row = session.scalar(select(Project).where(Project.name == project))
        if row is None:
            row = add_project(session, project)
        return _add(session, pepper, row.id, name, scopes, expires_at)


def create_key_in(
    database: Database, pepper: bytes, project_id: str, new: NewApiKey, creator: Identity
) -> tuple[ApiKey, str]:
    """Make a key for a project that exists; return its secret too.

    Raises:
        Forbidden: It could do what the creator's own key cannot.
        InvalidPayload: It would outlive the creator's own key.
    """
    _check_grant(project_id, new, creator)
    with database.write() as session:
        return _add(session, pepper, project_id, new.name, new.scopes, new.expires_at)


def list_keys(database: Database, project_id: str, after: str | None, limit: int) -> Page[ApiKey]:
    with database.read() as session:
        query = owned(ApiKeyRow, project_id)
        rows, has_more = newest(session, query, ApiKeyRow, after, limit)
    data = [_view(row) for row in rows]
    return Page[ApiKey](data=data, has_more=has_more, **ends([key.id for key in data]))


def revoke_key(database: Database, project_id: str, key_id: str) -> ApiKey:
    """Make a key useless from now on; a key already revoked keeps its time."""
    with database.write() as session:
        row = find(session, ApiKeyRow, project_id, key_id)
        if row.revoked_at is None:
            row.revoked_at = database_now(session)
            audit.note(session, project_id, "api_key.revoke", key_id)
        return _view(row)


def authenticate(database: Database, pepper: bytes, secret: str) -> Identity:
    """Tell whose key this is.

    Raises:
        Unauthorized: It is nobody's, or it has expired or been revoked.
    """
    unique = key_text.read(secret)
    if unique is None:
        raise Unauthorized("this is not an API key; one reads shk_<id>_<secret>")
    with database.read() as session:
        known = select(ApiKeyRow, DatabaseClock()).where(ApiKeyRow.id == f"key-{unique}")
        row, now = session.execute(known).one_or_none() or (None, None)
    stored = row.digest if row else "0" * 64
    if not hmac.compare_digest(stored, _digest(pepper, secret)) or row is None or now is None:
        raise Unauthorized("no such API key is known")
    audit.recognise(row.id, row.project_id)
    if row.revoked_at is not None:
        raise Unauthorized("this API key has been revoked")
    if row.expires_at is not None and row.expires_at <= now:
        raise Unauthorized("this API key has expired")
    if row.last_used_at is None or row.last_used_at <= now - LAST_USE_GRAIN:
        _note_use(database, row.id, now)
    return Identity(row.id, row.project_id, frozenset(row.scopes), row.expires_at)


def _make_pepper(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A new temporary file is 0600; linking it is atomic, and the first of two processes wins.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_PEPPER_BYTES))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        Path(temporary).unlink()


def _check_grant(project_id: str, new: NewApiKey, creator: Identity) -> None:
    more = sorted(set(new.scopes) - creator.scopes)
    if more:
        raise Forbidden(
            f"this key does not have {', '.join(more)} and cannot give it; it has "
            f"{', '.join(sorted(creator.scopes))}",
            param="/scopes",
        )
    if "projects:admin" in new.scopes and project_id != creator.project_id:
        raise Forbidden(
            "projects:admin is for keys of the project that this key is of, and no other",
            param="/scopes",
        )
    if creator.expires_at is not None and (
        new.expires_at is None or new.expires_at > creator.expires_at
    ):
        message = (
            f"given {new.expires_at or 'none'}; this key expires at {creator.expires_at}, and one "
            "that it makes no later"
        )
        raise InvalidPayload([Problem("/expires_at", "outlives_creator", message)])


def _add(
    session: Session,
    pepper: bytes,
    project_id: str,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    unique = uuid7().hex
    secret = key_text.write(unique)
    row = ApiKeyRow(
        id=f"key-{unique}",
        project_id=project_id,
        name=name,
        digest=_digest(pepper, secret),
        scopes=sorted(set(scopes)),
        created_at=database_now(session),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    audit.note(session, project_id, "api_key.create", row.id)
    return _view(row), secret


def _view(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        project_id=row.project_id,
        scopes=row.scopes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )


def _digest(pepper: bytes, secret: str) -> str:
    return hmac.new(pepper, secret.encode(), hashlib.sha256).hexdigest()


def _note_use(database: Database, key_id: str, now: datetime) -> None:
    # The condition again, so that of many requests at once one writes.
    unnoted = or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at <= now - LAST_USE_GRAIN)
    with database.write() as session:
        session.execute(
            update(ApiKeyRow).where(ApiKeyRow.id == key_id, unnoted).values(last_used_at=now)
        )
