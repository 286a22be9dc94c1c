"""The address and route of labrun's session to an existing machine, and whether a profile removes them.

A machine made by labrun can be rebuilt; on any other, a change must not lock labrun out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from labrun.inventory.model import Address
from labrun.tasks.guest.facts.nics import Nic
from labrun.tasks.guest.keyfile import Hop, Intent, Sections, intent
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts

__all__ = ["PROBE", "WayIn", "cut_off", "way_in"]

PROBE = guest_script("came")


@dataclass(frozen=True, slots=True)
class WayIn:
    """The session's source address and its address on the machine; None = unknown."""

    client: Address | None
    server: Address | None


def way_in(facts: Facts, reached_at: str | None) -> WayIn:
    """Return the session's addresses from sshd; failing that, the address in the lab file."""
    captured = facts.commands.get("came")
    words = captured.text.split() if captured is not None and captured.status == 0 else []
    if len(words) == 4:
        return WayIn(_address(words[0]), _address(words[2]))
    return WayIn(None, _address(reached_at) if reached_at is not None else None)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def cut_off(way: WayIn, sections: Sections, interface: str, links: Mapping[str, Nic]) -> str | None:
    """Return why activating the profile would cut labrun off, None if it would not."""
    link = links.get(interface)
    if link is None:
        return None
    return _address_lost(way.server, sections, interface, link) or _route_lost(
        way.client, sections, interface, links
    )


def _address_lost(server: Address | None, sections: Sections, interface: str, link: Nic) -> str | None:
    # A link-local address comes with the link, regardless of the profile.
    if server is None or server.is_link_local:
        return None
    meant = intent(sections, server.version)
    # A DHCP lease stays as long as the profile uses DHCP.
    lost = link.lasting if meant.method == "auto" else link.addresses
    kept = any(each.ip == server for each in meant.addresses)
    if kept or not any(each.ip == server for each in lost):
        return None
    return (
        f"labrun reaches this machine at {server}, which the profile would remove from {interface}:"
        " `address` and `networks` must agree"
    )


def _route_lost(
    client: Address | None, sections: Sections, interface: str, links: Mapping[str, Nic]
) -> str | None:
    if client is None:
        return None
    fitting = [
        (hop, name, protocol)
        for name, link in links.items()
        for hop, protocol in link.routes.items()
        if hop.prefix.version == client.version and client in hop.prefix
    ]
    hop, name, protocol = max(fitting, key=lambda each: each[0].prefix.prefixlen, default=(None, "", ""))
    # With another NIC's route left, losing this one only changes the return path.
    if hop is None or hop.via is None or any(other != interface for _, other, _ in fitting):
        return None
    if _stays(hop, protocol, client, intent(sections, client.version)):
        return None
    return (
        f"labrun connects from {client} over the route {hop}, which the profile would remove from {name}:"
        " name it as `gateway` or in `routes`"
    )


def _stays(hop: Hop, protocol: str, client: Address, meant: Intent) -> bool:
    if any(client in each.prefix for each in meant.routes if each.prefix.version == client.version):
        return True
    announced = meant.method == "auto" and protocol in ("dhcp", "ra")
    return announced and (hop.prefix.prefixlen > 0 or meant.keeps_announced_default)
