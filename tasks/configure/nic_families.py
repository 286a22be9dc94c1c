"""The families of guests by their manager of NICs, and which one a guest belongs to."""

from __future__ import annotations

from labrun.tasks.configure.ifupdown_family import Ifupdown
from labrun.tasks.configure.networkd_family import Netplan, Networkd
from labrun.tasks.configure.nic_family import NicFamily
from labrun.tasks.configure.nm_family import NetworkManager
from labrun.tasks.configure.plan import Json
from labrun.tasks.guest.shell import Facts

__all__ = ["FAMILIES", "claimed", "family_of"]

FAMILIES: tuple[NicFamily, ...] = (NetworkManager(), Netplan(), Networkd(), Ifupdown())
"""The first one counts where several claim as much; it also takes the guests that no family claims."""


def family_of(want: Json, facts: Facts) -> NicFamily:
    """Return the family whose manager holds the guest's NICs; failing that, one whose manager runs."""
    return max(FAMILIES, key=lambda family: family.claim(want, facts))


def claimed(want: Json, facts: Facts) -> bool:
    """Tell whether the manager of any family runs on the guest."""
    return any(family.claim(want, facts) for family in FAMILIES)
