"""The interface between `up` and the two kinds of machines: a driver's input and its operations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, Protocol

from labrun.ports import Transport
from labrun.tasks.provision.objects import Observed

__all__ = ["Driver", "MachineSpec", "NicSpec", "Seed", "tap_name"]


@dataclass(frozen=True, slots=True)
class NicSpec:
    """One NIC: ``mac`` in lower case, ``source`` and ``filter`` as full libvirt names; empty = no filter.

    ``device`` is the name of its end on the hypervisor, empty where libvirt chooses one; ``model`` what a VM
    sees, empty for virtio.
    """

    mac: str
    source: str
    mtu: int | None = None
    filter: str = ""
    device: str = ""
    model: str = ""


def tap_name(mac: str) -> str:
    """Return the name that labrun gives a NIC's end on the hypervisor, so that rules can go by it."""
    return f"lr{mac.replace(':', '')}"


@dataclass(frozen=True, slots=True)
class Seed:
    """The cloud-init NoCloud data, the same for containers and VMs; each field is a file's full text."""

    meta_data: str
    user_data: str = field(repr=False)
    network_config: str


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """Everything a driver needs to create one machine, as plain values without a lab or a connection.

    ``domain`` is the libvirt name (``<lab>-<host>``), ``memory`` in MiB, ``disk`` and ``disks`` in GiB,
    ``digest`` the SHA-256 of the lab file. ``every_processor`` = a container is not held to ``vcpus``, as its
    lab file has none; ``first_processor`` = where a container's processors begin, counted round all of the
    hypervisor's. ``seed`` is partly secret (host private keys): it never goes
    into logs, rows or libvirt metadata.
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
    every_processor: bool = False
    first_processor: int = 0


class Driver(Protocol):
    """Create, change, start, stop and remove machines of one kind over one libvirt connection.

    Methods raise :class:`labrun.errors.HypervisorError` with host and step. All are safe to repeat if a run
    was killed halfway: partial results are completed or replaced.
    """

    name: Literal["lxc", "qemu"]

    def uri(self) -> str:
        """Return the libvirt URI that this driver works on."""
        ...

    def image_ready(self, image: str) -> bool:
        """Tell whether the image is in place for creating machines."""
        ...

    def prepare_image(self, image: str) -> bool:
        """Upload a built or imported image to the hypervisor; return True if anything was done."""
        ...

    def storage(self, lab: str) -> PurePosixPath:
        """Return the directory on the hypervisor that holds the files of the lab's machines."""
        ...

    def owns(self, lab: str, host: str, path: str) -> bool:
        """Tell whether a path on the hypervisor is, or lies among, the files of the host's machine."""
        ...

    def observe(self, lab: str) -> Mapping[str, Observed]:
        """Return every domain that carries the lab's tag, by host name."""
        ...

    def beyond(self, spec: MachineSpec) -> str:
        """Return what the hypervisor does not have of what the machine asks for, empty if it has all."""
        ...

    def rehearse(self, spec: MachineSpec) -> None:
        """Raise the errors of ``create`` as far as they can be foreseen, without changing anything."""
        ...

    def create(self, spec: MachineSpec) -> None:
        """Create storage, seed and definition; the machine is then defined and shut off.

        Files left without a defined machine are replaced.
        """
        ...

    def retire(self, lab: str, domain: str) -> None:
        """Destroy and undefine a machine that ``create`` then recreates, replacing its files."""
        ...

    def update(self, spec: MachineSpec, changes: tuple[str, ...]) -> bool:
        """Change these settings in place; return False if they require a new machine."""
        ...

    def restart_owed(self, domain: str) -> tuple[str, ...]:
        """Return the settings that take effect only at the next start of a running machine."""
        ...

    def start(self, spec_or_domain: MachineSpec | str) -> None:
        """Start a defined machine; no error if it is running."""
        ...

    def stop(self, domain: str, timeout: float) -> bool:
        """Shut down within ``timeout`` seconds, else power off and return False; no error if it is off."""
        ...

    def remove(self, lab: str, host: str, domain: str, keep: Collection[str] = ()) -> None:
        """Destroy, undefine and delete everything of the machine; missing parts are no error.

        ``keep`` are paths that others use: they stay.
        """
        ...

    def remove_lab(self, lab: str, keep: Collection[str] = ()) -> None:
        """Delete what the lab keeps here apart from machines (pool, directories); they are removed before.

        ``keep`` are paths that others use: they stay, and so does what they lie in.
        """
        ...

    def console_tail(self, domain: str, lines: int = 15) -> str:
        """Return the last lines of the serial console, empty if there are none."""
        ...

    def out_of_band(self, domain: str) -> Transport | None:
        """Return a transport that needs no network (namespaces, guest agent), None if there is none."""
        ...

    def explain(self, spec: MachineSpec) -> list[str]:
        """Return the commands (virsh, qemu-img, mount …) that create the machine by hand."""
        ...

    def explain_change(self, spec: MachineSpec, seen: Observed, changes: tuple[str, ...]) -> list[str]:
        """Return the commands that change these settings of a machine that is there, and make it run."""
        ...
