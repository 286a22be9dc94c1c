"""What the plan of a family whose NICs have files in /etc collects for its script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from labrun.tasks.configure.vlan_device import DeviceChange
from labrun.tasks.guest.scripts import guest_script, words
from labrun.tasks.guest.shell import install
from labrun.tasks.state.item import Item

__all__ = ["SETTLE", "NicWork"]

SETTLE = guest_script("settle_global_ipv6").rstrip()


@dataclass(slots=True)
class NicWork:
    """Files to write and to remove, and what all families do to NICs.

    ``reset_mtu`` are NICs whose file has named an MTU and no longer does. ``devices`` are the lines that make
    and remove VLANs' devices, ``devices_back`` those that take that back.
    """

    items: list[Item] = field(default_factory=list)
    write: dict[str, str] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    await_ipv6: bool = False
    enable_ipv6: list[str] = field(default_factory=list)
    reset_mtu: list[str] = field(default_factory=list)
    gateways: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    devices_back: list[str] = field(default_factory=list)

    def has_device(self, change: DeviceChange) -> None:
        """Add what a VLAN's device needs, and the way back."""
        self.devices += change.apply
        self.devices_back += change.undo

    def in_order_of(self, nics: Iterable[str]) -> None:
        """Put the items in this order: a VLAN is planned after the NIC that carries it."""
        places = {nic: place for place, nic in enumerate(nics)}
        self.items.sort(key=lambda item: places.get(item.name, len(places)))

    def file_lines(self) -> Iterator[str]:
        """Yield what writes and removes the files."""
        yield from (install(path, text, "0644") for path, text in self.write.items())
        if self.remove:
            yield "rm -f " + words(dict.fromkeys(self.remove))
