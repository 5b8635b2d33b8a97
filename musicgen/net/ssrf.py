"""IP addresses open to a caller's URLs (SSRF protection)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]
_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")
# The rest of IPv6 is local or unassigned, and Python calls some of it global.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# Public by number, but internal services of Oracle's and Azure's clouds.
_CLOUD_INTERNAL = (IPv4Network("192.0.0.0/24"), IPv4Network("168.63.129.16/32"))


def is_allowed(address: Address, networks: Networks) -> bool:
    """Return whether `address` is public, or in one of the allowed `networks`."""
    return _is_public(address) or any(address in network for network in networks)


def _is_public(address: Address) -> bool:
    """Return whether an address is public, also an IPv4 address inside an IPv6 one."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped
        if address in _NAT64:
            inner = IPv4Address(address.packed[-4:])
        elif address in _6TO4:
            inner = IPv4Address(address.packed[2:6])
        if inner is not None:
            return _is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    elif any(address in network for network in _CLOUD_INTERNAL):
        return False
    return address.is_global and not address.is_multicast
