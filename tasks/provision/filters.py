"""Filters that the hypervisor enforces on NICs: libvirt nwfilters, with name and UUID derived from the lab.

Their rules match frames (ebtables). Rules for TCP alone would become iptables rules, which see no bridged
packet unless the whole hypervisor passes bridged traffic to iptables.
"""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from itertools import product
from typing import Any

from labrun.errors import ForeignObjectError
from labrun.hypervisor import translated, unless_gone
from labrun.inventory.model import Lab
from labrun.inventory.topology.flows import ports_text
from labrun.inventory.topology.nic_filters import directions, ends_of
from labrun.inventory.traffic import Filter, FilterRule
from labrun.tasks.provision.domains import nics_of
from labrun.tasks.provision.objects import Observed, Plan, Spec, item_of, plan_of
from labrun.tasks.provision.owned import Kind, find_own
from labrun.tasks.state.item import Words

__all__ = [
    "apply_filter",
    "filter_spec",
    "foreign_filter",
    "observe_filters",
    "own_filters",
    "plan_filter",
    "remove_filter",
    "users_of_filter",
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
# A rule in a table, in the words of its comment.
_WORDS = re.compile(r'comment "[0-9]+ (?:in|out): ([^"]*)"')
_ENDS = {"from": "src", "to": "dst"}
_KIND = Kind(
    "filter",
    "filter",
    "nwfilterLookupByName",
    "VIR_ERR_NO_NWFILTER",
    "rename the filter, or inspect it with",
    "nwfilter-dumpxml",
)


def filter_spec(lab: Lab, found: Filter) -> Spec:
    """Return the filter that libvirt should have for one entry of ``filters``.

    Its rules are one attribute, a line each and in order: ``drop out ip tcp 80``, with addresses
    ``drop in ip tcp 80-90 from 10.0.0.0/24 to 10.0.1.9/32``.
    """
    rules = [text for rule in found.rules for text in _rules(lab, rule)]
    full_name = lab.libvirt_name(found.name)
    return Spec(lab.name, found.name, full_name, {"rules": "\n".join(rules)}, _xml(full_name, rules))


def _uuid(full_name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, full_name))


def _is_own(found: Any) -> bool:
    return bool(found.UUIDString() == _uuid(found.name()))


def _xml(full_name: str, rules: list[str]) -> str:
    root = ET.Element("filter", {"name": full_name, "chain": "root"})
    ET.SubElement(root, "uuid").text = _uuid(full_name)
    for text in rules:
        action, direction, level, *rest = text.split()
        rule = ET.SubElement(root, "rule", {"action": action, "direction": direction, "priority": "500"})
        ET.SubElement(rule, level, dict(_attributes(rest)))
    return ET.tostring(root, encoding="unicode")


