"""Recognises API keys, and for a moment remembers those that were good."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.concurrency import run_in_threadpool

from app.db.session import Database
from app.services import audit
from app.services.keys import Identity, authenticate

REMEMBERED_SECONDS = 1.0
"""So long another process may take a key that was revoked here, or that has expired."""
MOST_REMEMBERED = 10_000


class Keyring:
    """Tells whose keys are shown; of a client that asks again and again, once a second."""

    def __init__(
        self, database: Database, pepper: bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._clock = clock
        # By digests, so that no secret stays in memory; the oldest first.
        self._known: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()
        self._asked: dict[bytes, asyncio.Event] = {}

    async def identify(self, secret: str) -> Identity:
        """Tell whose key this is.

        Raises:
            Unauthorized: It is nobody's, or it has expired or been revoked.
        """
        digest = hashlib.sha256(secret.encode()).digest()
        if digest in self._asked:
            # All streams that tell of one event ask at once; what one finds serves the others.
            await self._asked[digest].wait()
        # What is found in these is not noted in those that are there after ``forget_all``.
        known = self._known
        until, identity = known.get(digest, (0.0, None))
        if identity is not None and self._clock() < until:
            audit.recognise(identity.key_id, identity.project_id)
            return identity
        until = self._clock() + REMEMBERED_SECONDS
        with self._asking(digest):
            identity = await run_in_threadpool(authenticate, self._database, self._pepper, secret)
            known[digest] = (until, identity)
            known.move_to_end(digest)
            if len(known) > MOST_REMEMBERED:
                known.popitem(last=False)
        return identity

    def forget_all(self) -> None:
        """Ask for each key again, as after one was revoked."""
        self._known = OrderedDict()

    @contextmanager
    def _asking(self, digest: bytes) -> Iterator[None]:
        """Let others who show the same key wait for the end of the block."""
        asked = self._asked[digest] = asyncio.Event()
        try:
            yield
        finally:
            asked.set()
            if self._asked.get(digest) is asked:
                del self._asked[digest]
