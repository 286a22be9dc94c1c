"""The way by which labrun came into an existing machine, and what a profile would take of it.

A machine that labrun made can be made again; of others, no change may close the door behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from labrun.inventory.model import Address
from labrun.tasks.guest.facts.nm import Nic
from labrun.tasks.guest.keyfile import Hop, Intent, Sections, intent
from labrun.tasks.guest.shell import Facts

__all__ = ["PROBE", "WayIn", "cut_off", "way_in"]

# sudo hides the variable from the script, and still has it itself.
PROBE = """\
came() {
[ -n "${SSH_CONNECTION-}" ] && printf '%s\\n' "$SSH_CONNECTION" && return
tr '\\0' '\\n' <"/proc/$PPID/environ" | sed -n 's/^SSH_CONNECTION=//p'
}
capture came came
"""


@dataclass(frozen=True, slots=True)
class WayIn:
    """Where the session comes from and the machine's address that it goes to; None = not known."""

    client: Address | None
    server: Address | None


def way_in(facts: Facts, reached_at: str | None) -> WayIn:
    """Return what sshd said of the session; without that the address in the lab file."""
    said = facts.commands.get("came")
    words = said.text.split() if said is not None and said.status == 0 else []
    if len(words) == 4:
        return WayIn(_address(words[0]), _address(words[2]))
    return WayIn(None, _address(reached_at) if reached_at is not None else None)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def cut_off(way: WayIn, sections: Sections, interface: str, links: Mapping[str, Nic]) -> str | None:
    """Return why the profile would cut labrun off when it comes into force, None where it would not."""
    link = links.get(interface)
    if link is None:
        return None
    return _address_lost(way.server, sections, interface, link) or _route_lost(
        way.client, sections, interface, links
    )


def _address_lost(server: Address | None, sections: Sections, interface: str, link: Nic) -> str | None:
    # A link-local address comes with the link, whatever the profile.
    if server is None or server.is_link_local:
        return None
    meant = intent(sections, server.version)
    # What DHCP gives for a time stays where DHCP stays.
    lost = link.lasting if meant.method == "auto" else link.addresses
    kept = any(each.ip == server for each in meant.addresses)
    if kept or not any(each.ip == server for each in lost):
        return None
    return (
        f"labrun reaches this machine at {server}, which the profile would take from {interface}:"
        " `address` and `networks` have to agree"
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
    # Beside another NIC's route, losing this one only means another way back.
    if hop is None or hop.via is None or any(other != interface for _, other, _ in fitting):
        return None
    if _stays(hop, protocol, client, intent(sections, client.version)):
        return None
    return (
        f"labrun comes in from {client} by {hop}, which the profile would take from {name}:"
        " name it as `gateway` or in `routes`"
    )


def _stays(hop: Hop, protocol: str, client: Address, meant: Intent) -> bool:
    if any(client in each.prefix for each in meant.routes if each.prefix.version == client.version):
        return True
    announced = meant.method == "auto" and protocol in ("dhcp", "ra")
    return announced and (hop.prefix.prefixlen > 0 or meant.keeps_announced_default)
