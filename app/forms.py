"""A form with one file, read into a temporary file as it comes."""

from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from app.db.session import Database
from app.errors import InvalidPayload, Problem, TooLarge, Unavailable
from app.pace import paced
from app.room import Turns
from app.services.quotas import most_stored, over_all

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


@dataclass(frozen=True)
class Limits:
    """How many bytes a file of a project may have."""

    project_id: str
    most_bytes: int
    quota_bytes: int | None
    """What the project may have in all."""

    def check(self, size: int) -> None:
        """Refuse a file that has so many bytes, or more.

        Raises:
            QuotaExceeded: They are more than the project may have in all.
            TooLarge: They are more than a file may have.
        """
        if size > self.most_bytes:
            raise _too_large(self.most_bytes)
        if self.quota_bytes is not None and size > self.quota_bytes:
            raise over_all(self.quota_bytes)


async def limits_of(database: Database, project_id: str, most_bytes: int) -> Limits:
    """Read what a project may send, in a file of at most ``most_bytes``."""
    quota = await run_in_threadpool(most_stored, database, project_id)
    return Limits(project_id, most_bytes, quota)


@asynccontextmanager
async def receive_form(
    request: Request, limits: Limits, field: str, others: Collection[str] = ()
) -> AsyncIterator[Form]:
    """Read a form of a project: ``field`` is a file, the others are text.

    What is too large is refused before any of it is read, where the request says its size. The
    form is given once it is its turn to be hashed and stored.

    Raises:
        InvalidPayload: It has no such file, or has something else, or is not in UTF-8.
        QuotaExceeded: It has more bytes than the project may have in all.
        TooLarge: It has more bytes than a file may have.
        TooSlow: It does not come at a pace that is taken.
        ClientDisconnect: The client has gone away meanwhile.
        Unavailable: As many forms are arriving or waiting as may be at once.
    """
    _require_utf_8(request)
    limits.check(_announced_bytes(request))
    limited = Request(request.scope, _limited(request, limits))
    async with (
        _place(limits.project_id),
        limited.form(max_files=1, max_fields=8, max_part_size=1024) as form,
    ):
        file = form.get(field)
        if not isinstance(file, UploadFile):
            message = f"expected a form (multipart/form-data) with a file in its field {field!r}"
            raise InvalidPayload([Problem(f"/{field}", "missing", message)])
        limits.check(file.size or 0)
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        unknown = [name for name, _ in form.multi_items() if name not in {field, *others}]
        if unknown:
            known = ", ".join([field, *others])
            message = f"given the field {unknown[0][:80]!r}; the form has {known}"
            raise InvalidPayload([Problem(f"/{unknown[0][:80]}", "unknown_field", message)])
        turns: Turns = request.app.state.upload_turns
        async with turns.taken(limits.project_id):
            if await request.is_disconnected():
                # It has perhaps sent its form again, which is not to be stored twice.
                raise ClientDisconnect
            yield Form(file.file, file.filename or "", fields)


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


def _require_utf_8(request: Request) -> None:
    """Refuse other codecs: Python has some that raise what nobody foresees, or make half letters.

    Read by what will read it again, to find in it what that will find.
    """
    _, parameters = parse_options_header(request.headers.get("content-type"))
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in {"utf-8", "utf8"}:
        message = f"given a form with the charset {charset[:80]!r}; expected utf-8, or none named"
        raise InvalidPayload([Problem("", "content_type", message)])


def _announced_bytes(request: Request) -> int:
    """Return how many bytes the file of a form has at least, by what its headers say."""
    length = request.headers.get("content-length", "0")
    whole = int(length) if length.isascii() and length.isdigit() else 0
    return whole - FORM_BYTES


def _limited(request: Request, limits: Limits) -> Receive:
    """Receive a request's body up to the most that is taken."""
    received, body = 0, paced(request.receive)

    async def receive() -> Message:
        nonlocal received
        message = await body()
        received += len(message.get("body", b""))
        limits.check(received - FORM_BYTES)
        return message

    return receive


def _too_large(most_bytes: int) -> TooLarge:
    return TooLarge(f"the file has more than {most_bytes} bytes")
