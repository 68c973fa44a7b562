"""What is known of a request's caller before its route is: how often they come, and from where."""

import asyncio
import hashlib
from collections import OrderedDict
from contextlib import suppress
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address, ip_network

from fastapi.security.utils import get_authorization_scheme_param
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import Scope

from app.config import Settings
from app.db.session import Database
from app.errors import Forbidden, RateLimited, Unauthorized
from app.keyring import Keyring
from app.rates import Rate, Rates
from app.services import key_text
from app.services.audit import Caller
from app.services.refusals import Refusal, Refusals

UNLIMITED = {"/healthz", "/readyz"}
"""A proxy's own checks come from its address, as all strangers behind it do."""
MOST_KNOWN_KEYS = 10_000
WRITE_SECONDS = 60.0
LONGEST_ADDRESS = 64

REFUSED: dict[int, str] = {one.status: one.code for one in (Unauthorized, Forbidden)}


class Gate:
    """Limits how often one caller comes, and counts those that are refused."""

    def __init__(self, settings: Settings, database: Database, keyring: Keyring) -> None:
        self._rates = Rates(settings.broker_url)
        self._per_key = settings.key_requests_per_minute
        self._per_address = settings.address_requests_per_minute
        self._database = database
        self._keyring = keyring
        self.refusals = Refusals()
        # Digests of keys that were good a moment ago: only those count as their own caller, or
        # whoever makes up keys would have a new allowance with each.
        self._known: OrderedDict[bytes, None] = OrderedDict()

    async def admit(self, scope: Scope, caller: Caller) -> None:
        """Count a request, and let its answer tell where its caller stands.

        Raises:
            RateLimited: There were too many.
        """
        if scope["path"] in UNLIMITED:
            return
        digest, key_id = _shown(scope)
        if digest in self._known:
            whose, who, most = "this key", f"key:{key_id}", self._per_key
        else:
            whose, most = "an address without a known key", self._per_address
            who = f"address:{_network(caller.address)}"
        rate = await self._rates.hit(who, most) if most else None
        if rate is None:
            return
        scope["state"]["rate_headers"] = _headers(rate)
        if not rate.is_within:
            raise RateLimited(
                f"{rate.most} requests a minute may come from {whose}, and this one was not "
                f"served; wait {rate.reset_seconds} s",
                retry_after_seconds=rate.reset_seconds,
            )

    async def require_known(self, scope: Scope) -> None:
        """Let only those on who show a key that is good.

        Raises:
            Unauthorized: The key is not.
        """
        digest, _ = _shown(scope)
        if digest not in self._known:
            secret = get_authorization_scheme_param(Headers(scope=scope).get("authorization"))[1]
            await self._keyring.identify(secret)

    def answered(self, scope: Scope, caller: Caller, status: int) -> None:
        """Note how a request was answered: whether its key is good, or was refused."""
        digest, _ = _shown(scope)
        if status in REFUSED:
            self.refusals.count(
                Refusal(REFUSED[status], caller.project_id, caller.key_id, caller.address)
            )
        if status == HTTPStatus.UNAUTHORIZED:
            self._known.pop(digest, None)
        elif caller.key_id is not None:
            self._known[digest] = None
            self._known.move_to_end(digest)
            if len(self._known) > MOST_KNOWN_KEYS:
                self._known.popitem(last=False)

    async def write_refusals(self) -> None:
        """Write what was refused to the audit log, once a minute, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await run_in_threadpool(self.refusals.write, self._database)

    async def close(self) -> None:
        await run_in_threadpool(self.refusals.write, self._database)
        await self._rates.close()


def caller_of(scope: Scope, request_id: str) -> Caller:
    """Tell where a request comes from, by its connection, or by what a trusted proxy says."""
    client = scope.get("client")
    return Caller(request_id, client[0][:LONGEST_ADDRESS] if client else None)


def _shown(scope: Scope) -> tuple[bytes, str | None]:
    """Return the digest of the key that a request shows, and the id in it."""
    header = Headers(scope=scope).get("authorization", "")
    scheme, secret = get_authorization_scheme_param(header)
    key_id = key_text.read(secret) if scheme.lower() == "bearer" else None
    return hashlib.sha256(secret.encode()).digest(), key_id


def _network(address: str | None) -> str:
    """Return whom an address stands for: of IPv6, one subscriber has a whole /64."""
    with suppress(ValueError):
        parsed = ip_address(address or "")
        if isinstance(parsed, IPv6Address):
            if parsed.ipv4_mapped is not None:
                return str(parsed.ipv4_mapped)
            return str(ip_network((int(parsed), 64), strict=False))
    return str(address)


def _headers(rate: Rate) -> dict[str, str]:
    return {
        "RateLimit-Limit": str(rate.most),
        "RateLimit-Remaining": str(rate.remaining),
        "RateLimit-Reset": str(rate.reset_seconds),
    }
