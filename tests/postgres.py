"""PostgreSQL from a wheel, on a machine that has other work."""

from collections.abc import Callable
from subprocess import TimeoutExpired
from typing import TypeVar

Started = TypeVar("Started")


def patiently(start: Callable[[], Started]) -> Started:
    """Start a server; the wheel gives it ten seconds, and it goes on starting after them."""
    try:
        return start()
    except TimeoutExpired:
        return start()
