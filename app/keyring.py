"""Recognises API keys, and for a moment remembers those that were good."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from app.db.session import AWAY, Database
from app.services import audit
from app.services.keys import Identity, authenticate

REMEMBERED_SECONDS = 1.0
"""So long another process may take a key that was revoked here, or that has expired."""
MOST_REMEMBERED = 10_000


class Keyring:
    """Tells whose keys are shown; of a client that asks again and again, once a second.

    Only for one event loop.
    """

    def __init__(
        self, database: Database, pepper: bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._clock = clock
        # By digests, so that no secret stays in memory; the oldest first.
        self._known: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()
        # What is being looked for, and until when others may rely on what is found.
        self._asked: dict[bytes, tuple[float, asyncio.Future[Identity | None]]] = {}

    async def identify(self, secret: str) -> Identity:
        """Tell whose key this is.

        Raises:
            Unauthorized: It is nobody's, or it has expired or been revoked.
        """
        digest = hashlib.sha256(secret.encode()).digest()
        until, identity = self._known.get(digest, (0.0, None))
        if self._clock() >= until:
            # All streams that tell of one event ask at once; what one finds serves the others.
            until, asked = self._asked.get(digest, (0.0, None))
            can_wait = asked is not None and self._clock() < until
            identity = await asyncio.shield(asked) if asked is not None and can_wait else None
        if identity is None:
            return await self._ask(digest, secret)
        audit.recognise(identity.key_id, identity.project_id)
        return identity

    def forget_all(self) -> None:
        """Ask for each key again, as after one was revoked."""
        self._known, self._asked = OrderedDict(), {}

    async def _ask(self, digest: bytes, secret: str) -> Identity:
        # What is found in these is not noted in those that are there after ``forget_all``.
        known, asked = self._known, self._asked
        until = self._clock() + REMEMBERED_SECONDS
        found: asyncio.Future[Identity | None] = asyncio.get_running_loop().create_future()
        asked[digest] = (until, found)
        try:
            identity = await run_in_threadpool(authenticate, self._database, self._pepper, secret)
        except AWAY as error:
            found.set_exception(error)
            found.exception()  # nobody may have waited for it
            raise
        else:
            found.set_result(identity)
            known[digest] = (until, identity)
            known.move_to_end(digest)
            if len(known) > MOST_REMEMBERED:
                known.popitem(last=False)
            return identity
        finally:
            if not found.done():
                # A key that is no good is told of by each who shows it.
                found.set_result(None)
            if asked.get(digest) == (until, found):
                del asked[digest]
