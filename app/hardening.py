"""Headers that keep a browser from doing with an answer what it should not."""

from starlette.datastructures import MutableHeaders
from starlette.types import Scope

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise itself."""
HSTS = "max-age=31536000"


def secure(scope: Scope, headers: MutableHeaders) -> None:
    for name, value in HEADERS.items():
        # What a client may ask about again by its entity tag, it must be allowed to keep.
        keeps = name == "Cache-Control" and "etag" in headers
        headers.setdefault(name, "private, no-cache" if keeps else value)
    if scope.get("scheme") == "https":
        headers.setdefault("Strict-Transport-Security", HSTS)
