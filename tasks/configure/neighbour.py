"""Have this machine's kernel resolve a link-layer address again: three messages over netlink.

``ip neigh flush`` does the same, but costs a process per login and a dump of all neighbours.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

__all__ = ["forget_neighbour"]

# linux/rtnetlink.h, linux/netlink.h, linux/neighbour.h
_DELNEIGH, _GETNEIGH, _GETROUTE = 29, 30, 26
_ERROR, _REQUEST, _ACK = 2, 1, 4
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_VIA = 1, 4, 5, 18
_NDA_DST = 1
_PERMANENT = 0x80
_HEADER = struct.Struct("=IHHII")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ROUTE = struct.Struct("=8BI")
_NUMBER = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_LARGEST, _SECONDS = 16 * 1024, 5.0


def forget_neighbour(address: str) -> None:
    """Have this machine's kernel resolve the link-layer address of ``address`` again.

    Does nothing if ``address`` is a name, is not on-link, or root would be required. Acts in the
    network namespace of the calling thread.
    """
    try:
        target = ip_address(address)
    except ValueError:
        return
    with suppress(OSError, struct.error), _netlink() as kernel:
        link = _link_to(kernel, target)
        if link is None:
            return
        where = _attribute(_NDA_DST, target.packed)
        state = _state(_ask(kernel, _GETNEIGH, 0, _neighbour(target, link) + where))
        # Static entries are left alone.
        if state is not None and not state & _PERMANENT:
            _ask(kernel, _DELNEIGH, _ACK, _neighbour(target, link) + where)


def _netlink() -> socket.socket:
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    kernel.settimeout(_SECONDS)
    return kernel


def _link_to(kernel: socket.socket, target: IPv4Address | IPv6Address) -> int | None:
    """Return the index of the link that ``target`` is on; None if there is none or a gateway is between."""
    scope = getattr(target, "scope_id", None)
    wanted = _attribute(_RTA_DST, target.packed)
    if scope is not None:
        wanted += _attribute(_RTA_OIF, _NUMBER.pack(socket.if_nametoindex(scope)))
    head = _ROUTE.pack(_family(target), target.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    answer = _ask(kernel, _GETROUTE, 0, head + wanted)
    attributes = _attributes(answer[_ROUTE.size :]) if answer is not None else {}
    if _RTA_OIF not in attributes or _RTA_GATEWAY in attributes or _RTA_VIA in attributes:
        return None
    return int(_NUMBER.unpack(attributes[_RTA_OIF])[0])


def _state(answer: bytes | None) -> int | None:
    return None if answer is None else int(_NEIGHBOUR.unpack_from(answer)[2])


def _family(target: IPv4Address | IPv6Address) -> int:
    return int(socket.AF_INET if target.version == 4 else socket.AF_INET6)


def _neighbour(target: IPv4Address | IPv6Address, link: int) -> bytes:
    return _NEIGHBOUR.pack(_family(target), link, 0, 0, 0)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(text: bytes) -> dict[int, bytes]:
    attributes = {}
    while len(text) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(text)
        if size < _ATTRIBUTE.size:
            break
        attributes[kind] = text[_ATTRIBUTE.size : size]
        text = text[size + -size % 4 :]
    return attributes


def _ask(kernel: socket.socket, kind: int, flags: int, body: bytes) -> bytes | None:
    """Send one request and return the body of its reply; None if the kernel returns an error."""
    number = int.from_bytes(os.urandom(4), "little")
    kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, number, 0) + body)
    while True:
        answer = kernel.recv(_LARGEST)
        _, what, _, identifier, _ = _HEADER.unpack_from(answer)
        if identifier == number:
            return None if what == _ERROR else answer[_HEADER.size :]
