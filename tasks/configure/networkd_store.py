"""Where the settings of a NIC of systemd-networkd are kept: in a network file, or in a file of netplan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from labrun.tasks.configure.networkd_file import PREFIX, device_path, device_text, file_path, file_text
from labrun.tasks.guest.facts.networkd import FOLDER, NetworkdLink, NetworkdState
from labrun.tasks.guest.keyfile import Sections
from labrun.tasks.guest.network_files import entries, listed
from labrun.tasks.guest.shell import Facts

__all__ = ["NetworkFiles", "Stack", "Store"]


@dataclass(frozen=True, slots=True)
class Stack:
    """The NIC below a VLAN, by its name in the lab, and the VLAN devices that stand on a NIC."""

    below: str = ""
    above: tuple[str, ...] = ()


class Store(Protocol):
    """One kind of file that systemd-networkd's settings come from.

    ``prefix`` begins the paths of labrun's files, ``suffix`` ends them; ``folder`` has them and others'.
    ``rebuild`` is the command that makes network files of them, empty if they are some.
    """

    manager: str
    folder: str
    prefix: str
    suffix: str
    mode: str
    rebuild: str
    typed_reload: tuple[str, ...]

    def in_force(self, nic: str, device: str) -> str:
        """Return the network file that systemd-networkd goes by if labrun's settings are in force.

        ``device`` is the VLAN's, empty for any other NIC.
        """
        ...

    def fault(self, sections: Sections) -> str | None:
        """Return why these settings cannot be kept in such a file, None if they can."""
        ...

    def text(self, sections: Sections, link: NetworkdLink, metric: int, stack: Stack) -> str:
        """Return the file of a NIC; ``metric`` is that of the routes for which none is given."""
        ...

    def companions(self, nic: str, sections: Sections) -> Mapping[str, str]:
        """Return what a VLAN has beside its file, by path."""
        ...

    def device_in(self, text: str) -> str:
        """Return the name of the VLAN device that a file of labrun's makes, empty for none."""
        ...

    def definitions(self, facts: Facts, device: str) -> tuple[str, ...]:
        """Return the paths of others' files that say something of this device, which would be added."""
        ...

    def without(self, path: str, device: str) -> str | None:
        """Return the command that takes a device out of another's file, None if a person has to."""
        ...

    def lines(self, text: str) -> list[str]:
        """Return what counts in a file, one line per setting."""
        ...

    def files(self, facts: Facts, state: NetworkdState) -> Mapping[str, str]:
        """Return the files of this kind, and what changes them, by path."""
        ...


class NetworkFiles:
    """Network files in /etc/systemd/network."""

    manager = "systemd-networkd"
    folder = f"{FOLDER}/"
    prefix = PREFIX
    suffix = ".network"
    mode = "0644"
    rebuild = ""
    typed_reload: tuple[str, ...] = ("networkctl reload",)

    def in_force(self, nic: str, device: str) -> str:
        """Return the file itself."""
        return file_path(nic)

    def fault(self, sections: Sections) -> str | None:
        """Return None: a network file can say all that labrun asks of a NIC."""
        return None

    def text(self, sections: Sections, link: NetworkdLink, metric: int, stack: Stack) -> str:
        """Return the network file."""
        return file_text(sections, link.mac, metric, stack.above)

    def companions(self, nic: str, sections: Sections) -> Mapping[str, str]:
        """Return the file of the device."""
        return {device_path(nic): device_text(sections)} if "vlan" in sections else {}

    def device_in(self, text: str) -> str:
        """Return the name in the file of a device."""
        found = (each.value for each in entries(text) if (each.section, each.key) == ("NetDev", "Name"))
        return next(found, "")

    def definitions(self, facts: Facts, device: str) -> tuple[str, ...]:
        """Return nothing: the first file for a device counts alone."""
        return ()

    def without(self, path: str, device: str) -> str | None:
        """Return None: there is nothing to take out."""
        return None

    def lines(self, text: str) -> list[str]:
        """Return its settings with their sections."""
        return listed(text)

    def files(self, facts: Facts, state: NetworkdState) -> Mapping[str, str]:
        """Return all network files and drop-ins, and labrun's files of devices."""
        return state.files
