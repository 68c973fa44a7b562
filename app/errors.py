"""What a client can cause, each with its HTTP status."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a payload."""

    pointer: str
    """JSON pointer (RFC 6901) into the payload."""
    code: str
    message: str
    """What was given, what is expected, and the nearest valid name."""


class ServiceError(Exception):
    """A request that cannot be served; ``status`` is HTTP's, ``code`` is for programs."""

    status = 500
    code = "internal_error"
    title = "Something went wrong"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidPayload(ServiceError):
    """The payload was understood and cannot work."""

    status = 422
    code = "invalid_payload"
    title = "The payload is not valid"

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].message, param=_as_parameter(problems[0].pointer))
        self.problems = problems


class BadRequest(ServiceError):
    """A header or query parameter makes no sense."""

    status = 400
    code = "bad_request"
    title = "The request is not valid"


class Unauthorized(ServiceError):
    status = 401
    code = "invalid_api_key"
    title = "A valid API key is needed"


class Forbidden(ServiceError):
    status = 403
    code = "missing_scope"
    title = "The API key may not do this"


class NotFound(ServiceError):
    """No such thing, or it is another project's."""

    status = 404
    code = "not_found"
    title = "Not found"


class HubNotFound(NotFound):
    """As ``NotFound``, where a client of the Hugging Face Hub asks; ``hub_code`` is the Hub's."""

    def __init__(self, message: str, hub_code: str) -> None:
        super().__init__(message)
        self.hub_code = hub_code


class MethodNotAllowed(ServiceError):
    status = 405
    code = "method_not_allowed"
    title = "This path does not take this method"


class TooSlow(ServiceError):
    """The body of a request came too slowly, or for too long; its connection is closed."""

    status = 408
    code = "too_slow"
    title = "The request came too slowly"


class Conflict(ServiceError):
    """The thing is in a state that forbids what was asked."""

    status = 409
    code = "wrong_state"
    title = "The state does not allow this"


class PreconditionFailed(ServiceError):
    """The thing is no longer as the client's ``If-Match`` knows it."""

    status = 412
    code = "precondition_failed"
    title = "It has changed meanwhile"


class KeyReused(ServiceError):
    """An ``Idempotency-Key`` that came with another body before."""

    status = 422
    code = "idempotency_key_reused"
    title = "The Idempotency-Key belongs to another request"


class TooLarge(ServiceError):
    status = 413
    code = "too_large"
    title = "The payload is too large"


class RangeNotSatisfiable(ServiceError):
    """The asked bytes lie outside the file; ``size`` is the file's."""

    status = 416
    code = "range_not_satisfiable"
    title = "The file has no such bytes"

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class TooMany(ServiceError):
    """More than is allowed; trying again after ``retry_after_seconds`` may help."""

    status = 429

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class QuotaExceeded(TooMany):
    """A project would have more of something than its quota."""

    code = "quota_exceeded"
    title = "The project has reached a quota"


class RateLimited(TooMany):
    """A key, or an address without one, has asked too often; nothing was done."""

    code = "rate_limited"
    title = "Too many requests"


class Unavailable(ServiceError):
    """A part of the service does not answer; trying again later helps."""

    status = 503
    code = "unavailable"
    title = "The service is not ready"
    retry_after_seconds = 5


def _as_parameter(pointer: str) -> str | None:
    """Write a JSON pointer as OpenAI names parameters: `messages[0].content`."""
    dotted = re.sub(r"/(\d+)(?=/|$)", r"[\1]", pointer).replace("/", ".").removeprefix(".")
    return dotted.replace("~1", "/").replace("~0", "~") or None
