"""Turns Pydantic's validation errors into pointers and sentences that say what to write instead."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.errors import Problem

MOST_PROBLEMS = 50
MOST_SHOWN = 80
"""Characters of what was given."""

NO_DEFAULT = "default_factory_not_called"
"""Of a default that depends on other fields, where one of them is wrong: that one is explained."""
NOT_AN_OBJECT = {"model_type", "model_attributes_type", "dict_type"}


def explain(contract: object, errors: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Explain the errors of a payload for ``contract``, each location from the payload's root."""
    told = [error for error in errors if error["type"] != NO_DEFAULT]
    return [_explain(contract, error) for error in told[:MOST_PROBLEMS]]


def explain_value(error: Mapping[str, Any]) -> str:
    """Say what was given and what is expected, of an error without a contract to look into."""
    options = _quoted(error.get("ctx", {}).get("expected", ""))
    given = error["input"]
    if error["type"] in {"literal_error", "enum"} and options:
        return f"given {_shown(given)}; expected {_listed(options)}{_nearest(given, options)}"
    message = str(error["msg"]).replace("Input should", "it should").replace("Value error, ", "")
    return f"given {_shown(given)}; {message[0].lower()}{message[1:]}"


def unknown_name(kind: str, given: str, known: Sequence[str]) -> str:
    """Say that no ``kind`` has that name, with the nearest that there is."""
    names = ", ".join(known) or "none"
    return f"unknown {kind} {_shown(given)}{_nearest(given, known)}; known: {names}"


def pointer_to(parts: Iterable[str | int]) -> str:
    """Write a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def _explain(contract: object, error: Mapping[str, Any]) -> Problem:
    parts, holder, found = _walk(contract, error["loc"])
    kind = error["type"]
    match kind:
        case "extra_forbidden":
            message = _unknown_field(str(parts[-1]), holder)
        case "missing":
            message = f"the field {str(parts[-1])!r} is missing" if parts else "the body is missing"
        case "union_tag_invalid" | "union_tag_not_found":
            tag, options = _tags(found)
            parts = [*parts, tag]
            given = error["ctx"].get("tag")
            message = (
                f"the field {tag!r} is missing; expected {_listed(options)}"
                if given is None
                else f"given {_shown(given)}; expected {_listed(options)}{_nearest(given, options)}"
            )
        case _ if kind in NOT_AN_OBJECT:
            message = f"given {_shown(error['input'])}; expected a JSON object"
        case "value_error":
            message = str(error["msg"]).removeprefix("Value error, ")
        case _:
            message = explain_value(error)
    return Problem(pointer_to(parts), kind, message)


def _walk(
    contract: object, location: Sequence[str | int]
) -> tuple[list[str | int], object, object]:
    """Follow an error's location through the contract.

    Returns the location without the tags of unions, the type that holds its last part, and the
    type that it leads to; None where the contract knows of none.
    """
    parts: list[str | int] = []
    holder, found = None, contract
    for element in location:
        if element == "[key]":
            continue
        variants = _variants(found)
        if len(variants) > 1 and element in variants:
            found = variants[str(element)]
            continue
        parts.append(element)
        holder, found = found, _inside(found, element)
    return parts, holder, found


def _inside(annotation: object, element: str | int) -> object:
    """Return the type of a part of a type: a model's field, or an item of a list or dict."""
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = _fields(annotation).get(str(element))
        return field.annotation if field else None
    arguments = get_args(annotation)
    return arguments[-1] if arguments else None


def _bare(annotation: object) -> object:
    """Take off what does not change what the parts are: ``Annotated`` and ``| None``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if _is_union(annotation):
        kept = [part for part in get_args(annotation) if part is not NoneType]
        if len(kept) == 1:
            return _bare(kept[0])
    return annotation


def _is_union(annotation: object) -> bool:
    return get_origin(annotation) in {Union, UnionType}


def _variants(annotation: object) -> dict[str, type[BaseModel]]:
    """Return the models of a discriminated union, each by its tag; none of any other type."""
    union = _bare(annotation)
    models = [_bare(part) for part in get_args(union)] if _is_union(union) else []
    return {
        tag: model
        for model in models
        if isinstance(model, type) and issubclass(model, BaseModel)
        for _, tag in [_tag(model)]
    }


def _tags(annotation: object) -> tuple[str, list[str]]:
    """Return the name of the field that tells a union's variants apart, and its values."""
    variants = _variants(annotation)
    return _tag(next(iter(variants.values())))[0], list(variants)


def _tag(model: type[BaseModel]) -> tuple[str, str]:
    """Return the field, by its name in JSON, that tells a variant from the others; and its value.

    It is the first that has only one possible value.
    """
    for name, field in _fields(model).items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            return name, str(get_args(field.annotation)[0])
    raise AssertionError(f"{model.__name__} has no field that tells it from others")


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _unknown_field(name: str, holder: object) -> str:
    model = _bare(holder)
    known = list(_fields(model)) if isinstance(model, type) and issubclass(model, BaseModel) else []
    return f"unknown field {_shown(name)}{_nearest(name, known)}; known here: {', '.join(known)}"


def _nearest(given: object, options: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(given), options, n=1)
    return f", perhaps {close[0]!r}" if close else ""


def _listed(options: Sequence[str]) -> str:
    quoted = [repr(option) for option in options]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _quoted(expected: str) -> list[str]:
    """Read the names out of Pydantic's ``'a', 'b' or 'c'``; none where they are not strings."""
    return expected.split("'")[1::2]


def _shown(given: object) -> str:
    text = json.dumps(given, default=str, ensure_ascii=False)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
