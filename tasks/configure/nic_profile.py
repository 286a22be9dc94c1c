"""What the lab file wants of one NIC, whichever manager the guest has, as a profile of NetworkManager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from labrun.tasks.configure.nic_family import chosen_nic
from labrun.tasks.configure.nm_diff import USUAL_MTU, expected_summary
from labrun.tasks.configure.nm_profiles import profile_path, property_fault
from labrun.tasks.guest.facts.nics import ManagedNic, Nic
from labrun.tasks.guest.keyfile import Sections, intent, parse, render
from labrun.tasks.guest.shell import Facts
from labrun.tasks.state.item import NOTHING, Attributes, Item, Words

__all__ = ["Profile"]

_T = TypeVar("_T", bound=ManagedNic)


@dataclass(frozen=True, slots=True)
class Profile:
    """One NIC's desired profile; ``fault`` is the reason if it is impossible.

    ``device`` is the name of a VLAN's, which the profile makes on the NIC with this ``mac``, empty for any
    other NIC. On an ``existing`` machine, which labrun did not make, ``marks`` identify the NIC if ``mac`` is
    empty, and ``reached_at`` is the address that must stay. ``has_usual_mtu`` is as in
    :func:`~labrun.tasks.configure.nm_diff.meant_mtu`.
    """

    nic: str
    mac: str
    sections: Sections
    existing: bool = False
    device: str = ""
    marks: tuple[str, ...] = ()
    reached_at: str | None = None
    fault: str | None = None
    has_usual_mtu: bool = False

    @property
    def not_there(self) -> str:
        """Return why no NIC is found for the profile, and what brings it back."""
        if not self.mac:
            return "no single NIC here has an address of this network: name its `mac`"
        reason = f"no NIC here has the MAC {self.mac}"
        if self.existing:
            return reason
        return f"{reason}: `labrun up` plugs in one that is missing, `labrun restart` takes back another MAC"

    def unless_held(self, held: Mapping[str, str]) -> Profile:
        """Return the profile, with a fault if another host still has its address (``held``: by address).

        Two machines with one address cut each other off, and from outside they look the same.
        """
        meant = {str(each.ip) for version in (4, 6) for each in intent(self.sections, version).addresses}
        clash = sorted(meant & held.keys())
        if not clash or self.fault is not None:
            return self
        other = held[clash[0]]
        swap = "a swap needs a free address in between"
        fault = f"{other} still has {clash[0]}: configure {other} first; {swap}"
        return replace(self, fault=fault)

    @classmethod
    def plain(cls, raw: Mapping[str, Any]) -> Profile:
        """Return the profile of one NIC without its extra properties."""
        return cls(
            raw["network"],
            raw["mac"],
            raw["settings"],
            raw["existing"],
            raw.get("device", ""),
            tuple(raw.get("marks", ())),
            raw.get("reached_at"),
            has_usual_mtu=raw.get("usual_mtu", False),
        )

    @classmethod
    def of(cls, raw: Mapping[str, Any], facts: Facts) -> Profile:
        """Return the profile of one NIC; extra properties are merged by the guest's nmcli."""
        plain = cls.plain(raw)
        if not raw["properties"]:
            return plain
        faults = (property_fault(name, value) for name, value in raw["properties"].items())
        fault = next(filter(None, faults), None)
        captured = facts.commands.get(f"profile-{plain.nic}")
        if fault is None and (captured is None or captured.status != 0):
            fault = f"nmcli refuses the properties: {captured.last_line if captured else 'no answer'}"
        if fault is not None or captured is None:
            return replace(plain, fault=fault)
        sections = parse(captured.text)
        try:
            expected_summary(sections)
            if "connection" not in sections:
                raise ValueError("there is no connection in it")
        except ValueError as error:
            return replace(plain, fault=f"labrun cannot read what nmcli makes of the properties: {error}")
        return replace(plain, sections=sections)

    def chosen(self, by_mac: Mapping[str, _T], nics: Mapping[str, Nic]) -> _T | None:
        """Return the NIC that the profile is for, among those of its manager; None if there is none."""
        return chosen_nic(self.mac, self.marks, by_mac, nics)

    def resets_mtu(self, mtu: int) -> bool:
        """Tell whether a NIC with this MTU has to get the usual one, which no file brings."""
        return self.has_usual_mtu and "mtu" not in self.sections.get("ethernet", {}) and mtu != USUAL_MTU

    @property
    def path(self) -> str:
        """Return the path of the profile's file."""
        return profile_path(self.nic)

    @property
    def want(self) -> Attributes:
        """Return the profile as it is to be on the disk, and to be in force on the NIC."""
        text = render(self.sections)
        return {"profile": text, "nic": text}

    def refused(self, why: str, *, is_there: bool) -> Item:
        """Return the item of a profile that cannot be; ``is_there`` = its NIC is, in an unknown state."""
        have = NOTHING if is_there else {"nic": ""}
        words = Words(expected_summary(self.sections), "")
        return Item(self.nic, self.want, have, refused=why, words=words)

    def with_uuid(self, uuid: str) -> Sections:
        """Return the sections under this UUID."""
        return {**self.sections, "connection": {**self.sections["connection"], "uuid": uuid}}
