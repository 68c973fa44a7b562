"""Room for work that takes long: some at once, a few who wait, and the others are sent away.

Requests are served by a few dozen threads. Whoever waited in one without end would keep out those
who have nothing to do with it.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakValueDictionary

from app.errors import Unavailable


class Room:
    """Places for one kind of work in this process; safe to share between threads."""

    def __init__(self, what: str, *, places: int, waiting: int, patience_seconds: float) -> None:
        """``what`` is done by all who are in, as a client reads it: "files are looked at"."""
        self._what = what
        self._patience_seconds = patience_seconds
        self._door = threading.BoundedSemaphore(places + waiting)
        self._places = threading.BoundedSemaphore(places)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Hold a place while the block runs.

        Raises:
            Unavailable: There are enough who wait, or the wait was in vain.
        """
        if not self._door.acquire(blocking=False):
            raise self._full()
        try:
            if not self._places.acquire(timeout=self._patience_seconds):
                raise self._full()
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._door.release()

    def _full(self) -> Unavailable:
        return Unavailable(f"as many {self._what} as may be at once; try again soon")


class Turns:
    """Places for one kind of work, of which one project has only some; who finds none waits.

    That is in the event loop, and so in no thread, and without end. Only for one event loop.
    """

    def __init__(self, *, places: int, of_one_project: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._of_one_project = of_one_project
        # Of those projects whose work is done or waits.
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, project_id: str) -> AsyncIterator[None]:
        """Hold a place while the block runs; whoever has waited longest is next."""
        own = self._own.setdefault(project_id, asyncio.Semaphore(self._of_one_project))
        async with own, self._places:
            yield
