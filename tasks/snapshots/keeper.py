"""What a snapshot does with one machine, the same for both kinds, and the plain values it is given."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from labrun.errors import HypervisorError
from labrun.hypervisor import is_local

__all__ = ["Keeper", "Kept", "MachineFolder", "keeper_for", "require_files", "require_local"]


class Kept(NamedTuple):
    """What a snapshot has taken of a machine: bytes of its files, and of its memory (0 without)."""

    size: int
    memory: int = 0


@dataclass(frozen=True, slots=True)
class MachineFolder:
    """One machine and its folder in a snapshot.

    ``folder`` exists while it is restored, and is made while it is saved. ``earlier`` is the folder of the
    same machine in an earlier snapshot, to share files with. ``state`` is the one it is kept in, ``base`` as
    in :class:`labrun.tasks.provision.snapshot_store.KeptMachine`.
    """

    kind: str
    uri: str
    lab: str
    host: str
    domain: str
    state: str
    folder: Path
    base: str = ""
    earlier: Path | None = None


class Keeper(Protocol):
    """Save and restore machines of one kind. Methods raise HypervisorError, LabrunError or OSError."""

    def save(self, machine: MachineFolder) -> Kept:
        """Copy a machine that is paused or off into its folder."""
        ...

    def stage(self, machine: MachineFolder) -> None:
        """Copy what is kept beside the files in use, which stay as they are."""
        ...

    def put_back(self, machine: MachineFolder) -> str:
        """End the machine, and give it the staged files and the kept definition.

        Return its state: ``running`` or ``paused`` if it goes on, or waits, where it was, else ``shut off``.
        """
        ...

    def unstage(self, machine: MachineFolder) -> None:
        """Remove what :meth:`stage` has made; no error if there is nothing."""
        ...


def keeper_for(kind: str) -> Keeper:
    """Return the keeper of machines of a kind (``lxc``, ``qemu``)."""
    if kind == "lxc":
        from labrun.tasks.snapshots.containers import ContainerKeeper

        return ContainerKeeper()
    from labrun.tasks.snapshots.vms import VmKeeper

    return VmKeeper()


def require_files(uri: str, *, several: bool = False) -> None:
    """Raise HypervisorError unless a snapshot of a lab can be made from here.

    Files of VMs may be on another machine, whose root shell copies them there; the list of what a snapshot
    has is here. With ``several``, ``uri`` is one of the lab's hypervisors.
    """
    if not uri or is_local(uri) or (not several and uri.startswith("lxc")):
        require_local(uri, "a snapshot")
    elif os.geteuid() != 0:
        raise HypervisorError(
            "a snapshot needs root here, where the list of its files is",
            step="snapshot",
            hint="run labrun as root",
        )


def require_local(uri: str, what: str) -> None:
    """Raise HypervisorError unless labrun runs as root on the hypervisor itself: it copies its files."""
    if not uri:
        raise HypervisorError(
            f"every host is an existing machine: there is nothing for {what}", step="snapshot"
        )
    if not is_local(uri):
        raise HypervisorError(
            f"{what} needs the files of the machines, and {uri} is remote",
            step="snapshot",
            hint=f"run labrun on {urlsplit(uri).hostname}",
        )
    if os.geteuid() != 0:
        raise HypervisorError(
            f"{what} needs root on the hypervisor", step="snapshot", hint="run labrun as root"
        )
