"""Rates of requests, counted in Redis or Valkey for all API processes together."""

import asyncio
import math
import time
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
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
    """Counts by a window that slides, in two numbers a caller however many requests there are.

    While the server does not answer, each process counts for itself.
    """

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
        self._alone = SlidingWindowCounterRateLimiter(MemoryStorage())
        # Whoever waits for a connection waits here, where it is not taken for the server's silence.
        self._turns = asyncio.Semaphore(MOST_CONNECTIONS)
        self._rests_until = 0.0
        self._complains_after = 0.0

    async def hit(self, caller: str, most: int) -> Rate:
        """Count a request of a caller who may make so many a minute."""
        try:
            async with self._turns:
                if time.monotonic() >= self._rests_until:
                    return await _hit(self._counter, caller, most)
        except (RedisError, OSError) as error:
            self._rest(error)
        return await _hit(self._alone, caller, most)

    async def close(self) -> None:
        await self._pool.aclose()

    def _rest(self, error: Exception) -> None:
        now = time.monotonic()
        self._rests_until = now + REST_SECONDS
        if now >= self._complains_after:
            self._complains_after = now + COMPLAINTS_APART_SECONDS
            log.warning("requests_counted_alone", reason=type(error).__name__)


async def _hit(counter: SlidingWindowCounterRateLimiter, caller: str, most: int) -> Rate:
    allowed = RateLimitItemPerMinute(most)
    is_within = await counter.hit(allowed, caller)
    stats = await counter.get_window_stats(allowed, caller)
    seconds = min(max(math.ceil(stats.reset_time - time.time()), 1), WINDOW_SECONDS)
    return Rate(is_within, most, stats.remaining, seconds)
