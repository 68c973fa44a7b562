"""How slowly the body of a request may come: with no long silence, and not for ever."""

import asyncio
import time

from starlette.types import Message, Receive

from app.errors import TooSlow

SILENCE_SECONDS = 60.0
"""As nginx and others have it; whoever is away for longer seldom comes back to the connection."""
GRACE_SECONDS = 60.0
"""From then on the average counts: a byte now and then is no silence."""
LEAST_BYTES_PER_SECOND = 8 * 1024
"""A poor mobile line has more: a part of 64 MiB takes it two hours, a JSON body two minutes."""
LONGEST_SECONDS = 6 * 3600.0
"""Enough for 10 GiB at 4 Mbit/s; over a slower line a file comes in parts."""


def paced(receive: Receive) -> Receive:
    """Receive a body so long as it comes fast enough; what counts is the time that is waited.

    Whoever calls what this returns is told of a body that does not by ``TooSlow``.
    """
    waited, received = 0.0, 0

    async def receive_in_time() -> Message:
        nonlocal waited, received
        began = time.monotonic()
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await receive()
        except TimeoutError:
            raise TooSlow(
                f"nothing of the body came for {SILENCE_SECONDS:g} s; send it again"
            ) from None
        waited += time.monotonic() - began
        received += len(message.get("body", b""))
        if message.get("more_body", False):
            _check(waited, received)
        return message

    return receive_in_time


def _check(waited: float, received: int) -> None:
    if waited > GRACE_SECONDS and received < waited * LEAST_BYTES_PER_SECOND:
        raise TooSlow(
            f"{received} bytes came in {waited:.0f} s; expected at least {LEAST_BYTES_PER_SECOND} "
            "a second; send it again over a faster line, a file in smaller parts"
        )
    if waited > LONGEST_SECONDS:
        raise TooSlow(
            f"the body was not whole after {waited:.0f} s, and may take {LONGEST_SECONDS:.0f} s; "
            "send a large file in parts"
        )
