"""The one error body, and how every kind of failure becomes it."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from structlog import get_logger

from app.errors import (
    BadRequest,
    InvalidPayload,
    Problem,
    RangeNotSatisfiable,
    ServiceError,
    Unauthorized,
    Unavailable,
)
from app.services.explanations import explain, explain_value

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


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
    for away in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(away, _database_away)
    app.add_exception_handler(Exception, _unexpected)


def respond(request: Request, error: ServiceError) -> JSONResponse:
    """Answer a request with an error."""
    problems = error.problems if isinstance(error, InvalidPayload) else []
    return _answer(
        request,
        error.status,
        error.code,
        error.title,
        str(error),
        error.param,
        problems,
        _headers(error),
    )


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
    status = HTTPStatus(error.status_code)
    detail = str(error.detail)
    if status == HTTPStatus.NOT_FOUND:
        detail = "there is nothing at this path; /openapi.json lists all there is"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"given {request.method}; expected {allowed}"
    code = HTTP_CODES.get(status, BadRequest.code)
    return _answer(
        request, status, code, status.phrase, detail, None, [], dict(error.headers or {})
    )


def _database_away(request: Request, error: Exception) -> JSONResponse:
    log.error("database_away", reason=type(error).__name__)
    return respond(request, Unavailable("the database does not answer; try again soon"))


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected_error", request_id=request.state.request_id, exc_info=error)
    return respond(request, ServiceError("something went wrong inside; the log says what"))


def _headers(error: ServiceError) -> dict[str, str]:
    match error:
        case Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case RangeNotSatisfiable():
            return {"Content-Range": f"bytes */{error.size}"}
        case Unavailable():
            return {"Retry-After": str(RETRY_AFTER_SECONDS)}
        case _:
            return {}


def _answer(  # noqa: PLR0913 (what the body holds)
    request: Request,
    status: int,
    code: str,
    title: str,
    detail: str,
    param: str | None,
    problems: list[Problem],
    headers: Mapping[str, str],
) -> JSONResponse:
    is_clients = status < HTTPStatus.INTERNAL_SERVER_ERROR
    kind = "invalid_request_error" if is_clients else "server_error"
    request_id: str = request.state.request_id
    body = ProblemBody(
        type=f"urn:stillhouse:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        request_id=request_id,
        errors=[
            ProblemItem(pointer=one.pointer, code=one.code, message=one.message) for one in problems
        ],
        error=ErrorSummary(message=detail, type=kind, code=code, param=param),
    )
    # OpenAI's clients would otherwise retry a 409.
    retry = {"x-should-retry": "false"} if is_clients else {}
    return JSONResponse(
        body.model_dump(),
        status,
        {**headers, **retry, "X-Request-Id": request_id},
        media_type=MEDIA_TYPE,
    )
