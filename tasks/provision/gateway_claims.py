"""Others on the networks of a lab that answer for the addresses which the hypervisor has there."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from labrun.hypervisor import connect, is_local, networks_of, translated
from labrun.inventory.model import Lab
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.ownership import read_tag
from labrun.tasks.guest.claims import claims_here

__all__ = ["claim_rows"]

_SECONDS = 20


def claim_rows(lab: Lab, uri: str) -> list[Outcome]:
    """Return a failed row for each network on which somebody else has an address of the hypervisor.

    Every cache may still be right. There is no row where this process may not ask: on a remote hypervisor,
    or without root. Raises HypervisorError.
    """
    if not is_local(uri):
        return []
    bridges = dict(_bridges(lab, uri))
    answers = claims_here(list(bridges.values()), _SECONDS) if bridges else {}
    names = {nic.mac: host.name for host in lab.hosts.values() for nic in host.interfaces if nic.mac}
    rows = []
    for name in bridges:
        network = lab.networks[name]
        own = [str(each.ip) for each in (network.hypervisor4, network.hypervisor6) if each is not None]
        who = [
            f"{mac}{f' ({names[mac]})' if mac in names else ''} answers for {address} as well"
            for address in own
            if (mac := answers.get(address)) is not None
        ]
        if who:
            why = f"{'; '.join(who)}: the address is the hypervisor's own"
            rows.append(Outcome(HYPERVISOR, "network", name, Status.FAILED, "running", "running", why))
    return rows


def _bridges(lab: Lab, uri: str) -> Iterator[tuple[str, str]]:
    """Yield the MAC of the bridge of each running network of the lab that has an address."""
    with translated("networks"):
        for network, xml in networks_of(connect(uri)):
            tag = read_tag(xml)
            if tag is None or tag.lab != lab.name or not tag.fits(network.name()) or not network.isActive():
                continue
            name = tag.extra.get("network") or network.name().removeprefix(f"{lab.name}-")
            root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
            mac = root.find("mac")
            if name in lab.networks and mac is not None and root.find("ip") is not None:
                yield name, mac.get("address", "").lower()
