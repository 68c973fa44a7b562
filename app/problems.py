"""The one error body, and how every kind of failure becomes it."""

import errno
from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from obstore.exceptions import BaseError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Match
from structlog import get_logger

from app.db.session import AWAY
from app.errors import (
    BadRequest,
    HubNotFound,
    InvalidPayload,
    MethodNotAllowed,
    NotFound,
    Problem,
    RangeNotSatisfiable,
    RateLimited,
    ServiceError,
    TooMany,
    TooSlow,
    Unauthorized,
    Unavailable,
)
from app.hardening import secure
from app.services.explanations import explain, explain_value

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class ProblemItem(BaseModel):
    """One thing that is wrong with a payload."""

    pointer: str = Field(description="JSON pointer (RFC 6901) into the payload.")
    code: str
    message: str


class ErrorSummary(BaseModel):
    """The same error in the shape that OpenAI's clients read."""

    message: str
    type: str
    code: str
    param: str | None


class ProblemBody(BaseModel):
    """What every error answers (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path that was asked for.")
    request_id: str
    errors: list[ProblemItem]
    error: ErrorSummary


def install(app: FastAPI) -> None:
    """Make every failure of ``app`` answer with the one body."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _client_gone)
    for away in AWAY:
        app.add_exception_handler(away, _database_away)
    app.add_exception_handler(BaseError, _storage_away)
    app.add_exception_handler(OSError, _system_failed)
    app.add_exception_handler(Exception, _unexpected)


def respond(
    request: Request, error: ServiceError, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Answer a request with an error."""
    is_clients = error.status < HTTPStatus.INTERNAL_SERVER_ERROR
    request_id: str = request.state.request_id
    problems = error.problems if isinstance(error, InvalidPayload) else []
    body = ProblemBody(
        type=f"urn:stillhouse:problem:{error.code}",
        title=error.title,
        status=error.status,
        detail=str(error),
        instance=request.url.path,
        request_id=request_id,
        errors=[ProblemItem(**asdict(problem)) for problem in problems],
        error=ErrorSummary(
            message=str(error),
            type="invalid_request_error" if is_clients else "server_error",
            code=error.code,
            param=error.param,
        ),
    )
    # OpenAI's clients would otherwise retry a 409; what came too fast or too slowly they should.
    is_pace = isinstance(error, RateLimited | TooSlow)
    retry = {"x-should-retry": str(is_pace).lower()} if is_clients else {}
    response = JSONResponse(
        body.model_dump(),
        error.status,
        {**(headers or {}), **_headers(error), **retry, "X-Request-Id": request_id},
        media_type=MEDIA_TYPE,
    )
    # Here too: what nobody foresaw is answered outside of all that would add them.
    secure(request.scope, response.headers)
    return response


def _service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)  # noqa: S101 (for the type checker)
    return respond(request, error)


def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (for the type checker)
    errors = error.errors()
    elsewhere = [one for one in errors if one["loc"][0] != "body"]
    if elsewhere:
        where, name = elsewhere[0]["loc"][:2]
        message = f"the {where} parameter {name!r}: {explain_value(elsewhere[0])}"
        return respond(request, BadRequest(message, param=str(name)))
    body = request.scope["route"].body_field
    in_body = [{**one, "loc": one["loc"][1:]} for one in errors]
    if isinstance(in_body[0]["input"], bytes):
        message = "the body needs the header `Content-Type: application/json`"
        return respond(request, InvalidPayload([Problem("", "content_type", message)]))
    return respond(request, InvalidPayload(explain(body.field_info.annotation, in_body)))


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 (for the type checker)
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return respond(request, NotFound("nothing is at this path; /openapi.json lists it all"))
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(_allowed_methods(request))
            message = f"given {request.method}; expected {allowed}"
            return respond(request, MethodNotAllowed(message), {"Allow": allowed})
        case _:
            return respond(request, BadRequest(str(error.detail)))


def _allowed_methods(request: Request) -> list[str]:
    """Ask every route: Starlette itself names the methods of the first that has the path."""
    return [
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def _client_gone(request: Request, _error: Exception) -> JSONResponse:
    return respond(request, BadRequest("the client went away before its request was whole"))


def _database_away(request: Request, error: Exception) -> JSONResponse:
    log.error("database_away", reason=type(error).__name__)
    return respond(request, Unavailable("the database does not answer; try again soon"))


def _storage_away(request: Request, error: Exception) -> JSONResponse:
    log.error("storage_away", reason=type(error).__name__)
    return respond(request, Unavailable("the storage does not answer; try again soon"))


def _system_failed(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        log.error("disk_full", reason=str(error))
        return respond(request, Unavailable("the service has no room on its disk; try again later"))
    return _unexpected(request, error)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected_error", request_id=request.state.request_id, exc_info=error)
    return respond(request, ServiceError("something went wrong inside; the log says what"))


def _headers(error: ServiceError) -> dict[str, str]:
    headers = {}
    match error:
        case Unauthorized():
            headers["WWW-Authenticate"] = "Bearer"
        case RangeNotSatisfiable():
            headers["Content-Range"] = f"bytes */{error.size}"
        case HubNotFound():
            headers["X-Error-Code"] = error.hub_code
        case TooSlow():
            # The rest of the body would else be awaited before the next request.
            headers["Connection"] = "close"
        case TooMany() | Unavailable():
            headers["Retry-After"] = str(error.retry_after_seconds)
    return headers
