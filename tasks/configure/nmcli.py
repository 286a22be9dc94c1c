"""The NICs: address, routes, name servers and MTU of each, through whatever manages the NICs of the guest.

Each NIC has three states that can differ: the file of its settings, the manager's view of it, and the
kernel's state. A plan fixes whichever is off. The section is called after the most common manager.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.lockout import PROBE as WAY_IN
from labrun.tasks.configure.nic_families import FAMILIES, claimed, family_of
from labrun.tasks.configure.nic_profile import Profile
from labrun.tasks.configure.nm_commands import explain_profile
from labrun.tasks.configure.nm_profiles import DIRECTORY, desired_profiles, secret_properties
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.facts import links, routes, rules
from labrun.tasks.guest.facts.nm import RESOLVER
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts, Probe
from labrun.tasks.state.sections import NMCLI

__all__ = ["Nmcli"]

_OTHERS = Probe(script=guest_script("nic_managers"))


class Nmcli:
    """The resource ``nmcli``; rows are named after the NICs."""

    section = NMCLI.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return the profiles of all NICs; None for an existing machine whose NICs the file does not name."""
        if host.address is not None and not host.interfaces:
            return None
        profiles = desired_profiles(lab, host)
        return {
            "profiles": profiles,
            "exclusive": host.exclusive,
            "secrets": secret_properties(profiles),
            # Then the file is not NetworkManager's.
            **({"own_resolver": True} if any(file.path == RESOLVER for file in host.files) else {}),
            **({"ignored": [str(each) for each in host.ignored_routes]} if host.ignored_routes else {}),
        }

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the NICs that have a profile."""
        return tuple(str(profile["network"]) for profile in want["profiles"])

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read addresses and routes, and what each family reads."""
        asked = [links.PROBE]
        if any(_has_ipv6(profile) for profile in want["profiles"]):
            asked.append(routes.PROBE6)
        if any(".routi" in name for profile in want["profiles"] for name in profile["properties"]):
            asked.append(rules.PROBE)
        if any(profile["existing"] for profile in want["profiles"]):
            asked.append(Probe(script=WAY_IN))
        return (*asked, _OTHERS, *(probe for family in FAMILIES for probe in family.facts(want)))

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the NICs whose file, manager or kernel state is not as declared."""
        other = facts.word("nic-manager")
        if other is not None and not claimed(want, facts):
            names = ", ".join(family.name for family in FAMILIES)
            why = f"{other} sets its NICs, which labrun does not know: give them to one of {names}"
            profiles = (Profile.plain(raw) for raw in want["profiles"])
            return SectionPlan(self.section, tuple(each.refused(why, is_there=True) for each in profiles))
        return family_of(want, facts).plan(want, facts)

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return ``nmcli connection add`` and ``up`` for every NIC, then cloud-init's removal."""
        lines = [line for raw in want["profiles"] for line in explain_profile(raw)]
        # On an existing machine they may belong to NICs that the file does not name.
        if lines and not any(raw["existing"] for raw in want["profiles"]):
            lines += [f"rm -f {DIRECTORY}/cloud-init-*.nmconnection", "nmcli connection reload"]
        return tuple(lines)


def _has_ipv6(profile: Mapping[str, Any]) -> bool:
    return len(profile["settings"]["ipv6"]) > 1 or any(
        name.startswith("ipv6.") for name in profile["properties"]
    )
