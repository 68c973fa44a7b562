"""Requests that may be sent again: how one is told from another, and how both are answered."""

import hashlib
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from app.services.idempotency import Answer, Repeatable

CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "It is stored for good.",
        "headers": {
            "Location": {"description": "Its path.", "schema": {"type": "string"}},
            "Idempotency-Replayed": {
                "description": "`true` where the request had been answered before.",
                "schema": {"type": "string"},
            },
        },
    }
}


async def repeatable(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            pattern=r"^[\x20-\x7e]{1,255}$",
            description="The same request with the same key makes nothing a second time: it is "
            "answered as before, for 24 hours at least.",
        ),
    ] = None,
) -> Repeatable | None:
    if key is None:
        return None
    return Repeatable(request.url.path, key, hashlib.sha256(await request.body()).hexdigest())


Again = Annotated[Repeatable | None, Depends(repeatable)]


def created(answer: Answer, path: str) -> Response:
    """Answer with what was made, which is found below ``path``."""
    headers = {"Location": f"{path}/{answer.made_id}"}
    if answer.is_replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response(answer.content, 201, headers, media_type="application/json")
