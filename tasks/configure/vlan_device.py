"""The device of a VLAN, of the families that keep NICs in files: how it differs, and how it is made.

labrun makes it itself, since no manager changes one that is there; the files are for the next boot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from labrun.tasks.configure.nic_profile import Profile
from labrun.tasks.guest.facts.links import links
from labrun.tasks.guest.facts.nics import ManagedNic, Nic
from labrun.tasks.guest.keyfile import Sections
from labrun.tasks.guest.scripts import guest_script, quote, words
from labrun.tasks.guest.shell import Facts

__all__ = [
    "VLAN_DEVICE",
    "DeviceChange",
    "VlanDevice",
    "carriers_first",
    "device_change",
    "on_nics",
    "vlan_in",
]

VLAN_DEVICE = guest_script("vlan_device").rstrip()


@dataclass(frozen=True, slots=True)
class VlanDevice:
    """One VLAN device: its name, the NIC below it, the tag of its frames (1 to 4094), and its MAC."""

    name: str
    below: str
    tag: int
    mac: str

    def __str__(self) -> str:
        return f"VLAN {self.tag} on {self.below}, MAC {self.mac}"


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """What a VLAN's device has to be, and what it is; None = it is not to be there, or is not.

    ``nic`` is the NIC's name in the lab. ``refused`` is the reason if the name is taken by something else.
    """

    nic: str
    want: VlanDevice | None
    have: VlanDevice | None
    refused: str | None = None

    @property
    def diff(self) -> list[str]:
        """Return the difference as lines."""
        if self.want == self.have:
            return []
        return [f"{sign}{each.name}: {each}" for sign, each in (("-", self.have), ("+", self.want)) if each]

    @property
    def apply(self) -> list[str]:
        """Return the lines that make the device what it has to be."""
        return [*_from_to(self.nic, self.have, self.want)]

    @property
    def undo(self) -> list[str]:
        """Return the lines that make it again what it was."""
        return [*_from_to(self.nic, self.want, self.have)]

    @property
    def typed(self) -> list[str]:
        """Return the same as :attr:`apply` for a person to type."""
        have, want = self.have, self.want
        if have == want:
            return []
        if have and want and _keeps(have, want):
            return [f"ip link set dev {quote(want.name)} address {want.mac}"]
        gone = [f"ip link del dev {quote(have.name)}"] if have else []
        if want is None:
            return gone
        made = f"ip link add link {quote(want.below)} name {quote(want.name)} address {want.mac}"
        return [*gone, f"{made} type vlan id {want.tag}"]


def _keeps(have: VlanDevice, want: VlanDevice) -> bool:
    """Tell whether only the MAC differs, which a device changes without going away."""
    return (have.name, have.below, have.tag) == (want.name, want.below, want.tag)


def _from_to(nic: str, have: VlanDevice | None, want: VlanDevice | None) -> Iterator[str]:
    if have == want:
        return
    if have and want and _keeps(have, want):
        yield f"ip link set dev {quote(want.name)} address {want.mac} || bad=1"
        return
    if have:
        yield f"vlan_gone {quote(have.name)} || :"
    if want:
        yield f"vlan_make {words((nic, want.name, want.below, str(want.tag), want.mac))} || bad=1"


def device_change(profile: Profile, facts: Facts, below: str) -> DeviceChange | None:
    """Return what a VLAN's profile makes of its device on the NIC ``below``; None for any other NIC."""
    if not profile.device:
        return None
    have = vlan_in(facts, profile.device)
    want = VlanDevice(profile.device, below, int(profile.sections["vlan"]["id"]), own_mac(profile.sections))
    other = any(link.name == profile.device for link in links(facts)) and have is None
    refused = f"{profile.device} is another device here, and the VLAN needs that name" if other else None
    return DeviceChange(profile.nic, want, have, refused)


def own_mac(sections: Sections) -> str:
    """Return the MAC of a VLAN's own device."""
    return sections["ethernet"]["cloned-mac-address"]


def vlan_in(facts: Facts, name: str) -> VlanDevice | None:
    """Return the VLAN device of this name as the kernel has it, None if there is none."""
    for link in links(facts):
        if link.name == name and link.kind == "vlan":
            return VlanDevice(name, link.on, link.tag, link.mac)
    return None


def on_nics(
    profiles: Sequence[Profile], by_mac: Mapping[str, ManagedNic], nics: Mapping[str, Nic]
) -> dict[str, tuple[str, ...]]:
    """Return the VLAN devices that stand on each NIC, by its interface."""
    found: dict[str, tuple[str, ...]] = {}
    for profile in profiles:
        below = profile.chosen(by_mac, nics) if profile.device and profile.fault is None else None
        if below is not None:
            found[below.interface] = (*found.get(below.interface, ()), profile.device)
    return found


def carriers_first(profiles: Sequence[Profile]) -> list[tuple[int, Profile]]:
    """Return the profiles with their positions, those of VLANs after the NICs that carry them."""
    return sorted(enumerate(profiles), key=lambda each: bool(each[1].device))
