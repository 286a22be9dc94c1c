"""What a machine answers once there is a login: cloud-init's end, and the addresses of its NICs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from labrun.bounded import objects, read_json
from labrun.ports import Completed
from labrun.tasks.guest.facts.first_boot import FirstBoot, first_boot
from labrun.tasks.guest.facts.links import Link, nics_by_mac, parse_links
from labrun.tasks.guest.scripts import assigned, guest_script

__all__ = ["Answered", "read_answer", "ready_script", "unaddressed"]

_IPV6_OFF = "/proc/sys/net/ipv6/conf/"
_MOST_LINES = 500


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to :func:`ready_script`.

    ``addresses`` are the guest's by MAC, with prefix length. ``nics`` are its Ethernet devices by MAC,
    ``without_ipv6`` the devices (or ``all``) where IPv6 is switched off, ``driverless`` the NICs on its buses
    that no driver has taken.
    """

    first_boot: FirstBoot
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    nics: Mapping[str, Link] = field(default_factory=dict)
    without_ipv6: frozenset[str] = frozenset()
    driverless: tuple[str, ...] = ()


def ready_script(seconds: float) -> str:
    """Return the script that waits up to ``seconds`` for the end of cloud-init, and reports."""
    parts = "".join(map(guest_script, ("boot_state", "first_boot", "no_driver", "ready")))
    return assigned({"tenths": int(seconds * 10)}) + parts


def read_answer(done: Completed) -> Answered:
    """Return what the guest answered. Raises UnreadableError."""
    head, _, tail = done.stdout.partition("==addresses==")
    found = parse_links(objects(read_json(tail, "ip address"), "ip address", "links"))
    nics = nics_by_mac(found)
    addresses: dict[str, tuple[str, ...]] = {}
    # What stands on a NIC may hold its addresses (a bridge), or others under the same MAC (a VLAN).
    for link in (*nics.values(), *(each for each in found if each not in nics.values())):
        held = tuple(str(each.interface) for each in link.held)
        addresses[link.mac] = addresses.get(link.mac, ()) + held
    off, driverless = set(), []
    for line in head.split("\n", _MOST_LINES)[:_MOST_LINES]:
        word, _, rest = line.strip().partition(" ")
        if word == "ipv6-off":
            off.add(rest.removeprefix(_IPV6_OFF).partition("/")[0])
        elif word == "no-driver":
            driverless.append(rest[:100])
    return Answered(first_boot(head), addresses, nics, frozenset(off), tuple(driverless))


def unaddressed(answer: Answered, expected: Mapping[str, tuple[str, ...]]) -> str:
    """Return which expected address (by MAC, with prefix length) is missing and why, empty if none is."""
    for mac, wanted in expected.items():
        has = answer.addresses.get(mac, ())
        missing = [text for text in wanted if text not in has]
        if missing:
            why = _why_missing(answer, mac, missing)
            return (
                f"the NIC {mac} should have {' '.join(missing)} and has {' '.join(has) or 'no address'}{why}"
            )
    return ""


def _why_missing(answer: Answered, mac: str, missing: list[str]) -> str:
    link = answer.nics.get(mac)
    if link is None:
        if answer.driverless:
            return f": its kernel has no driver for it ({', '.join(answer.driverless)})"
        return ": the guest has no NIC with this MAC" if answer.nics else ""
    refused = [f"{address}: {why}" for address, why in link.unusable if str(address) in missing]
    if refused:
        return f": {refused[0]}"
    if any(":" in text for text in missing):
        for which in (link.name, "all"):
            if which in answer.without_ipv6:
                return f": net.ipv6.conf.{which}.disable_ipv6 is 1"
    if not link.is_on:
        return f": {link.name} is down"
    return "" if link.is_up else f": {link.name} has no carrier"
