"""URLs that users name: read strictly, so that nothing after this reads them differently."""

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from app.outbound.addresses import Address, is_public, read_address

Networks = Sequence[IPv4Network | IPv6Network]
Resolve = Callable[[str, int], list[str]]
"""Gives the addresses of a host name; the port is only what the system's resolver asks for."""

PORTS = {"https": 443, "http": 80}
PUBLIC_PORTS = (443, 8443)
LONGEST_NAME = 253

_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?)"
    r"(?P<query>(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?)"
)
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class UnsafeTarget(Exception):
    """A URL that the service does not send to; the text says why, and names no address."""


@dataclass(frozen=True)
class Target:
    """A URL in parts; ``host`` is a name in lower case, or an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None
    """Where the host is an address itself."""

    @property
    def authority(self) -> str:
        """Write the host for a request's ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def read_target(url: str, private: Networks) -> Target:
    """Read a URL and refuse what can be told to be unsafe without asking for its host's addresses.

    Args:
        url: As a user gave it.
        private: The networks, beside the public ones, that the operator allows.

    Raises:
        UnsafeTarget: It is malformed, or not one that is sent to.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise UnsafeTarget(
            "expected https://HOST/PATH in plain ASCII, with no user, fragment or zone"
        )
    scheme, host = match["scheme"], match["host"].lower()
    port = int(match["port"] or PORTS[scheme])
    address = read_address(host.strip("[]"))
    if address is None:
        _check_name(host)
    target = Target(
        scheme=scheme,
        host=host if address is None else str(address),
        port=port,
        path=(match["path"] or "/") + match["query"],
        address=address,
    )
    if address is not None:
        _check(target, address, private)
    elif not private:
        _check_public_rules(target)
    return target


def addresses_of(target: Target, private: Networks, resolve: Resolve) -> list[Address]:
    """Ask once for a target's addresses, and refuse it unless every one may be sent to.

    Raises:
        UnsafeTarget: One may not, or there is none.
        OSError: The name does not resolve.
    """
    if target.address is not None:
        found = [target.address]
    else:
        found = [ip_address(text) for text in resolve(target.host, target.port)]
    if not found:
        raise UnsafeTarget("the name has no address")
    for address in found:
        _check(target, address, private)
    return found


def system_resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver; the one place where names are resolved."""
    # As bytes: Python would apply its own notion of international names to text.
    found = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _check_name(host: str) -> None:
    labels = host.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(host) > LONGEST_NAME:
        raise UnsafeTarget(
            "the host is neither a name nor an address in its usual form; expected "
            "letters, digits, hyphens and single dots between them"
        )
    # Other readers take a name that ends in a number for an address: decimal, octal, hexadecimal.
    if _NUMBER.fullmatch(labels[-1]):
        raise UnsafeTarget("the host is a number; expected an address as four decimal numbers")


def _check(target: Target, address: Address, private: Networks) -> None:
    if any(address in network for network in private):
        return
    if not is_public(address):
        raise UnsafeTarget("the host's address is not on the public internet")
    _check_public_rules(target)


def _check_public_rules(target: Target) -> None:
    if target.scheme != "https":
        raise UnsafeTarget("given http; expected https")
    if target.port not in PUBLIC_PORTS:
        allowed = " or ".join(map(str, PUBLIC_PORTS))
        raise UnsafeTarget(f"given port {target.port}; expected {allowed}")
    if target.address is None and "." not in target.host:
        raise UnsafeTarget("the host is a name without a domain; expected a public one")
