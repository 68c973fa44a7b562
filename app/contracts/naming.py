"""How models are named: `NAME`, `NAME@VERSION`, `NAME@ALIAS`, and the name that a job's are given."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

LONGEST_NAME = 96
"""As the Hugging Face Hub has it."""
TEACHER_SUFFIX = "-teacher"

_NAME = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9._-]{{0,{LONGEST_NAME - 2}}}[A-Za-z0-9])?")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_IN_NO_NAME = re.compile(r"[^A-Za-z0-9._]+")
_TWICE = re.compile(r"[.-]{2,}")
NEVER_ALIASES = {"main", "latest"}
"""Both always are the newest version."""


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name) or _TWICE.search(name) or name.startswith("model-"):
        raise ValueError(
            f"given {name!r}; expected 1 to {LONGEST_NAME} letters, digits, '-', '.' or '_', with "
            "a letter or digit at both ends, no '--' or '..', and not as an id: 'model-'"
        )
    return name


def _check_alias(alias: str) -> str:
    if not _ALIAS.fullmatch(alias) or alias in NEVER_ALIASES:
        raise ValueError(
            f"given {alias!r}; expected 1 to 63 letters, digits, '-' or '_', a letter first, and "
            "neither 'main' nor 'latest', which always are the newest version"
        )
    return alias


ModelName = Annotated[str, StringConstraints(max_length=200), AfterValidator(_check_name)]
Alias = Annotated[str, StringConstraints(max_length=200), AfterValidator(_check_alias)]


@dataclass(frozen=True)
class Reference:
    """A model by its id, or by its name with a version or an alias; the newest with neither."""

    model_id: str | None = None
    name: str | None = None
    version: int | None = None
    alias: str | None = None


def parse(text: str) -> Reference:
    """Read a reference to a model; whatever is none names a model that does not exist."""
    name, at, which = text.partition("@")
    if not at or which in NEVER_ALIASES:
        return Reference(model_id=text) if text.startswith("model-") else Reference(name=name)
    if _VERSION.fullmatch(which):
        return Reference(name=name, version=int(which))
    return Reference(name=name, alias=which)


def published_name(job_name: str | None, role: Literal["teacher", "student"]) -> str | None:
    """Return the name under which a job's model is published; none where the job has none.

    A student has the job's own, in the letters that a model's name may have; the teacher that was
    trained with it the same with `-teacher` behind.
    """
    suffix = TEACHER_SUFFIX if role == "teacher" else ""
    plain = _TWICE.sub("-", _IN_NO_NAME.sub("-", job_name or ""))
    plain = plain.removeprefix("model-")[: LONGEST_NAME - len(TEACHER_SUFFIX)].strip("._-")
    return plain + suffix if plain else None
