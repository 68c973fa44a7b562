"""PostgreSQL from a wheel, on a machine that has other work."""

import threading
from collections.abc import Callable
from subprocess import TimeoutExpired
from typing import TypeVar

Started = TypeVar("Started")

_starting = threading.Lock()
"""Two threads that start one at once would let go of each other's lock in the wheel."""


def patiently(start: Callable[[], Started]) -> Started:
    """Start a server; the wheel gives it ten seconds, and it goes on starting after them."""
    with _starting:
        try:
            return start()
        except TimeoutExpired:
            return start()
