"""Rates of requests, counted in Redis or Valkey for all API processes together."""

import math
import time
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import BlockingConnectionPool
from redis.exceptions import RedisError
from structlog import get_logger

log = get_logger(__name__)

WINDOW_SECONDS = 60
PATIENCE_SECONDS = 1.0
"""How long a request may be held up by a server that does not answer."""
REST_SECONDS = 5.0
"""How long nobody is asked after that."""
MOST_CONNECTIONS = 16
COMPLAINTS_APART_SECONDS = 60.0


@dataclass(frozen=True)
class Rate:
    """Where a caller stands, the present request counted."""

    is_within: bool
    most: int
    """In any 60 s."""
    remaining: int
    reset_seconds: int
    """Until there is room for another request, where there is none."""


class Rates:
    """Counts by a window that slides, in two numbers a caller however many requests there are."""

    def __init__(self, broker_url: str) -> None:
        self._pool = BlockingConnectionPool.from_url(
            broker_url,
            max_connections=MOST_CONNECTIONS,
            timeout=PATIENCE_SECONDS,
            socket_timeout=PATIENCE_SECONDS,
            socket_connect_timeout=PATIENCE_SECONDS,
        )
        self._counter = SlidingWindowCounterRateLimiter(
            RedisStorage(
                broker_url,
                implementation="redispy",
                key_prefix="stillhouse-rates",
                connection_pool=self._pool,  # type: ignore[arg-type]  # as its documentation has it
            )
        )
        self._rests_until = 0.0
        self._complains_after = 0.0

    async def hit(self, caller: str, most: int) -> Rate | None:
        """Count a request of a caller who may make so many a minute.

        None where the server does not answer: a request that cannot be counted may pass.
        """
        if time.monotonic() < self._rests_until:
            return None
        allowed = RateLimitItemPerMinute(most)
        try:
            is_within = await self._counter.hit(allowed, caller)
            stats = await self._counter.get_window_stats(allowed, caller)
        except (RedisError, OSError) as error:
            self._rest(error)
            return None
        seconds = min(max(math.ceil(stats.reset_time - time.time()), 1), WINDOW_SECONDS)
        return Rate(is_within, most, stats.remaining, seconds)

    async def close(self) -> None:
        await self._pool.aclose()

    def _rest(self, error: Exception) -> None:
        now = time.monotonic()
        self._rests_until = now + REST_SECONDS
        if now >= self._complains_after:
            self._complains_after = now + COMPLAINTS_APART_SECONDS
            log.warning("requests_not_counted", reason=type(error).__name__)
