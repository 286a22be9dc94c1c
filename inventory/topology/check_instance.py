"""One check on one host, declared or derived."""

from __future__ import annotations

from dataclasses import dataclass

from labrun.inventory.model import Address, Check

__all__ = ["ACCEPTED", "CheckInstance"]

ACCEPTED = "accepted"
"""What a derived check expects of a port that firewalls let through: a listener's answer, or its absence."""


@dataclass(frozen=True, slots=True)
class CheckInstance:
    """One check on one host: a row. ``target`` is the host of the lab it is about, ``address`` what is tried.

    Both are None where the check is about the source alone; ``address`` is None too where nobody
    but a DHCP server knows it. ``derived`` checks follow from the file and are not declared in it.
    """

    check: Check
    name: str
    source: str
    target: str | None = None
    address: Address | None = None
    derived: bool = False
