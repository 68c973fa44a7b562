"""Webhooks' secrets and signatures, as Standard Webhooks has them.

A secret is derived from the pepper, the webhook's id and a number, and stored nowhere: whoever
reads the database cannot sign, there is no key to manage beside the pepper, and changing to a new
secret is counting one up. Whoever has the pepper and an id can sign for that webhook.
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Iterable

_PURPOSE = b"stillhouse webhook secret"


def secret_of(pepper: bytes, webhook_id: str, number: int) -> str:
    """Write a webhook's secret of a number, from 1, as its receiver needs it."""
    return f"whsec_{b64encode(_key(pepper, webhook_id, number)).decode()}"


def headers_of(
    pepper: bytes,
    webhook_id: str,
    numbers: Iterable[int],
    event_id: str,
    timestamp: int,
    body: bytes,
) -> dict[str, str]:
    """Sign a message with each of the live secrets; ``timestamp`` is of now, in seconds."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    digests = (
        hmac.digest(_key(pepper, webhook_id, number), signed, hashlib.sha256) for number in numbers
    )
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{b64encode(digest).decode()}" for digest in digests),
    }


def _key(pepper: bytes, webhook_id: str, number: int) -> bytes:
    parts = b"\0".join([_PURPOSE, webhook_id.encode(), str(number).encode()])
    return hmac.digest(pepper, parts, hashlib.sha256)
