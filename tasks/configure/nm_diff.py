"""The differences between a profile, NetworkManager and the kernel, as readable lines."""

from __future__ import annotations

from collections.abc import Iterator

from labrun.secrets import MASK, is_secret
from labrun.tasks.guest.facts.nics import ManagedNic, Nic
from labrun.tasks.guest.facts.routes import BY_HAND
from labrun.tasks.guest.keyfile import Hop, Intent, Sections, intent, properties
from labrun.tasks.guest.scripts import quote

__all__ = [
    "USUAL_MTU",
    "actual_summary",
    "expected_summary",
    "file_diff",
    "meant_mtu",
    "runtime_diff",
    "shown_state",
    "stored_state",
    "usual_mtu",
]

USUAL_MTU = 1500


def file_diff(wanted: Sections, stored: Sections) -> Iterator[str]:
    """Yield the properties in which the stored profile differs from the wanted one."""
    want, have = properties(wanted), properties(stored)
    for name in sorted(want.keys() | have.keys()):
        if want.get(name) == have.get(name):
            continue
        if name in have:
            yield f"-{name}: {MASK if is_secret(name) else have[name]}"
        if name in want:
            yield f"+{name}: {MASK if is_secret(name) else want[name]}"


def meant_mtu(sections: Sections, *, has_usual_mtu: bool = False) -> int | None:
    """Return the MTU in bytes that a NIC has to have, None if any will do.

    ``has_usual_mtu`` = it is to have the usual one if the profile names none.
    """
    mtu = sections.get("ethernet", {}).get("mtu", "")
    if not mtu:
        return USUAL_MTU if has_usual_mtu else None
    return int(mtu) if mtu.isdecimal() and int(mtu) else None


def usual_mtu(interface: str) -> str:
    """Return the command that gives a NIC the usual MTU, which no manager does by itself."""
    return f"ip link set dev {quote(interface)} mtu {USUAL_MTU}"


def runtime_diff(
    sections: Sections, device: ManagedNic, link: Nic, *, has_usual_mtu: bool = False
) -> Iterator[str]:
    """Yield the addresses, routes, name servers and MTU in which the kernel differs from the profile.

    ``has_usual_mtu`` is as in :func:`meant_mtu`.
    """
    for version in (4, 6):
        meant = intent(sections, version)
        yield from _address_diff(meant, link, version)
        yield from _route_diff(meant, link, version)
        missing = [server for server in meant.dns if server not in device.dns]
        if missing:
            yield f"+{device.interface}: dns {' '.join(missing)}"
    mtu = meant_mtu(sections, has_usual_mtu=has_usual_mtu)
    if mtu is not None and link.mtu != mtu:
        yield f"-{device.interface}: mtu {link.mtu}"
        yield f"+{device.interface}: mtu {mtu}"


def _address_diff(meant: Intent, link: Nic, version: int) -> Iterator[str]:
    there = {address for address in link.addresses if address.version == version}
    lasting = {address for address in link.lasting if address.version == version}
    # Router advertisements add addresses that may look permanent.
    ours = (
        frozenset()
        if version == 6 and meant.method == "auto"
        else there
        if meant.method == "manual"
        else lasting
    )
    for address in sorted(ours - set(meant.addresses)):
        yield f"-address {address}"
    for address in meant.addresses:
        if address not in there:
            yield f"+address {address}"
    if version == 4 and meant.method == "auto" and not there:
        yield "+address by DHCP"


def _route_diff(meant: Intent, link: Nic, version: int) -> Iterator[str]:
    there = {hop: protocol for hop, protocol in link.routes.items() if hop.prefix.version == version}
    for hop, protocol in sorted(there.items(), key=lambda pair: str(pair[0])):
        if hop in meant.routes or protocol not in BY_HAND:
            continue
        announced = protocol in ("dhcp", "ra")
        if announced and (hop.prefix.prefixlen > 0 or meant.keeps_announced_default):
            continue
        yield f"-route {hop}"
    for hop in sorted(meant.routes - there.keys(), key=str):
        yield f"+route {hop}"


def expected_summary(sections: Sections) -> str:
    """Return addresses and gateway in short form, for a table."""
    words = []
    for version in (4, 6):
        meant = intent(sections, version)
        if meant.method == "auto" and f"ipv{version}" in sections:
            words.append("dhcp" if version == 4 else "auto")
        words.extend(str(address) for address in meant.addresses)
        words.extend(_gateways(meant.routes))
    return " ".join(words) or "no address"


def _gateways(routes: frozenset[Hop]) -> Iterator[str]:
    found = (hop for hop in routes if hop.prefix.prefixlen == 0)
    yield from (f"via {hop.via}" for hop in sorted(found, key=lambda hop: (hop.prefix.version, str(hop.via))))


def actual_summary(device: ManagedNic, link: Nic, profile: str) -> str:
    """Return addresses and gateway in short form, plus the active profile if it is not ``profile``."""
    words = [str(address) for address in sorted(link.addresses, key=lambda a: (a.version, a.ip.packed))]
    words.extend(_gateways(frozenset(link.routes)))
    if device.profile_id != profile:
        words.append(f"({device.profile_id or 'no profile'})")
    return " ".join(words) or "no address"


def stored_state(stored: Sections, *, loaded: bool, loose: bool) -> str:
    """Return the full stored profile, one property per line, for comparison with an earlier run."""
    lines = [f"{name}: {value}" for name, value in sorted(properties(stored).items())]
    lines.append(f"uuid: {stored.get('connection', {}).get('uuid', 'none')}")
    lines += ["not loaded"] * (not loaded) + ["readable by others"] * loose
    return "".join(f"{line}\n" for line in lines)


def shown_state(device: ManagedNic, link: Nic) -> str:
    """Return a NIC's active state, one item per line, without transient parts."""
    addresses = {address for address in link.addresses if address.version == 4} | link.lasting
    lines = [f"active: {device.profile_id} {device.profile}{'' if device.is_up else ' (down)'}"]
    lines += sorted(f"address {address}" for address in addresses)
    lines += sorted(f"route {hop}" for hop, protocol in link.routes.items() if protocol in BY_HAND - {"ra"})
    lines += [f"dns {' '.join(device.dns)}", f"mtu {link.mtu}"]
    return "".join(f"{line}\n" for line in lines)
