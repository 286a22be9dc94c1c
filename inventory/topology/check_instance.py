"""One check on one host, declared or derived."""

from __future__ import annotations

from dataclasses import dataclass

from labrun.inventory.check_model import Check
from labrun.inventory.model import Address

__all__ = ["ACCEPTED", "CheckInstance"]

ACCEPTED = "accepted"
"""What a derived check expects of a port that firewalls let through: open, or refused by the target."""


@dataclass(frozen=True, slots=True)
class CheckInstance:
    """One check on one host, as one row. ``target`` is the lab host it is about, ``address`` the one tried.

    Both are None if the check is about the source alone. ``address`` is also None if only a DHCP server
    knows it. ``derived`` checks follow from the file and are not declared in it.
    """

    check: Check
    name: str
    source: str
    target: str | None = None
    address: Address | None = None
    derived: bool = False
