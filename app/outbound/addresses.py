"""Which addresses are anybody's on the internet, and which are somebody's inside."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

INSIDE_V4 = [
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own; some clouds' metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host, reachable from each of its machines
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
]
OUTSIDE_V6 = ip_network("2000::/3")
"""All that is routed globally. So left out: ``::``, loopback, mapped and translated IPv4
(``::ffff:0:0/96``, ``64:ff9b::/96``, ``64:ff9b:1::/48``), discard, unique local, link-local,
site-local, multicast, segment routing."""
INSIDE_V6 = [
    ip_network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4 carries any IPv4 address
        "2620:4f:8000::/48",
        "3fff::/20",
    )
]
_OCTET = r"(?:0|[1-9][0-9]{0,2})"
_DOTTED = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")

Address = IPv4Address | IPv6Address


def is_public(address: Address) -> bool:
    """Tell whether an address is globally routed and stands for no other address."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in INSIDE_V4)
    return (
        address.scope_id is None
        and address in OUTSIDE_V6
        and not any(address in network for network in INSIDE_V6)
    )


def read_address(text: str) -> Address | None:
    """Read an address in its usual form only: no octal, hexadecimal, short form or zone."""
    if not _DOTTED.fullmatch(text) and (":" not in text or "%" in text):
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None
