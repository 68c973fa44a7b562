"""Entity tags as clients name them in `If-Match` and `If-None-Match` (RFC 9110, section 8.8.3)."""

ANY = "*"


def named(header: str) -> frozenset[str]:
    """Return the tags that a header names, each as it is written, or ``ANY``."""
    return frozenset(tag.strip() for tag in header.split(","))


def matches(header: str | None, tag: str) -> bool:
    """Tell whether an ``If-None-Match`` names a tag, weak or strong."""
    if header is None:
        return False
    tags = {one.removeprefix("W/") for one in named(header)}
    return tag in tags or ANY in tags
