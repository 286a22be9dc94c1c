"""The seam between `up` and the two kinds of machines: what a driver gets and what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

from labrun.ownership import Tag
from labrun.ports import Transport

__all__ = ["Driver", "MachineSpec", "NicSpec", "ObservedMachine", "Seed"]


@dataclass(frozen=True, slots=True)
class NicSpec:
    """One NIC: ``mac`` in lower case, ``source`` and ``filter`` full names in libvirt; no filter is empty."""

    mac: str
    source: str
    mtu: int | None = None
    filter: str = ""


@dataclass(frozen=True, slots=True)
class Seed:
    """The cloud-init NoCloud data, the same for containers and VMs; each is the file's whole text."""

    meta_data: str
    user_data: str = field(repr=False)
    network_config: str


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """Everything a driver needs to make one machine; plain values, no lab, no connection.

    ``domain`` is the libvirt name (``<lab>-<host>``), ``memory`` in MiB, ``disk`` and ``disks`` in
    GiB, ``digest`` the SHA-256 of the lab file, ``seed`` secret in parts (host private keys): it
    never goes into logs, rows or libvirt metadata.
    """

    lab: str
    host: str
    domain: str
    image: str
    memory: int
    vcpus: int
    disk: int
    nics: tuple[NicSpec, ...]
    seed: Seed
    user: str
    disks: tuple[int, ...] = ()
    firmware: Literal["bios", "uefi"] = "bios"
    autostart: bool = False
    digest: str = ""


@dataclass(frozen=True, slots=True)
class ObservedMachine:
    """What libvirt says of a domain with the lab's tag, from its inactive XML.

    ``state`` is ``running``, ``paused``, ``shut off`` or ``crashed``; ``settings`` are the
    comparable properties as text (``memory``, ``vcpus``, ``nics``, ``image``, ``autostart``, …), by
    the same names and in the same form as :meth:`Driver.desired` gives them. ``live`` has those of
    them that a running machine can be told to have otherwise than its definition says. ``tag`` is
    what labrun wrote into the definition.
    """

    domain: str
    host: str
    uuid: str
    state: str
    settings: Mapping[str, str]
    live: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tag: Tag | None = None


class Driver(Protocol):
    """Make, change, start, stop and remove machines of one kind over one libvirt connection.

    Methods raise :class:`labrun.errors.HypervisorError` with host and step. All are safe to repeat
    after a kill in the middle: what is half there is completed or replaced.
    """

    name: Literal["lxc", "qemu"]

    def uri(self) -> str:
        """Return the libvirt URI that this driver works on."""
        ...

    def image_ready(self, image: str) -> bool:
        """Tell whether the image is where machines can be made from it."""
        ...

    def prepare_image(self, image: str) -> bool:
        """Bring a built or imported image to the hypervisor; True when something was done."""
        ...

    def desired(self, spec: MachineSpec) -> Mapping[str, str]:
        """Return the comparable settings that the spec asks for."""
        ...

    def observe(self, lab: str) -> Mapping[str, ObservedMachine]:
        """Return every domain that carries the lab's tag, by host name."""
        ...

    def rehearse(self, spec: MachineSpec) -> None:
        """Raise what ``create`` would raise, as far as that can be known; nothing is touched."""
        ...

    def create(self, spec: MachineSpec) -> None:
        """Make storage, seed and definition; the machine is then defined and shut off.

        Files of a machine that is not defined are replaced.
        """
        ...

    def retire(self, lab: str, domain: str) -> None:
        """Destroy and undefine a machine that ``create`` makes anew: its files are replaced there."""
        ...

    def update(self, spec: MachineSpec, changes: tuple[str, ...]) -> bool:
        """Change these settings in place; False when only a new machine could carry them."""
        ...

    def restart_owed(self, domain: str) -> tuple[str, ...]:
        """Return the settings that a running machine takes only at its next start."""
        ...

    def start(self, spec_or_domain: MachineSpec | str) -> None:
        """Start a defined machine; no error when it runs."""
        ...

    def stop(self, domain: str, timeout: float) -> None:
        """Shut down within ``timeout`` seconds, else pull the plug; no error when it is off."""
        ...

    def remove(self, lab: str, host: str, domain: str) -> None:
        """Destroy, undefine and delete everything of the machine; no error for what is not there."""
        ...

    def remove_lab(self, lab: str) -> None:
        """Delete what the lab as a whole keeps here (pool, directories); machines are gone already."""
        ...

    def console_tail(self, domain: str, lines: int = 15) -> str:
        """Return the last lines of the serial console, empty when there are none."""
        ...

    def out_of_band(self, domain: str) -> Transport | None:
        """Return a way in that needs no network (namespaces, guest agent), None without one."""
        ...

    def explain(self, spec: MachineSpec) -> list[str]:
        """Return the commands (virsh, qemu-img, mount …) a person would type to make it."""
        ...
