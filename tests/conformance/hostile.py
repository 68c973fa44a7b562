"""JSON that somebody sends to break a service: against every route that takes a body."""

import json
from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any

import httpx2
from pydantic import ValidationError

from app.intake import MOST_BODY_BYTES
from app.problems import MEDIA_TYPE, ProblemBody
from tests.conformance.outcome import Outcome
from tests.conformance.service import JOBS, Service

JSON = "application/json"
MEBIBYTE = 1024 * 1024

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \n\t",
    "half an object": b'{"name": ',
    "text after it": b"{} {}",
    "deep lists": b"[" * 100_000,
    "whole deep lists": b"[" * 5_000 + b"]" * 5_000,
    "deep objects": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "33 levels": b'{"name":' + b"[" * 32 + b"]" * 32 + b"}",
    "a key twice": b'{"name": "a", "name": "b"}',
    "a key twice inside": b'{"metadata": {"a": "1", "a": "2"}}',
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"priority": -Infinity}',
    "a huge exponent": b'{"priority": 1e999}',
    "a tiny exponent": b'{"priority": 1e-999}',
    "a huge integer": b'{"priority": ' + b"9" * 5_000 + b"}",
    "one over 64 bits": b'{"priority": 9223372036854775808}',
    "a lone surrogate": b'{"name": "\\ud800"}',
    "a lone surrogate as key": b'{"\\udfff": 1}',
    "surrogates, wrong way round": b'{"name": "\\udc00\\ud800"}',
    "NUL": b'{"name": "a\\u0000b"}',
    "NUL as key": b'{"\\u0000": 1}',
    "a raw NUL": b'{"name": "\0"}',
    "a raw newline": b'{"name": "\n"}',
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "overlong UTF-8": b'{"name": "\xc0\x80"}',
    "a surrogate in UTF-8": b'{"name": "\xed\xa0\x80"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "a long string": b'{"name": "' + b"a" * 1_000_000 + b'"}',
    "many fields": json.dumps({f"field-{number}": 0 for number in range(20_000)}).encode(),
    "many items": b'{"scopes": [' + b"0," * 100_000 + b"0]}",
    "exactly 1 MiB": b'"' + b"a" * (MEBIBYTE - 2) + b'"',
    "1 MiB and a byte": b'"' + b"a" * (MEBIBYTE - 1) + b'"',
    "an unknown field": b'{"no_such_field": 1}',
    "__proto__": b'{"__proto__": {"admin": true}, "constructor": 1}',
    "a comment": b'{"name": "a" /* no */}',
    "single quotes": b"{'name': 'a'}",
    "a trailing comma": b'{"name": "a",}',
    **{f"only {value}": value.encode() for value in ("null", "true", "0", "-0", '"text"', "[]")},
    "an empty object": b"{}",
    "a list of objects": b"[{}]",
}
TYPES = (
    *(JSON, "application/json; charset=utf-16", "application/json; charset=nonsense"),
    *("text/plain", "application/xml", "application/x-www-form-urlencoded"),
    *("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=a"),
    *("nonsense", "", "*/*", "application/vnd.api+json"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e308, 2**63 - 1, -(2**63), 5e-324),
    *("", " ", "a", "0", "null", "../../etc/passwd", "'; DROP TABLE jobs; --", "\u202e", "\ufffe"),
    *("a" * 10_000, "\U0001f600" * 300, "%s%n", "{{7*7}}", "file-" + "0" * 64, "model-x"),
    *([], [[]], [None], [0] * 1_000, {}, {"": ""}, {"a": {"b": {}}}, {"loss": "soft_targets"}),
)


def run(service: Service, num_requests: int, seed: int) -> Outcome:
    """Send so many of them: every raw body first, then mended specs with one thing wrong."""
    outcome = Outcome()
    random = Random(seed)  # noqa: S311 (nothing is kept secret with it)
    with httpx2.Client(base_url=service.served.url, headers=service.headers, timeout=20) as client:
        document = client.get("/openapi.json").json()
        for request in _requests(client, document, service, random):
            if outcome.num_requests >= num_requests:
                break
            _send(client, request, outcome)
    return outcome


