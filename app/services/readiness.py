"""Whether the parts that the API needs answer; each is asked once, however many want to know."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from obstore.exceptions import BaseError
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.db import schema
from app.db.session import Database
from app.queue import Queue
from app.services.parts import Parts
from app.storage import Storage

PATIENCE_SECONDS = 2.0
"""How long one who asks waits for a part."""
REMEMBERED_SECONDS = 1.0
LATE_SECONDS = 15.0
"""How long what a part has answered holds while it takes longer to answer again."""

Check = Callable[[], str | None]


class Readiness:
    """Asks the parts in threads of their own, and so holds up nobody when one is silent."""

    def __init__(self, parts: Parts) -> None:
        self._parts = [
            Part("database", partial(_database, parts.database)),
            Part("queue", partial(_queue, parts.queue)),
            Part("storage", partial(_storage, parts.storage)),
        ]

    async def failures(self) -> dict[str, str]:
        """Return, by its name, what is the matter with each part that is not ready."""
        answers = await asyncio.gather(*(part.answer() for part in self._parts))
        found = zip(self._parts, answers, strict=True)
        return {part.name: answer for part, answer in found if answer is not None}


class Part:
    """One part, and what it answered a moment ago, or is still being asked."""

    def __init__(self, name: str, check: Check) -> None:
        self.name = name
        self._check = check
        self._thread = ThreadPoolExecutor(1)
        self._asked: Future[None] | None = None
        self._asked_at = 0.0
        self._answer: str | None = None
        self._answered_at = -math.inf

    async def answer(self) -> str | None:
        asked, now = self._asked, time.monotonic()
        if asked is None or (asked.done() and now - self._answered_at > REMEMBERED_SECONDS):
            asked, self._asked_at = self._thread.submit(self._ask), now
            self._asked = asked
        left = self._asked_at + PATIENCE_SECONDS - now
        if left > 0 and not asked.done():
            await asyncio.wait([asyncio.wrap_future(asked)], timeout=left)
        if asked.done():
            asked.result()  # raises what nobody has foreseen
        elif time.monotonic() - self._answered_at > LATE_SECONDS:
            return f"the {self.name} does not answer"
        return self._answer

    def _ask(self) -> None:
        self._answer = self._check()
        self._answered_at = time.monotonic()


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
