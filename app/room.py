"""Room for work that takes long: some at once, a few who wait, and the others are sent away.

Requests are served by a few dozen threads. Whoever waited in one without end would keep out those
who have nothing to do with it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
