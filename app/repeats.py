"""Reads what tells whether a request was sent before: a dependency."""

import hashlib
from typing import Annotated

from fastapi import Depends, Header, Request

from app.services.idempotency import Repeatable


async def repeatable(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            pattern=r"^[\x20-\x7e]{1,255}$",
            description="The same request with the same key makes no second job: it is answered "
            "as before, for 24 hours at least.",
        ),
    ] = None,
) -> Repeatable | None:
    if key is None:
        return None
    return Repeatable(request.url.path, key, hashlib.sha256(await request.body()).hexdigest())


Again = Annotated[Repeatable | None, Depends(repeatable)]
