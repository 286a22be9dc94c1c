"""Where the settings of a NIC of systemd-networkd are kept: in a network file, or in a file of netplan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from labrun.tasks.configure.networkd_file import PREFIX, file_path, file_text
from labrun.tasks.guest.facts.networkd import FOLDER, NetworkdLink, NetworkdState
from labrun.tasks.guest.keyfile import Sections
from labrun.tasks.guest.network_files import listed
from labrun.tasks.guest.shell import Facts

__all__ = ["NetworkFiles", "Store"]


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

    def in_force(self, nic: str) -> str:
        """Return the network file that systemd-networkd goes by if labrun's settings are in force."""
        ...

    def fault(self, sections: Sections) -> str | None:
        """Return why these settings cannot be kept in such a file, None if they can."""
        ...

    def text(self, sections: Sections, link: NetworkdLink, metric: int) -> str:
        """Return the file of a NIC; ``metric`` is that of the routes for which none is given."""
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

    def in_force(self, nic: str) -> str:
        """Return the file itself."""
        return file_path(nic)

    def fault(self, sections: Sections) -> str | None:
        """Return None: a network file can say all that labrun asks of a NIC."""
        return None

    def text(self, sections: Sections, link: NetworkdLink, metric: int) -> str:
        """Return the network file."""
        return file_text(sections, link.mac, metric)

    def lines(self, text: str) -> list[str]:
        """Return its settings with their sections."""
        return listed(text)

    def files(self, facts: Facts, state: NetworkdState) -> Mapping[str, str]:
        """Return all network files and drop-ins."""
        return state.files
