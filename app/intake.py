"""What every request goes through before its route: an id, a log line, limits to its body."""

import re
import time

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog import get_logger
from structlog.contextvars import bound_contextvars
from uuid_utils import uuid7

from app import problems
from app.errors import BadRequest, ServiceError, TooLarge
from app.gate import Gate, caller_of
from app.hardening import secure
from app.metrics import Metrics
from app.pace import paced
from app.services.audit import Caller, acting
from app.services.payloads import check_json

log = get_logger(__name__)

MOST_BODY_BYTES = 1024 * 1024
MOST_BYTES_AT_ONCE = 64 * 1024
BROKEN_OFF = BadRequest("the client went away before its request was whole")
STREAMED = re.compile(r"POST (/v1/files|/v1/uploads/[^/]+/parts)")
"""Routes that read their body themselves, piece by piece."""

SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Intake:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, gate: Gate, metrics: Metrics) -> None:
        self._app = app
        self._gate = gate
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if SANE_ID.fullmatch(asked) else str(uuid7())
        scope.setdefault("state", {})["request_id"] = request_id
        caller = caller_of(scope, request_id)
        status, start = 500, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers.update(scope["state"].get("rate_headers", {}))
                secure(scope, headers)
            await send(message)

        with bound_contextvars(request_id=request_id), acting(caller):
            try:
                with self._metrics.in_progress.track_inprogress():
                    await self._admit(scope, receive, send_with_id, caller)
            finally:
                self._gate.answered(scope, caller, status)
                seconds = time.perf_counter() - start
                route = getattr(scope.get("route"), "path", None)
                self._metrics.answered(scope["method"], route, status, seconds)
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    seconds=round(seconds, 4),
                    **_job(scope),
                )

    async def _admit(self, scope: Scope, receive: Receive, send: Send, caller: Caller) -> None:
        try:
            await self._gate.admit(scope, caller)
            if "\0" in scope["path"] or b"%00" in scope["query_string"]:
                raise BadRequest("the address has a NUL in it")
            if not STREAMED.fullmatch(f"{scope['method']} {scope['path']}"):
                body = await _whole(paced(receive))
                receive = _again(await self._checked(scope, body), receive)
        except ClientDisconnect:
            await problems.respond(Request(scope), BROKEN_OFF)(scope, receive, send)
            return
        except ServiceError as error:
            await problems.respond(Request(scope), error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _checked(self, scope: Scope, body: bytes) -> bytes:
        """Return a body that is the JSON that is taken; none where nobody is going to read it."""
        if not body or not _is_taken(scope):
            return b""
        if len(body) <= MOST_BYTES_AT_ONCE:
            check_json(body)
        else:
            # It takes a while: not of a stranger, and not while all others wait.
            await self._gate.require_known(scope)
            await run_in_threadpool(check_json, body)
        return body


def _job(scope: Scope) -> dict[str, str]:
    """Return the job that a request's path names, so that all lines of a job can be found."""
    parameters = scope.get("path_params", {})
    return {"job_id": parameters["job_id"]} if "job_id" in parameters else {}


def _is_taken(scope: Scope) -> bool:
    """Tell whether a route is going to read the body, as far as is known before it is asked.

    That there is nothing at an address, or not with that method, or not without a key, is the
    application's to say, and counts before what is wrong with the body.
    """
    has_route = any(route.matches(scope)[0] is Match.FULL for route in scope["app"].routes)
    return has_route and "authorization" in Headers(scope=scope)


async def _whole(receive: Receive) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            # What came until then must not be taken for a whole request.
            raise ClientDisconnect
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
