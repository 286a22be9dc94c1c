"""Filters that the hypervisor enforces on NICs: libvirt nwfilters, with name and UUID derived from the lab.

Their rules match frames (ebtables). Rules for TCP alone would become iptables rules, which see no bridged
packet unless the whole hypervisor passes bridged traffic to iptables.
"""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from labrun.errors import ForeignObjectError
from labrun.hypervisor import translated
from labrun.inventory.model import Lab
from labrun.inventory.traffic import Filter, FilterRule

__all__ = [
    "FilterPlan",
    "FilterSpec",
    "apply_filter",
    "filter_spec",
    "observe_filters",
    "plan_filter",
    "remove_filter",
]

# An nwfilter has no metadata, so this UUID, derived from its name, identifies the owner.
_NAMESPACE = uuid.UUID("5b1f8a52-7c0e-5d64-9c5e-6c6162727566")
_FRAMES = {
    "all": (("mac", ""),),
    "arp": (("arp", ""),),
    "ipv4": (("ip", ""),),
    "ipv6": (("ipv6", ""),),
    "icmp": (("ip", "icmp"),),
    "icmpv6": (("ipv6", "icmpv6"),),
    "tcp": (("ip", "tcp"), ("ipv6", "tcp")),
    "udp": (("ip", "udp"), ("ipv6", "udp")),
}


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """One filter as libvirt should have it; ``rules`` in words, in order: ``drop out ip tcp 80``."""

    lab: str
    name: str
    full_name: str
    rules: tuple[str, ...]

    @property
    def uuid(self) -> str:
        """Return the UUID that identifies the filter as this lab's."""
        return _uuid(self.full_name)

    @property
    def xml(self) -> str:
        """Return the filter's libvirt XML."""
        root = ET.Element("filter", {"name": self.full_name, "chain": "root"})
        ET.SubElement(root, "uuid").text = self.uuid
        for text in self.rules:
            action, direction, level, *rest = text.split()
            rule = ET.SubElement(root, "rule", {"action": action, "direction": direction, "priority": "500"})
            keys = dict(zip(("protocol", "dstportstart"), rest, strict=False))
            ET.SubElement(rule, level, keys)
        return ET.tostring(root, encoding="unicode")


@dataclass(frozen=True, slots=True)
class FilterPlan:
    """The action for one filter, and its rules before and after."""

    action: Literal["none", "create", "update"]
    before: tuple[str, ...]
    after: tuple[str, ...]

    def diff(self) -> str | None:
        """Return the differing rules as lines, None if there are none."""
        gone = [f"-{rule}" for rule in self.before if rule not in self.after]
        new = [f"+{rule}" for rule in self.after if rule not in self.before]
        return "\n".join([*gone, *new]) or None


def _uuid(full_name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, full_name))


def filter_spec(lab: Lab, found: Filter) -> FilterSpec:
    """Return the filter that libvirt should have for one entry of ``filters``."""
    rules = tuple(text for rule in found.rules for text in _rules(rule))
    return FilterSpec(lab.name, found.name, lab.libvirt_name(found.name), rules)


def _rules(rule: FilterRule) -> Iterator[str]:
    # libvirt swaps the ports of an "inout" rule for one of its directions, so write two rules instead.
    for direction in ("in", "out") if rule.deny == "inout" else (rule.deny,):
        for level, protocol in _FRAMES[rule.proto]:
            words = ("drop", direction, level, protocol, "" if rule.port is None else str(rule.port))
            yield " ".join(word for word in words if word)


def observe_filters(connection: Any, lab: str) -> dict[str, tuple[str, ...]]:
    """Return the rules of every filter of the lab, by its name in the lab. Raises HypervisorError."""
    import libvirt

    found: dict[str, tuple[str, ...]] = {}
    with translated("filters"):
        try:
            filters = connection.listAllNWFilters()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                raise
            return {}
        for each in filters:
            full = each.name()
            if full.startswith(f"{lab}-") and each.UUIDString() == _uuid(full):
                found[full.removeprefix(f"{lab}-")] = _read(each.XMLDesc(0))
    return found


def _read(xml: str) -> tuple[str, ...]:
    rules = []
    for rule in ET.fromstring(xml).findall("rule"):  # noqa: S314 - libvirt's own output
        words = [rule.get("action", ""), rule.get("direction", "")]
        for match in rule:
            words += [match.tag, match.get("protocol", ""), match.get("dstportstart", "")]
        if len(rule) == 0:
            words.append("all")
        rules.append(" ".join(word for word in words if word))
    return tuple(rules)


def plan_filter(spec: FilterSpec, observed: tuple[str, ...] | None) -> FilterPlan:
    """Return the action for a filter; ``observed`` None = the filter does not exist."""
    if observed is None:
        return FilterPlan("create", (), spec.rules)
    return FilterPlan("none" if observed == spec.rules else "update", observed, spec.rules)


def _own(connection: Any, full_name: str) -> Any:
    """Return the lab's filter of that name, None if there is none; raise if it belongs to another lab."""
    import libvirt

    try:
        found = connection.nwfilterLookupByName(full_name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NWFILTER:
            return None
        raise
    if found.UUIDString() != _uuid(full_name):
        raise ForeignObjectError(
            f"the filter {full_name} exists and is not this lab's",
            step="filter",
            hint=f"rename the filter, or look at it with `virsh nwfilter-dumpxml {full_name}`",
        )
    return found


def apply_filter(connection: Any, spec: FilterSpec) -> None:
    """Define the filter; running machines that use it get the new rules immediately."""
    with translated(f"filter {spec.name}"):
        _own(connection, spec.full_name)
        connection.nwfilterDefineXML(spec.xml)


def remove_filter(connection: Any, lab: str, name: str) -> bool:
    """Undefine a lab's filter; return False if there was none. Raises if it is foreign or in use."""
    with translated(f"filter {name}"):
        found = _own(connection, f"{lab}-{name}")
        if found is None:
            return False
        found.undefine()
    return True
