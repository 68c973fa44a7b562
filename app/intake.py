"""What every request goes through before its route: an id, a line in the log, limits to its body.

A JSON body may have 1 MiB, 32 levels and 64-bit integers; it is UTF-8 with finite numbers, and
without NUL, lone surrogates or keys given twice. Files have their own way in.
"""

import json
import math
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog import get_logger
from structlog.contextvars import bound_contextvars
from uuid_utils import uuid7

from app import problems
from app.errors import BadRequest, InvalidPayload, Problem, ServiceError, TooLarge
from app.services.explanations import pointer_to

log = get_logger(__name__)

MOST_BODY_BYTES = 1024 * 1024
MOST_DEPTH = 32
STREAMED = {("POST", "/v1/files")}
"""Routes that read their body themselves, piece by piece."""

SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
SURROGATE = re.compile("[\ud800-\udfff]")


class Intake:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if SANE_ID.fullmatch(asked) else str(uuid7())
        scope.setdefault("state", {})["request_id"] = request_id
        status, start = 500, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        with bound_contextvars(request_id=request_id):
            try:
                await self._admit(scope, receive, send_with_id)
            finally:
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    seconds=round(time.perf_counter() - start, 4),
                )

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if "\0" in scope["path"] or b"%00" in scope["query_string"]:
                raise BadRequest("the address has a NUL in it")
            if (scope["method"], scope["path"]) not in STREAMED:
                body = await _whole(receive)
                if body:
                    check_json(body)
                receive = _again(body, receive)
        except ServiceError as error:
            await problems.respond(Request(scope), error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def check_json(body: bytes) -> None:
    """Refuse a body that is not the JSON that this service takes.

    Raises:
        BadRequest: It is not JSON at all.
        InvalidPayload: It is, with something in it that is not taken.
    """
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise InvalidPayload([_too_deep(())]) from None
    for problem in _oddities(value):
        raise InvalidPayload([problem])


async def _whole(receive: Receive) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_BODY_BYTES:
            raise TooLarge(f"the body has more than {MOST_BODY_BYTES} bytes; send less")
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Give a body that has been read to the route, once; then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for name in found if names.count(name) > 1)
        problem = Problem("", "duplicate_key", f"the key {name[:80]!r} is given twice in an object")
        raise InvalidPayload([problem])
    return found


def _integer(digits: str) -> int:
    # Python refuses to read thousands of digits; the first 21 already show that it is too large.
    return int(digits[:21])


def _oddities(root: object) -> Iterator[Problem]:
    """Look through a value without recursion, which a deep one would exhaust."""
    waiting: list[tuple[tuple[str | int, ...], object]] = [((), root)]
    while waiting:
        path, value = waiting.pop()
        parts: Iterable[tuple[str | int, object]] = ()
        if isinstance(value, dict):
            parts = value.items()
            for key in value:
                yield from _odd_value(path, key)
        elif isinstance(value, list):
            parts = enumerate(value)
        else:
            yield from _odd_value(path, value)
        if len(path) == MOST_DEPTH and isinstance(value, dict | list):
            yield _too_deep(path)
        else:
            waiting += [((*path, name), part) for name, part in parts]


def _odd_value(path: tuple[str | int, ...], value: object) -> Iterator[Problem]:
    where = pointer_to(path)
    match value:
        case str() if "\0" in value or SURROGATE.search(value):
            message = "given text with a NUL or a lone surrogate; expected Unicode text"
            yield Problem("" if SURROGATE.search(where) else where, "invalid_text", message)
        case float() if not math.isfinite(value):
            yield Problem(where, "not_finite", f"given {value}; expected a finite number")
        case int() if not -(2**63) <= value < 2**63:
            yield Problem(where, "too_large", "expected an integer of at most 64 bits")


def _too_deep(path: tuple[str | int, ...]) -> Problem:
    return Problem(pointer_to(path), "too_deep", f"expected at most {MOST_DEPTH} levels")
