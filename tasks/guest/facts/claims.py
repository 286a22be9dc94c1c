"""Who else on a link answers for this host's addresses; without Python in the guest none is known."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from labrun.inventory.model import Address
from labrun.tasks.guest.scripts import assigned, guest_program, guest_script, words
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["begin", "claims", "end"]

_MOST_LINES = 1000


def begin(macs: Sequence[str]) -> Probe:
    """Begin to ask on the NICs with these MACs, beside what else the script does."""
    values = assigned({"claims": guest_program("claims"), "claims_in": ""})
    return Probe(script=f"{values}set -- {words(macs)}\n{guest_script('claims_begin')}")


def end() -> Probe:
    """Wait for the answers, and show them."""
    return Probe(script=guest_script("claims_end"))


def claims(facts: Facts) -> dict[Address, str]:
    """Return the MAC of another device for each address of this host that it answers for."""
    output = facts.commands.get("claims")
    claimed: dict[Address, str] = {}
    for line in output.text.splitlines()[:_MOST_LINES] if output is not None else ():
        address, _, mac = line.partition(" ")
        try:
            claimed.setdefault(ip_address(address), mac)
        except ValueError:
            continue
    return claimed
