"""Whether the next boot would give the way in to another network file than the one in force."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from labrun.errors import CommandError
from labrun.tasks.guest.facts.networkd import NetworkdLink, NetworkdState, networkd_state
from labrun.tasks.guest.network_files import in_order, is_for
from labrun.tasks.guest.shell import Facts

__all__ = ["network_file_faults"]


def network_file_faults(before: Facts, facts: Facts, address: str) -> Iterator[str]:
    """Yield the network file that takes the NIC with this address at the next boot, if the change made it so.

    Where systemd-networkd's state was not asked for, or cannot be read, there is nothing to say.
    """
    now, then = _state(facts), _state(before)
    if now is None:
        return
    link = _way_in(now, address)
    if link is None or not link.file:
        return
    first = _first(now, link)
    if first is not None and first != link.file and (then is None or first != _first(then, link)):
        yield f"{first} would take {link.interface} at the next boot"
    if first is None and then is not None and _first(then, link) is not None:
        yield f"{link.interface} would stay down at the next boot: no network file is for it"


def _state(facts: Facts) -> NetworkdState | None:
    try:
        return networkd_state(facts)
    except CommandError:
        return None


def _way_in(state: NetworkdState, address: str) -> NetworkdLink | None:
    try:
        wanted = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    for link in (*state.links.values(), *state.vlans.values()):
        nic = state.nics.get(link.interface)
        if nic is not None and any(each.ip == wanted for each in nic.addresses):
            return link
    return None


def _first(state: NetworkdState, link: NetworkdLink) -> str | None:
    files = in_order(state.files)
    return next((path for path, text in files if is_for(text, link.interface, link.mac)), None)
