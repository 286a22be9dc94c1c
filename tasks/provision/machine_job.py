"""What there is to do about one machine: the plain values that its Nornir task is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from labrun.tasks.guest.reason import Reason
from labrun.tasks.provision.driver import MachineSpec
from labrun.tasks.provision.objects import Plan
from labrun.tasks.provision.ready import Limits

__all__ = ["Lease", "Led", "MachineJob"]


class Lease(NamedTuple):
    """Where the address of a host that a DHCP server gives one appears: the NIC, its networks in libvirt.

    On a network that libvirt does not serve, it is only known inside the guest.
    """

    mac: str
    networks: tuple[str, ...]
    is_inside: bool = False
    version: int = 4


class Led(NamedTuple):
    """The host ``by`` which a login to another comes, and its own ``address`` on the ``nic`` to it.

    Both are empty if the address is not a fixed one.
    """

    by: str
    address: str = ""
    nic: str = ""


@dataclass(frozen=True, slots=True)
class MachineJob:
    """What there is to do about one machine, in its Nornir host's data under ``up``.

    ``old`` is the driver and URI of a machine to be replaced, ``timeout`` in seconds, ``limits`` those
    of the stages until it is ready. ``addresses`` are
    those that the guest must have, by MAC; ``lease`` is None for a host with an address of its own.
    ``no_way`` is why it cannot be reached, by the file or because its jump host is not running, empty if it
    can; ``through`` are the jump hosts on the way, ``lost`` collects the hosts of this run that do not get
    ready. ``led`` is how the last jump host leads on; ``seen`` collects the addresses of the hosts that were
    there before and are ready, None for one that waits for another to be configured. ``state`` is the state
    directory; ``recover`` = install the lab's key without a login; ``login_keys`` are those of people.
    ``host_key`` has the addresses and the public key of a machine that is created, else None. ``network`` is
    what ``configure`` sets of its network; ``configures`` = it does so next. ``behind`` names a network of
    the host that still has another subnet than in the file, so that the host cannot be as the file says
    either. ``given`` are the addresses that the file gives the host. ``look`` tells why a login at an address
    fails, given what SSH said. ``home`` is the URI of the hypervisor that has the lease, empty for the
    machine's own.
    """

    spec: MachineSpec
    plan: Plan
    driver: str
    uri: str
    old: tuple[str, str]
    wait: bool
    timeout: float
    limits: Limits
    addresses: Mapping[str, tuple[str, ...]]
    lease: Lease | None
    no_way: str
    state: str
    recover: bool
    login_keys: tuple[str, ...]
    host_key: tuple[Sequence[str], str] | None
    network: Mapping[str, Any]
    configures: bool = False
    behind: str = ""
    given: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    home: str = ""
    lost: set[str] = field(default_factory=set)
    led: Led | None = None
    seen: dict[str, frozenset[str] | None] = field(default_factory=dict)
    look: Callable[[str | None, str], Reason | None] | None = None
