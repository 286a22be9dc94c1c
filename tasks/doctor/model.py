"""The facts that checks judge, and what a check finds. Nothing here reads anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import PurePosixPath

from labrun.connection_hints import User
from labrun.inventory.model import Lab, Mode
from labrun.outcome import Status
from labrun.tasks.provision.kvm_probe import KvmVerdict

__all__ = [
    "Check",
    "Clock",
    "Facts",
    "Finding",
    "ForwardChain",
    "Kvm",
    "LibvirtNetwork",
    "LibvirtSide",
    "Prefix",
    "Route",
    "Space",
]

Prefix = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: ``what`` is one sentence. ``status`` is ok, warning, failed or skipped.

    ``matters`` says why it matters here, ``mend`` is the command that mends it or, where there is none, what
    to do. ``hypervisor_fault`` = libvirt itself is the reason.
    """

    name: str
    status: Status
    what: str
    matters: str = ""
    mend: str = ""
    hypervisor_fault: bool = False


@dataclass(frozen=True, slots=True)
class LibvirtNetwork:
    """One of libvirt's networks; ``mode`` is the ``<forward>`` mode, empty if there is none.

    ``lab`` is the lab that it belongs to, None for a network of others.
    """

    name: str
    bridge: str
    subnets: tuple[Prefix, ...]
    mode: str
    active: bool
    lab: str | None


@dataclass(frozen=True, slots=True)
class LibvirtSide:
    """What one libvirt URI answered: versions as (major, minor, micro), or why it did not."""

    uri: str
    library: tuple[int, int, int] | None = None
    networks: tuple[LibvirtNetwork, ...] = ()
    running: frozenset[str] = frozenset()
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Kvm:
    """The device, whether this machine's processor can do it, and whether a guest really ran.

    ``flag`` is ``vmx``, ``svm`` or empty. ``verdict`` is None if nobody could try.
    """

    has_device: bool
    flag: str
    verdict: KvmVerdict | None


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the machine that is not a default route; ``is_of_address`` = the kernel made it with one."""

    to: Prefix
    dev: str
    via: str = ""
    is_of_address: bool = False


@dataclass(frozen=True, slots=True)
class ForwardChain:
    """A chain of the packet filter that drops what nothing accepts of the forwarded packets.

    ``tables`` are the names of all tables and chains beside it. ``lets_libvirt_in`` = libvirt's own chains
    are called from it, ``lets_bridges_pass`` = it accepts whatever comes from and goes to ``virbr*``.
    ``is_legacy`` = it is of the older iptables, which nftables does not show.
    """

    family: str
    table: str
    name: str
    chains: frozenset[str]
    lets_libvirt_in: bool = False
    lets_bridges_pass: bool = False
    is_legacy: bool = False


@dataclass(frozen=True, slots=True)
class Space:
    """A directory that grows with labs; sizes in bytes."""

    path: PurePosixPath
    free: int
    holds: str


@dataclass(frozen=True, slots=True)
class Clock:
    """The kernel's clock: whether something keeps it right, and how far off it is at most, in seconds."""

    is_synchronised: bool
    most_off: float


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the checks judge.

    ``lab`` is None without a lab file. ``is_here`` = the hypervisor is this machine; what is only known of
    this machine is empty otherwise. ``forward`` is None where the packet filter cannot be read, for
    ``forward_unread``. ``kernel`` has kernel values by name, without those that the kernel lacks.
    ``devices`` are the network devices by name, and whether each is up. ``python_libvirt`` is the version of
    that package, empty if it is missing. ``keys`` are the kernel keys used by user ID. ``programs`` are the
    paths of the programs that are there. ``has_vlans`` = the kernel has 802.1Q, as far as that can be tried.
    ``containers`` and ``vms`` are the lab's machines that do not run yet, VMs with their MiB of memory.
    """

    lab: Lab | None
    uri: str
    is_here: bool
    user: User
    libvirt: tuple[LibvirtSide, ...]
    kvm: Kvm
    python_libvirt: str
    kernel: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    bridges: frozenset[str] = frozenset()
    devices: Mapping[str, bool] = field(default_factory=dict)
    forward: tuple[ForwardChain, ...] | None = ()
    forward_unread: str = ""
    inotify_used: int = 0
    keys: Mapping[int, int] = field(default_factory=dict)
    memory: int = 0
    spaces: tuple[Space, ...] = ()
    programs: Mapping[str, str] = field(default_factory=dict)
    images: frozenset[str] = frozenset()
    dns_on_every_address: str = ""
    clock: Clock | None = None
    has_vlans: bool = True
    containers: tuple[str, ...] = ()
    vms: Mapping[str, int] = field(default_factory=dict)

    @property
    def networks(self) -> tuple[LibvirtNetwork, ...]:
        """Return libvirt's networks, which its drivers share."""
        return next((side.networks for side in self.libvirt if not side.error), ())

    def modes(self) -> frozenset[Mode]:
        """Return the modes of the lab's networks, none without a lab."""
        return frozenset(network.mode for network in self.lab.networks.values()) if self.lab else frozenset()


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its name, and the judgement. ``only_here`` = nothing is known of another machine."""

    name: str
    judge: Callable[[Facts], Iterable[Finding]]
    only_here: bool = True
