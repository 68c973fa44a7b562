"""How models are named: by an id, or as `NAME`, `NAME@VERSION` or `NAME@ALIAS`."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_NAME = 96
"""As the Hugging Face Hub has it."""
LONGEST_ALIAS = 63
NEVER_ALIASES = {"main", "latest"}
"""Both always are the newest version."""

_NAME = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9._-]{{0,{LONGEST_NAME - 2}}}[A-Za-z0-9])?")
_ALIAS = re.compile(rf"[A-Za-z][A-Za-z0-9_-]{{0,{LONGEST_ALIAS - 1}}}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_IN_NO_NAME = re.compile(r"[^A-Za-z0-9._]+")
_TWICE = re.compile(r"[.-]{2,}")
_ID = "model-"
_AT_NO_END = re.compile(r"(?:[._-]|\.git)+$")
"""The Hub's clients refuse what looks like a repository's address."""
_AT_NO_START = re.compile(rf"^(?:[._-]|{_ID})+")


@dataclass(frozen=True)
class Reference:
    """A version of a name: by its number or an alias, the newest with neither."""

    name: str
    version: int | None = None
    alias: str | None = None


def parse(text: str) -> Reference | None:
    """Read a reference to a version of a name; None for anything else, as the id of a model is."""
    name, at, which = text.partition("@")
    if name.startswith(_ID) or not _NAME.fullmatch(name):
        return None
    if not at or which in NEVER_ALIASES:
        return Reference(name)
    if _VERSION.fullmatch(which):
        return Reference(name, version=int(which))
    return Reference(name, alias=which) if _ALIAS.fullmatch(which) else None


def unknown_model(given: str, names: Sequence[str]) -> str:
    """Say that there is no such model, with the nearest of some names that there are."""
    name = given.partition("@")[0]
    if name in names:
        return (
            f"given {given!r}; the name has no such version or alias, "
            f"GET /v1/models?name={name} lists what it has"
        )
    close = difflib.get_close_matches(name, names, n=1)
    perhaps = f", perhaps {close[0]!r}" if close else ""
    return (
        f"given {given!r}; expected the id of a model that this project has, or NAME, NAME@VERSION "
        f"or NAME@ALIAS{perhaps}"
    )


def published_name(job_name: str | None, role: str) -> str | None:
    """Return the name under which a job's model is published; None where the job gives none.

    A student has the job's own, in the letters that a model's name may have; the teacher that was
    trained with it the same with `-teacher` behind. What would be too long is no name: cut, it
    could be another's.
    """
    suffix = "-teacher" if role == "teacher" else ""
    plain = _TWICE.sub("-", _IN_NO_NAME.sub("-", job_name or ""))
    plain = _AT_NO_END.sub("", _AT_NO_START.sub("", plain))
    name = plain + suffix
    return name if plain and len(name) <= LONGEST_NAME and not name.startswith(_ID) else None
