"""Room for work that takes long: some at once, a few who wait, and the others are sent away.

Requests are served by a few dozen threads. Whoever waited in one without end would keep out those
who have nothing to do with it.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
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
            raise _full(self._what)
        try:
            if not self._places.acquire(timeout=self._patience_seconds):
                raise _full(self._what)
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._door.release()


class Turns:
    """Places for one kind of work, of which one project has only some; who finds none waits.

    That is in the event loop, and so in no thread. Only for one event loop.
    """

    def __init__(
        self, what: str, *, places: int, of_one_project: int, patience_seconds: float
    ) -> None:
        """``what`` names the work where somebody has waited in vain."""
        self._what = what
        self._patience_seconds = patience_seconds
        self._places = asyncio.Semaphore(places)
        self._of_one_project = of_one_project
        # Of those projects whose work is done or waits.
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, project_id: str) -> AsyncIterator[None]:
        """Hold a place while the block runs; whoever has waited longest is next.

        Raises:
            Unavailable: No place has become free.
        """
        own = self._own.setdefault(project_id, asyncio.Semaphore(self._of_one_project))
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._patience_seconds):
                    await held.enter_async_context(own)
                    await held.enter_async_context(self._places)
            except TimeoutError:
                raise _full(self._what) from None
            yield


def _full(what: str) -> Unavailable:
    return Unavailable(f"as many {what} as may be at once; try again soon")
