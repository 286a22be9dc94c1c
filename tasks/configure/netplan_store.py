"""Settings of a NIC as netplan keeps them, for a guest whose netplan has systemd-networkd carry them out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labrun.bounded import SETTINGS_LINES, require_lines
from labrun.tasks.guest.facts.networkd import NetworkdLink, NetworkdState
from labrun.tasks.guest.keyfile import Intent, Sections, intent
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe

if TYPE_CHECKING:
    from labrun.tasks.configure.networkd_store import Stack

__all__ = ["CLOUD_INIT", "GENERATED", "VLANS", "NetplanFiles"]

VLANS = Probe(script=guest_script("netplan_vlans"))
"""Asks which files define VLANs; those of others may hold secrets, and are not read."""
CLOUD_INIT = "/etc/netplan/50-cloud-init.yaml"
_NOTHING = Captured("", 127)

GENERATED = "/run/systemd/network/10-netplan-"
"""How the paths of the network files begin that netplan makes."""

_FOLDER = "/etc/netplan/"
_NEEDS_METRIC = "netplan gives the route to a NIC's own subnet no metric: one NIC per network, or no netplan"
_NO_CHOICE = "netplan cannot leave out the default that routers announce: fixed IPv6 addresses, or no netplan"


class NetplanFiles:
    """Files in /etc/netplan, one per NIC.

    Of the network files that netplan makes of all definitions, the first one by name that is for a NIC
    counts: labrun's begin with a digit, cloud-init's with the name of the NIC.
    """

    manager = "netplan"
    folder = _FOLDER
    prefix = f"{_FOLDER}90-labrun-"
    suffix = ".yaml"
    mode = "0600"
    rebuild = "netplan generate"
    typed_reload: tuple[str, ...] = ("netplan try",)

    def in_force(self, nic: str, device: str) -> str:
        """Return the network file that netplan makes of the definition."""
        return f"{GENERATED}{device or _name(nic)}.network"

    def fault(self, sections: Sections) -> str | None:
        """Return what netplan has no word for, if the NIC needs it."""
        six = sections.get("ipv6", {})
        if "route-metric" in sections.get("ipv4", {}) or "route-metric" in six:
            return _NEEDS_METRIC
        refuses = six.get("never-default") == "true" or six.get("ignore-auto-routes") == "true"
        return _NO_CHOICE if six.get("method") == "auto" and refuses else None

    def text(self, sections: Sections, link: NetworkdLink, metric: int, stack: Stack) -> str:
        """Return the file with the definition of the NIC."""
        if "vlan" in sections:
            return _dumped("vlans", link.interface, _vlan(sections, stack) | _definition(sections, metric))
        # What netplan makes of a MAC asks for the one that the NIC was made with.
        match = {"macaddress": link.mac} if link.has_own_mac else {"name": link.interface}
        # Udev goes by the first link file for the NIC, and cloud-init's names it.
        name = {"set-name": link.interface} if link.has_own_mac else {}
        definition: dict[str, Any] = {"renderer": "networkd", "match": match, **name}
        return _dumped("ethernets", _name(_nic(sections)), definition | _definition(sections, metric))

    def companions(self, nic: str, sections: Sections) -> Mapping[str, str]:
        """Return nothing: the definition says all."""
        return {}

    def device_in(self, text: str) -> str:
        """Return the VLAN that a file of labrun's defines."""
        found = re.search(r"^  vlans:\n    (vlan[0-9-]+):", text, re.MULTILINE)
        return found[1] if found else ""

    def definitions(self, facts: Facts, device: str) -> tuple[str, ...]:
        """Return others' files with a definition of the same VLAN: netplan merges all of one name."""
        text = facts.commands.get("netplan-vlans", _NOTHING).text
        require_lines(text, "netplan", SETTINGS_LINES)
        found = (line.rpartition(":")[0].rpartition(":") for line in text.splitlines())
        paths = (path for path, _, name in found if name.strip(' "') == device)
        return tuple(path for path in dict.fromkeys(paths) if not path.startswith(self.prefix))

    def without(self, path: str, device: str) -> str | None:
        """Return netplan's command for cloud-init's file, which the first boot has written."""
        if path != CLOUD_INIT:
            return None
        hint = path.rpartition("/")[2].removesuffix(".yaml")
        return f"netplan set --origin-hint={hint} network.vlans.{device}=NULL"

    def lines(self, text: str) -> list[str]:
        """Return its lines without comments and blank lines."""
        return [line.rstrip() for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]

    def files(self, facts: Facts, state: NetworkdState) -> Mapping[str, str]:
        """Return labrun's files; others' may hold secrets, and were not read."""
        return {path: text for path, text in facts.files.items() if path.startswith(self.prefix)}


def _dumped(kind: str, name: str, definition: Mapping[str, Any]) -> str:
    import yaml

    tree = {"network": {"version": 2, kind: {name: dict(definition)}}}
    text = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=10_000)
    assert isinstance(text, str)
    return text


def _vlan(sections: Sections, stack: Stack) -> dict[str, Any]:
    """Return what makes a VLAN's device; netplan names the NIC below it as its own definition is named."""
    return {
        "renderer": "networkd",
        "id": int(sections["vlan"]["id"]),
        "link": _name(stack.below),
        "macaddress": sections["ethernet"]["cloned-mac-address"],
    }


def _nic(sections: Sections) -> str:
    return sections["connection"]["id"].removeprefix("labrun-")


def _name(nic: str) -> str:
    return f"05-labrun-{nic}"


def _definition(sections: Sections, metric: int) -> dict[str, Any]:
    four, six = intent(sections, 4), intent(sections, 6)
    mtu = sections.get("ethernet", {}).get("mtu", "")
    settings: dict[str, Any] = {"mtu": int(mtu)} if mtu else {}
    settings["dhcp4"] = four.method == "auto"
    if four.method == "auto":
        unwanted = [sections["ipv4"].get(key) == "true" for key in ("never-default", "ignore-auto-routes")]
        overrides = {"route-metric": metric if four.metric is None else four.metric}
        settings["dhcp4-overrides"] = overrides | ({"use-routes": False} if any(unwanted) else {})
    settings["dhcp6"] = False
    settings["accept-ra"] = six.method == "auto"
    settings["link-local"] = [] if six.method in ("disabled", "ignore") else ["ipv6"]
    addresses = [str(each) for each in (*four.addresses, *six.addresses)]
    if addresses:
        settings["addresses"] = addresses
    routes = [*_routes(four, metric), *_routes(six, metric)]
    if routes:
        settings["routes"] = routes
    servers = [*four.dns, *six.dns]
    searches = [*dict.fromkeys((*four.searches, *six.searches))]
    if servers or searches:
        settings["nameservers"] = {
            key: value for key, value in (("addresses", servers), ("search", searches)) if value
        }
    return settings


def _routes(meant: Intent, metric: int) -> list[dict[str, Any]]:
    found = []
    for hop in sorted(meant.routes, key=lambda hop: (hop.prefix, str(hop.via))):
        to = "default" if hop.prefix.prefixlen == 0 else str(hop.prefix)
        via = {"via": str(hop.via)} if hop.via is not None else {"scope": "link"}
        for own in sorted(meant.metrics.get(hop, ())) or [metric]:
            found.append({"to": to, **via, "metric": own})
    return found
