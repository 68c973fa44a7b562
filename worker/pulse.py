"""Tells a trainer that hangs from one whose steps take long."""

import statistics
from collections import deque

TIMES_AS_LONG = 10
REMEMBERED = 100


class Pulse:
    """Hears of a trainer's every sign of life; times are ``time.monotonic``'s, in seconds."""

    def __init__(self, hang_seconds: float, now: float) -> None:
        self._hang_seconds = hang_seconds
        self._last = now
        self._intervals: deque[float] = deque(maxlen=REMEMBERED)

    def beat(self, now: float) -> None:
        self._intervals.append(now - self._last)
        self._last = now

    def hangs(self, now: float) -> bool:
        """Say whether it has been silent for too long, and far longer than it used to be."""
        usual = statistics.median(self._intervals) if self._intervals else 0.0
        return now - self._last > max(self._hang_seconds, TIMES_AS_LONG * usual)
