"""A login that failed, and what the hypervisor knows about the host: the other half of why it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from labrun.inventory.model import Address

__all__ = ["Attempt", "Outside", "Port"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One failed login.

    ``address`` is where it was tried, on the host's NIC ``nic`` (None = no address is known, or it
    is on none of them), from ``client``: the address of the jump host ``through``, else the hypervisor's own
    towards it. ``key`` is the base64 of labrun's public key, ``host_keys`` type and key of each host key on
    record. ``error`` is what SSH said, ``hint`` what to do about it.
    """

    host: str
    error: str
    address: Address | None = None
    nic: str | None = None
    client: Address | None = None
    through: str = ""
    user: str = "root"
    port: int = 22
    key: str = ""
    host_keys: frozenset[str] = frozenset()
    refused: bool = False
    strange_key: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """The hypervisor's end of a NIC, as libvirt and the kernel have it.

    ``bridge`` is what ``device`` is plugged into now, ``meant`` the bridge of its network; empty = none,
    None = not known. ``state`` is the bridge port's (``forwarding``, ``disabled``).
    """

    device: str
    is_up: bool = True
    bridge: str | None = None
    meant: str | None = None
    state: str = ""
    is_isolated: bool = False
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Outside:
    """What the hypervisor knows about one machine.

    ``ports`` are by MAC; a NIC that the machine no longer has is missing, None = not known. ``stopped`` are
    the lab's networks that do not run, ``silent`` those whose DHCP server is gone. ``unaddressed`` has, by
    network, the bridge that lacks the hypervisor's address. ``macs`` are the hypervisor's own on each
    bridge's network. ``answers`` is the MAC that answered for the address, ``answerer`` libvirt's name of
    another machine that has it. ``asked`` has, by MAC, the last line of the DHCP server about a NIC.
    ``killed`` are the processes of a container that were killed since it has used up its ``memory`` (in
    MiB). ``read`` is how much of its disk a VM has read, in bytes, None = not known.
    """

    ports: Mapping[str, Port] | None = None
    stopped: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    unaddressed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    macs: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    answers: str = ""
    answerer: str = ""
    asked: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    killed: tuple[str, ...] = ()
    memory: int = 0
    read: int | None = None