def operations_with_bodies(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return method and path of each operation that takes a body."""
    return [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    ]


def wrong_with(answer: httpx2.Response) -> str | None:
    """Say what is wrong with an answer, if anything is."""
    if not answer.is_client_error:
        return f"answered {answer.status_code}" if answer.is_server_error else None
    is_problem = answer.headers.get("content-type") == MEDIA_TYPE
    try:
        body = ProblemBody.model_validate_json(answer.content, strict=True)
    except ValidationError as error:
        return f"not a problem's body: {error}"
    is_good = is_problem and body.status == answer.status_code
    return None if is_good else f"a problem of status {body.status}, {answer.headers}"


def _requests(
    client: httpx2.Client, document: dict[str, Any], service: Service, random: Random
) -> Iterator[httpx2.Request]:
    targets = operations_with_bodies(document)
    job = client.get(f"{JOBS}/{service.names['job_id'][-1]}").json()
    for method, path in targets:
        for body in BODIES.values():
            yield _request(client, (method, path), service, body, JSON)
        for media_type in TYPES:
            yield _request(client, (method, path), service, b'{"name": "a"}', media_type)
        yield _request(client, (method, path), service, _in_pieces(), JSON)
    while True:
        method, path = random.choice([*targets, ("POST", JOBS), ("POST", JOBS)])
        spec = _spoilt(
            job["resolved_spec"] if path == JOBS else {"name": "a", "metadata": {}}, random
        )
        if path == JOBS and random.random() < 0.5:
            path = f"{JOBS}?validate_only=true"
        yield _request(client, (method, path), service, json.dumps(spec).encode(), JSON)


def _request(
    client: httpx2.Client,
    operation: tuple[str, str],
    service: Service,
    body: bytes | Iterator[bytes],
    media_type: str,
) -> httpx2.Request:
    method, path = operation
    names = {name: values[-1] for name, values in service.names.items()}
    extensions = {"operation": f"{method} {path.partition('?')[0]}"}
    return client.build_request(
        method,
        path.format(**names),
        content=body,
        headers={"Content-Type": media_type},
        extensions=extensions,
    )


def _in_pieces() -> Iterator[bytes]:
    """A body without a length, that goes on until somebody says that it is too long."""
    yield b'{"name": "'
    for _ in range(20):
        yield b"a" * 65_536
    yield b'"}'


def _send(client: httpx2.Client, request: httpx2.Request, outcome: Outcome) -> None:
    operation = str(request.extensions["operation"])
    try:
        answer = client.send(request)
    except httpx2.WriteError:
        if int(request.headers.get("content-length", MOST_BODY_BYTES + 1)) <= MOST_BODY_BYTES:
            raise
        # Refused while it was still being sent.
        outcome.count(operation, 413)
        return
    outcome.count(operation, answer.status_code)
    wrong = wrong_with(answer)
    if wrong:
        sent = request.content[:300] if hasattr(request, "_content") else "in pieces"
        outcome.complain(
            f"{operation}: {wrong}", f"{answer.status_code} {answer.text[:500]}\n{sent!r}"
        )


def _spoilt(body: dict[str, Any], random: Random) -> Any:  # noqa: ANN401 (any JSON)
    """Put a hostile value in one place of a body, or an unknown field beside it."""
    spoilt = deepcopy(body)
    holder: Any = spoilt
    places = list(_places(body))
    *path, last = random.choice(places)
    for part in path:
        holder = holder[part]
    if random.random() < 0.1 and isinstance(holder, dict):
        holder["no_such_field"] = random.choice(VALUES)
    else:
        holder[last] = random.choice(VALUES)
    return spoilt


def _places(
    value: dict[str, Any] | list[Any], above: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in parts:
        yield (*above, name)
        if isinstance(part, dict | list):
            yield from _places(part, (*above, name))