def _attributes(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the attributes of a rule's match from the words after its level."""
    ends = {word: words[at + 1] for at, word in enumerate(words) if word in _ENDS}
    what = words[: next((at for at, word in enumerate(words) if word in _ENDS), len(words))]
    if what:
        yield "protocol", what[0]
    for word, side in _ENDS.items():
        if word in ends:
            address, _, length = ends[word].partition("/")
            yield f"{side}ipaddr", address
            yield f"{side}ipmask", length
    if len(what) > 1:
        first, _, last = what[1].partition("-")
        yield "dstportstart", first
        if last:
            yield "dstportend", last


def _rules(lab: Lab, rule: FilterRule) -> Iterator[str]:
    # libvirt swaps the ports of an "inout" rule for one of its directions, so write two rules instead.
    for direction in directions(rule):
        if rule.source is None and rule.to is None:
            for level, protocol in _FRAMES[rule.proto]:
                for port in _ports(rule):
                    yield _words("drop", direction, level, protocol, port)
            continue
        for version, sources, targets in ends_of(lab, rule):
            own = "ip" if version == 4 else "ipv6"
            frames = ((own, ""),) if rule.proto == "all" else _FRAMES[rule.proto]
            for level, protocol in frames:
                for port, source, to in product(_ports(rule), sources or ("",), targets or ("",)):
                    ends = (f"from {source}" if source else "", f"to {to}" if to else "")
                    if level == own:
                        yield _words("drop", direction, level, protocol, port, *ends)


def _words(*words: str) -> str:
    return " ".join(word for word in words if word)


def _ports(rule: FilterRule) -> tuple[str, ...]:
    return tuple(ports_text((each,)) for each in rule.ports) or ("",)


def observe_filters(connection: Any, lab: str) -> dict[str, Observed]:
    """Return every filter of the lab, by its name in the lab. Raises HypervisorError."""
    with translated("filters"):
        found = {}
        for name, each in own_filters(connection).items():
            if name.startswith(f"{lab}-"):
                with unless_gone():
                    found[name.removeprefix(f"{lab}-")] = Observed(name, {"rules": _read(each.XMLDesc(0))})
        return found


def own_filters(connection: Any) -> dict[str, Any]:
    """Return the filters of all labs by their names in libvirt. Raises libvirtError."""
    import libvirt

    try:
        filters = connection.listAllNWFilters()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return {}
    return {each.name(): each for each in filters if _is_own(each)}


def _read(xml: str) -> str:
    rules = []
    for rule in ET.fromstring(xml).findall("rule"):  # noqa: S314 - libvirt's own output
        words = [rule.get("action", ""), rule.get("direction", "")]
        for match in rule:
            first, last = match.get("dstportstart", ""), match.get("dstportend", "")
            port = first if last in ("", first) else f"{first}-{last}"
            words += [match.tag, match.get("protocol", ""), port]
            for word, side in _ENDS.items():
                if address := match.get(f"{side}ipaddr"):
                    words += [word, _prefix(address, match.get(f"{side}ipmask", ""))]
        if len(rule) == 0:
            words.append("all")
        rules.append(" ".join(word for word in words if word))
    return "\n".join(rules)


def _prefix(address: str, mask: str) -> str:
    return str(ip_network(f"{address}/{mask}" if mask else address, strict=False))


def plan_filter(spec: Spec, seen: Observed | None) -> Plan:
    """Return the plan of a filter. A table's rules are shown as the file words them, where these differ."""
    item = item_of(spec.name, spec.want, seen)
    before, after = (side.get("rules", "") for side in (item.have, item.want))
    lines = _difference(_worded(before), _worded(after)) or _difference(*map(str.splitlines, (before, after)))
    return plan_of(replace(item, words=Words(diff="\n".join(lines))))


def _worded(rules: str) -> list[str]:
    if not rules.startswith("table "):
        return rules.splitlines()
    return list(dict.fromkeys(_WORDS.findall(rules)))


def _difference(before: list[str], after: list[str]) -> list[str]:
    gone = [f"-{rule.strip()}" for rule in before if rule not in after]
    return gone + [f"+{rule.strip()}" for rule in after if rule not in before]


def apply_filter(connection: Any, spec: Spec, plan: Plan) -> None:
    """Carry out a plan; running machines that use the filter get its new rules immediately."""
    with translated(f"filter {spec.name}"):
        find_own(connection, _KIND, spec.full_name, _is_own)
        if plan.action != "none":
            connection.nwfilterDefineXML(spec.xml)


def foreign_filter(connection: Any, full_name: str) -> str:
    """Return that a filter of this name is somebody else's, empty if it is not. Raises libvirtError."""
    import libvirt

    try:
        find_own(connection, _KIND, full_name, _is_own)
    except ForeignObjectError as error:
        return f"{error.reason} ({error.hint})"
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
    return ""


def users_of_filter(connection: Any, full_name: str) -> tuple[str, ...]:
    """Return the domains and other filters that refer to a filter. Raises libvirtError.

    ``connection`` None = none. libvirt does not remove a filter that is referred to.
    """
    if connection is None:
        return ()
    found = []
    for domain in connection.listAllDomains():
        with unless_gone():
            if any(nic.filter == full_name for nic in nics_of(domain.XMLDesc(0))):
                found.append(domain.name())
    for other in connection.listAllNWFilters():
        with unless_gone():
            root = ET.fromstring(other.XMLDesc(0))  # noqa: S314 - libvirt's own output
            if any(each.get("filter") == full_name for each in root.findall("filterref")):
                found.append(f"the filter {other.name()}")
    return tuple(found)


def remove_filter(connection: Any, lab: str, full_name: str) -> bool:
    """Undefine a lab's filter; return False if there was none. Raises if it is foreign or in use."""
    with translated(f"filter {full_name.removeprefix(f'{lab}-')}"):
        found = find_own(connection, _KIND, full_name, _is_own)
        if found is not None:
            found.undefine()
    return found is not None
