"""A guest's NICs: asks its kernel for them."""

from __future__ import annotations

from labrun.links import Link, LinkAddress, nics_by_mac, parse_links
from labrun.tasks.guest.facts.answers import rows
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts, Probe

__all__ = ["PROBE", "Link", "LinkAddress", "links", "nics_by_mac", "parse_links"]

PROBE = Probe(script=guest_script("links"))
"""Asks for addresses and IPv4 routes: one process prints both, one line each."""


def links(facts: Facts) -> tuple[Link, ...]:
    """Return the links of a gather with :data:`PROBE`, in the kernel's order."""
    return parse_links(rows(facts, "link", "ip address", "links"))
