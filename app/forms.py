"""A form with one file, read into a temporary file as it comes."""

from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.types import Message, Receive

from app.errors import InvalidPayload, Problem, TooLarge, Unavailable
from app.pace import paced

FORM_BYTES = 1024 * 1024
"""What a form may take beside its file."""
MOST_AT_ONCE = 64
"""Each lies on the disk until it has come."""
MOST_OF_ONE_PROJECT = 48
"""Whose clients all are slow, or mean to be, leaves some for the others."""

_arriving: Counter[str] = Counter()
"""By project; of this process, and of its one event loop."""


@dataclass(frozen=True)
class Form:
    content: BinaryIO
    filename: str
    fields: dict[str, str]


@asynccontextmanager
async def receive_form(
    request: Request, project_id: str, field: str, most_bytes: int, others: Collection[str] = ()
) -> AsyncIterator[Form]:
    """Read a form of a project: ``field`` is a file of at most ``most_bytes``, the others are text.

    Raises:
        InvalidPayload: It has no such file, or has something else.
        TooLarge: It has more bytes.
        TooSlow: It does not come at a pace that is taken.
        Unavailable: As many forms are arriving as may be at once.
    """
    if announced_bytes(request) > most_bytes:
        # Known before any of it has come.
        raise _too_large(most_bytes)
    limited = Request(request.scope, _limited(request, most_bytes))
    async with (
        _place(project_id),
        limited.form(max_files=1, max_fields=8, max_part_size=1024) as form,
    ):
        file = form.get(field)
        if not isinstance(file, UploadFile):
            message = f"expected a form (multipart/form-data) with a file in its field {field!r}"
            raise InvalidPayload([Problem(f"/{field}", "missing", message)])
        if file.size is not None and file.size > most_bytes:
            raise _too_large(most_bytes)
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        unknown = [name for name, _ in form.multi_items() if name not in {field, *others}]
        if unknown:
            known = ", ".join([field, *others])
            message = f"given the field {unknown[0][:80]!r}; the form has {known}"
            raise InvalidPayload([Problem(f"/{unknown[0][:80]}", "unknown_field", message)])
        yield Form(file.file, file.filename or "", fields)


def announced_bytes(request: Request) -> int:
    """Return how many bytes the file of a form has at least, by what its headers say."""
    length = request.headers.get("content-length", "0")
    whole = int(length) if length.isascii() and length.isdigit() else 0
    return max(whole - FORM_BYTES, 0)


@asynccontextmanager
async def _place(project_id: str) -> AsyncIterator[None]:
    if _arriving.total() >= MOST_AT_ONCE:
        raise Unavailable(f"{MOST_AT_ONCE} files are arriving; try again soon")
    if _arriving[project_id] >= MOST_OF_ONE_PROJECT:
        most = MOST_OF_ONE_PROJECT
        raise Unavailable(f"{most} files of this project are arriving; try again soon")
    _arriving[project_id] += 1
    try:
        yield
    finally:
        _arriving[project_id] -= 1
        if not _arriving[project_id]:
            del _arriving[project_id]


def form_schema(field: str, others: dict[str, Any]) -> dict[str, Any]:
    """Describe such a form for the OpenAPI document."""
    properties = {field: {"type": "string", "format": "binary"}, **others}
    schema = {
        "type": "object",
        "required": [field],
        "properties": properties,
        "additionalProperties": False,
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def _limited(request: Request, most_bytes: int) -> Receive:
    """Receive a request's body up to the most that is taken."""
    received, body = 0, paced(request.receive)

    async def receive() -> Message:
        nonlocal received
        message = await body()
        received += len(message.get("body", b""))
        if received > most_bytes + FORM_BYTES:
            raise _too_large(most_bytes)
        return message

    return receive


def _too_large(most_bytes: int) -> TooLarge:
    return TooLarge(f"the file has more than {most_bytes} bytes")
