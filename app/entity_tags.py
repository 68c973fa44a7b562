"""Entity tags (RFC 9110, section 8.8.3): of a folder, and as `If-Match` and its kin name them."""

import hashlib
import json
from collections.abc import Iterable

ANY = "*"


def digest_of(files: Iterable[tuple[str, str]]) -> str:
    """Return a sha256 in hex that stands for the paths and sha256s of files, in their order."""
    return hashlib.sha256(json.dumps([*files]).encode()).hexdigest()


def named(header: str) -> frozenset[str]:
    """Return the tags that a header names, each as it is written, or ``ANY``."""
    return frozenset(tag.strip() for tag in header.split(","))


def matches(header: str | None, tag: str) -> bool:
    """Tell whether an ``If-None-Match`` names a tag, weak or strong."""
    if header is None:
        return False
    tags = {one.removeprefix("W/") for one in named(header)}
    return tag in tags or ANY in tags
