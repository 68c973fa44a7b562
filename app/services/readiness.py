"""Whether the parts that the API needs answer."""

from obstore.exceptions import BaseError
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.db import schema
from app.db.session import Database
from app.queue import Queue
from app.services.parts import Parts
from app.storage import Storage


def failures(parts: Parts) -> dict[str, str]:
    """Ask each part; return, by its name, what is the matter with those that are not ready."""
    answers = {
        "database": _database(parts.database),
        "queue": _queue(parts.queue),
        "storage": _storage(parts.storage),
    }
    return {name: answer for name, answer in answers.items() if answer is not None}


def _database(database: Database) -> str | None:
    try:
        if schema.is_current(database):
            return None
    except SQLAlchemyError:
        return "the database does not answer"
    return "the database lacks migrations; run `stillhouse migrate`"


def _queue(queue: Queue) -> str | None:
    try:
        queue.ping()
    except RedisError:
        return "the queue does not answer"
    return None


def _storage(storage: Storage) -> str | None:
    try:
        storage.ping()
    except (BaseError, OSError):
        return "the storage does not answer"
    return None
