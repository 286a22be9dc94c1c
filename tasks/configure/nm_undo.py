"""How a NIC rolls back: the guard's commands for profiles, and the gateways that a change must not lose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from labrun.tasks.guest.facts.nics import Nic
from labrun.tasks.guest.facts.nm import Device
from labrun.tasks.guest.keyfile import Sections, intent
from labrun.tasks.guest.scripts import guest_script, quote, words

__all__ = ["PreviousState", "new_gateways", "undo", "was"]

_BACK = guest_script("nm_back")


@dataclass(frozen=True, slots=True)
class PreviousState:
    """The state of a NIC before the change: its active profile and its MTU."""

    interface: str
    profile: str | None
    mtu: int


def was(device: Device, link: Nic) -> PreviousState:
    """Return the state of a NIC that a rollback has to restore."""
    return PreviousState(device.interface, device.profile if device.is_up else None, link.mtu)


def undo(
    touched: Iterable[str], load: Iterable[str], nics: Sequence[PreviousState], made: Iterable[str] = ()
) -> str:
    """Return what restores files, profiles and NICs; before NetworkManager starts the files suffice.

    ``made`` are VLAN devices that are not to stay.

    Settings that were added to a NIC by hand are restored by the guard itself.
    """
    lines = [f"restore {quote(path)}" for path in dict.fromkeys(touched)]
    lines.append('[ "$on" = live ] || exit 0')
    lines.append("systemctl is-active --quiet NetworkManager || systemctl start NetworkManager")
    lines.append("nmcli connection load " + words(dict.fromkeys(load)) + " || :")
    lines += ["roll_back", _BACK.rstrip()]
    lines.extend(f"ip link delete dev {quote(name)} 2>/dev/null || :" for name in made)
    lines.extend(f"back {quote(nic.interface)} {quote(nic.profile or '')} {nic.mtu} || bad=1" for nic in nics)
    return "\n".join([*lines, "exit $bad"]) + "\n"


def new_gateways(sections: Sections, link: Nic) -> Iterator[str]:
    """Yield the default gateways that would replace others on this NIC.

    If there was none before, there is nothing to lose: the gateway may come up later.
    """
    for version in (4, 6):
        meant = {hop.via for hop in intent(sections, version).routes if hop.prefix.prefixlen == 0}
        had = {hop.via for hop in link.routes if hop.prefix.prefixlen == 0 and hop.prefix.version == version}
        yield from (str(via) for via in meant - had if via is not None and had)
