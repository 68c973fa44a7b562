"""The JSON that this service takes.

It has at most 32 levels and 64-bit integers; it is UTF-8 with finite numbers, and without NUL,
lone surrogates or keys given twice.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from app.errors import BadRequest, InvalidPayload, Problem
from app.services.explanations import pointer_to

MOST_DEPTH = 32
SURROGATE = re.compile("[\ud800-\udfff]")


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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            message = f"the key {name[:80]!r} is given twice in an object"
            raise InvalidPayload([Problem("", "duplicate_key", message)])
        found[name] = value
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
    match value:
        case str() if "\0" in value or SURROGATE.search(value):
            where = pointer_to(path)
            message = "given text with a NUL or a lone surrogate; expected Unicode text"
            yield Problem("" if SURROGATE.search(where) else where, "invalid_text", message)
        case float() if not math.isfinite(value):
            message = f"given {value}; expected a finite number"
            yield Problem(pointer_to(path), "not_finite", message)
        case int() if not -(2**63) <= value < 2**63:
            yield Problem(pointer_to(path), "too_large", "expected an integer of at most 64 bits")


def _too_deep(path: tuple[str | int, ...]) -> Problem:
    return Problem(pointer_to(path), "too_deep", f"expected at most {MOST_DEPTH} levels")
