"""The network file of systemd-networkd that gives a NIC what its profile in the lab asks for."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.tasks.guest.facts.networkd import FOLDER
from labrun.tasks.guest.keyfile import Intent, Sections, intent
from labrun.tasks.guest.network_files import rendered

__all__ = ["PREFIX", "device_path", "device_text", "file_path", "file_text"]

# Of the files that are for a NIC the first by name counts: cloud-init and netplan begin theirs with 10.
PREFIX = f"{FOLDER}/05-labrun-"
_ALL_ZERO = {4: "0.0.0.0/0", 6: "::/0"}

_Section = tuple[str, list[tuple[str, str]]]


def file_path(nic: str) -> str:
    """Return the path of labrun's network file for the NIC of this name."""
    return f"{PREFIX}{nic}.network"


def device_path(nic: str) -> str:
    """Return the path of labrun's file for the device of the VLAN of this name."""
    return f"{PREFIX}{nic}.netdev"


def device_text(sections: Sections) -> str:
    """Return the file that has a VLAN's device made at each boot."""
    name, mac = sections["connection"]["interface-name"], sections["ethernet"]["cloned-mac-address"]
    netdev = [("Name", name), ("Kind", "vlan"), ("MACAddress", mac)]
    return rendered([("NetDev", netdev), ("VLAN", [("Id", sections["vlan"]["id"])])])


def file_text(sections: Sections, mac: str, metric: int, above: tuple[str, ...] = ()) -> str:
    """Return the file for the NIC with this MAC; ``metric`` is that of the routes for which none is given.

    systemd-networkd would give none, and the kernel then prefers no NIC to another. ``above`` are the VLAN
    devices on the NIC. The file of a VLAN is for the device of its name.
    """
    device = sections.get("connection", {}).get("interface-name", "")
    four, six = intent(sections, 4), intent(sections, 6)
    mtu = sections.get("ethernet", {}).get("mtu", "")
    parts: list[_Section] = [
        # A VLAN or bridge on top of the NIC has the same MAC.
        ("Match", [("Name", device)] if device else [("MACAddress", mac), ("Type", "ether")]),
        ("Link", [("MTUBytes", mtu)] if mtu else []),
        ("Network", [*_network(four, six), *(("VLAN", each) for each in sorted(above))]),
    ]
    for meant, version in ((four, 4), (six, 6)):
        own = metric if meant.metric is None else meant.metric
        parts += _addresses(meant, own)
        parts += _routes(meant, version, own)
    parts += _announced(sections, four, six, metric)
    return rendered(parts)


def _network(four: Intent, six: Intent) -> Iterator[tuple[str, str]]:
    yield "DHCP", "ipv4" if four.method == "auto" else "no"
    yield "LinkLocalAddressing", "no" if six.method in ("disabled", "ignore") else "ipv6"
    yield "IPv6AcceptRA", "yes" if six.method == "auto" else "no"
    if six.method == "auto":
        yield "IPv6PrivacyExtensions", "no"
    yield from (("DNS", server) for server in (*four.dns, *six.dns))
    searches = dict.fromkeys((*four.searches, *six.searches))
    if searches:
        yield "Domains", " ".join(searches)


def _addresses(meant: Intent, metric: int) -> Iterator[_Section]:
    for address in dict.fromkeys(meant.addresses):
        yield "Address", [("Address", str(address)), ("RouteMetric", str(metric))]


def _routes(meant: Intent, version: int, metric: int) -> Iterator[_Section]:
    for hop in sorted(meant.routes, key=lambda hop: (hop.prefix, str(hop.via))):
        gateway = [("Gateway", str(hop.via))] if hop.via is not None else []
        target = (
            [] if gateway and str(hop.prefix) == _ALL_ZERO[version] else [("Destination", str(hop.prefix))]
        )
        for own in sorted(meant.metrics.get(hop, ())) or [metric]:
            yield "Route", [*target, *gateway, ("Metric", str(own))]


def _announced(sections: Sections, four: Intent, six: Intent, metric: int) -> Iterator[_Section]:
    """Yield what is made of the routes that a DHCP server or a router announces."""
    if four.method == "auto":
        own = metric if four.metric is None else four.metric
        # Routes to name servers of their own would lead where the routes to their subnet lead.
        settings = [("RouteMetric", str(own)), ("RoutesToDNS", "no")]
        yield "DHCPv4", [*settings, *_refused(sections, 4)]
    if six.method == "auto":
        own = metric if six.metric is None else six.metric
        yield "IPv6AcceptRA", [("RouteMetric", str(own)), *_refused(sections, 6)]


def _refused(sections: Sections, version: int) -> list[tuple[str, str]]:
    settings = sections.get(f"ipv{version}", {})
    if settings.get("ignore-auto-routes") == "true":
        if version == 4:
            return [("UseRoutes", "no"), ("UseGateway", "no")]
        return [("UseGateway", "no"), ("UseRoutePrefix", "no"), ("UseOnLinkPrefix", "no")]
    return [("UseGateway", "no")] if settings.get("never-default") == "true" else []
