"""How a NIC goes back: what the guard runs for profiles, and the gateway that a change must not lose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from labrun.tasks.configure.keyfile import Sections, intent, parse
from labrun.tasks.configure.nm_state import Device, Link
from labrun.tasks.configure.shell import quote

__all__ = ["Was", "new_gateways", "undo", "was"]

# NetworkManager's own checkpoint brings back what was active, also what was never in a file; without
# it, profiles are brought up that are not. It returns before they are in force.
_BACK = """\
back() {
[ "$(cat /sys/class/net/"$1"/mtu)" = "$3" ] || ip link set dev "$1" mtu "$3"
if [ -z "$2" ]; then nmcli device disconnect "$1"; return; fi
[ "$(nmcli --get-values GENERAL.CON-UUID device show "$1")" = "$2" ] ||
nmcli --wait 20 connection up uuid "$2" ifname "$1"
n=0
while [ $n -lt 50 ]; do
case $(nmcli --get-values GENERAL.STATE device show "$1") in 100*) return ;; esac
n=$((n + 1)); sleep 0.2
done
}
"""


@dataclass(frozen=True, slots=True)
class Was:
    """How a NIC was before the change: its active profile, its MTU, the addresses added by hand."""

    interface: str
    profile: str | None
    mtu: int
    added: tuple[IPv4Interface | IPv6Interface, ...]


def was(device: Device, link: Link, files: Mapping[str, str]) -> Was:
    """Return what has to come back of a NIC; ``files`` has the profiles that could be read."""
    profile = device.profile if device.is_up else None
    added: set[IPv4Interface | IPv6Interface] = set()
    if device.file in files:
        with suppress(ValueError):
            sections = parse(files[device.file])
            own = {each for version in (4, 6) for each in intent(sections, version).addresses}
            added = set(link.lasting) - own
    return Was(device.interface, profile, link.mtu, tuple(sorted(added, key=str)))


def undo(touched: Iterable[str], load: Iterable[str], nics: Sequence[Was]) -> str:
    """Return what puts files, profiles and NICs back; before NetworkManager starts the files suffice."""
    lines = [f"restore {quote(path)}" for path in dict.fromkeys(touched)]
    lines.append('[ "$live" != no ] || exit 0')
    lines.append("systemctl is-active --quiet NetworkManager || systemctl start NetworkManager")
    lines.append("nmcli connection load " + " ".join(quote(path) for path in dict.fromkeys(load)))
    lines += ["roll_back", _BACK.rstrip()]
    for nic in nics:
        lines.append(f"back {quote(nic.interface)} {quote(nic.profile or '')} {nic.mtu}")
        lines.extend(f"ip address replace {address} dev {quote(nic.interface)}" for address in nic.added)
    return "\n".join(lines) + "\n"


def new_gateways(sections: Sections, link: Link) -> Iterator[str]:
    """Yield the default gateways that would take the place of others on this NIC.

    Where there was none before, nothing can be lost: the gateway may come up later.
    """
    for version in (4, 6):
        meant = {hop.via for hop in intent(sections, version).routes if hop.prefix.prefixlen == 0}
        had = {hop.via for hop in link.routes if hop.prefix.prefixlen == 0 and hop.prefix.version == version}
        yield from (str(via) for via in meant - had if via is not None and had)
