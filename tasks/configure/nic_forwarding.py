"""A router forwards on every one of its NICs: what ``net.ipv4.ip_forward`` does not say of single NICs.

The kernel copies ``ip_forward`` to all NICs when it is written, and each can be changed afterwards. For IPv6
only the value of all NICs counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from labrun.errors import CommandError
from labrun.inventory.kernel_values import path_of
from labrun.inventory.model import Host
from labrun.tasks.guest.facts import links
from labrun.tasks.guest.facts.sysctl import Winner, winner
from labrun.tasks.guest.shell import Facts, Probe, quote
from labrun.tasks.state.item import Item

__all__ = ["EVERYWHERE", "NicForwarding", "forwarding_nics", "probes"]

EVERYWHERE: Final = "net/ipv4/ip_forward"
_OF_A_NIC: Final = "net/ipv4/conf/{}/forwarding"
_FILES: Final = "/proc/sys/" + _OF_A_NIC.format("*")


def forwarding_nics(host: Host, values: Mapping[str, str]) -> list[str]:
    """Return the MACs of a host's NICs if it is to forward IPv4."""
    forwards = any(path_of(key) == EVERYWHERE and value.strip() == "1" for key, value in values.items())
    return [nic.mac.lower() for nic in host.interfaces if nic.mac] if forwards else []


def probes(macs: Collection[str]) -> tuple[Probe, ...]:
    """Return what has to be read for these NICs."""
    return (links.PROBE, Probe((_FILES,))) if macs else ()


@dataclass(frozen=True, slots=True)
class NicForwarding:
    """The NICs that do not forward now (``off``), and what sets one so at the next boot (``boot``)."""

    off: tuple[str, ...] = ()
    boot: tuple[str, Winner] | None = None

    @classmethod
    def of(
        cls, macs: Collection[str], declared: Collection[str], facts: Facts, files: Mapping[str, str]
    ) -> NicForwarding:
        """Return the state of the NICs with these MACs, without the paths that the lab file sets itself.

        ``files`` are those of sysctl.d as they will be.
        """
        try:
            nics = links.links(facts)
            beneath = {link.mac for link in nics if not link.is_stacked}
            # What stands on a NIC may have its MAC; a VLAN of the lab has one of its own.
            found = [
                link.name
                for link in nics
                if link.mac in macs and not (link.is_stacked and link.mac in beneath)
            ]
        except CommandError:
            return cls()
        paths = {name: _OF_A_NIC.format(name) for name in found if _OF_A_NIC.format(name) not in declared}
        off = (
            name for name, path in paths.items() if facts.files.get(f"/proc/sys/{path}", "").strip() == "0"
        )
        at_boot = ((name, winner(path, files)) for name, path in paths.items())
        boot = next(((name, each) for name, each in at_boot if each is not None and each.value == "0"), None)
        return cls(tuple(sorted(off)), boot)

    @property
    def script(self) -> str:
        """Return the lines that have these NICs forward; ``bad`` is 1 where one does not."""
        return "".join(f"echo 1 >{quote(path)} || bad=1\n" for path, _ in self.kernel)

    @property
    def kernel(self) -> tuple[tuple[str, str], ...]:
        """Return the values that the script changes, by path."""
        return tuple(("/proc/sys/" + _OF_A_NIC.format(name), "0") for name in self.off)

    @property
    def commands(self) -> tuple[str, ...]:
        """Return the same for a person to type."""
        return tuple(f"sysctl -w {_key(name)}=1" for name in self.off)

    def judged(self, item: Item) -> Item:
        """Return the item of ``ip_forward``, which itself is or will be 1, with what its NICs do."""
        if item.refused or item.skipped:
            return item
        # What sets all of them at the next boot is noted already.
        if self.boot is not None and item.note is None:
            name, each = self.boot
            why = f"{each.file} sets {_key(name)} = 0"
            shown = replace(item, later={"": f"1, 0 on {name}"})
            if not self.off and item.state == "ok":
                return replace(shown, refused=why)
            item = replace(shown, note=why)
        if self.off and item.have.get("") == "1":
            note = item.note or " and ".join(f"{_key(name)} is 0" for name in self.off)
            item = replace(item, have={"": f"1, 0 on {' '.join(self.off)}"}, note=note)
        return item


def _key(name: str) -> str:
    return _OF_A_NIC.format(name).translate(str.maketrans("./", "/."))
