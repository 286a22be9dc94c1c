"""NetworkManager profiles: one per NIC, bound to its MAC, activated without cutting the session.

Each NIC has three states that can differ: the profile's file, NetworkManager's view of it, and the kernel's
state. A plan fixes whichever is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labrun.errors import CommandError, UnreadableError
from labrun.inventory.model import Host, Lab
from labrun.inventory.route_patterns import route_pattern
from labrun.secrets import is_secret
from labrun.tasks.configure.lockout import PROBE as WAY_IN
from labrun.tasks.configure.nm_commands import explain_profile
from labrun.tasks.configure.nm_config import CONFIGURATION
from labrun.tasks.configure.nm_diff import stored_state
from labrun.tasks.configure.nm_dispatcher import SCRIPTS
from labrun.tasks.configure.nm_nic import PlannedNic, Profile
from labrun.tasks.configure.nm_profiles import (
    DIRECTORY,
    desired_profiles,
    property_fault,
    secret_properties,
)
from labrun.tasks.configure.nm_script import Work, apply_script, no_ipv6_file
from labrun.tasks.configure.nm_undo import undo
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.facts import links, routes, rules
from labrun.tasks.guest.facts.nm import PROBE, RESOLVER, UNITS, NmState, observed, rivals_probe
from labrun.tasks.guest.facts.nm_loose import LOOSE, is_loose
from labrun.tasks.guest.facts.units import boot_probe
from labrun.tasks.guest.keyfile import parse, properties, render
from labrun.tasks.guest.shell import Facts, Probe, quote
from labrun.tasks.state.item import Item, Words
from labrun.tasks.state.sections import NMCLI

__all__ = ["Nmcli"]


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
        """Read labrun's and cloud-init's profiles, NetworkManager's objects, addresses and routes."""
        asked = [
            PROBE,
            links.PROBE,
            rivals_probe(DIRECTORY),
            boot_probe(UNITS),
            CONFIGURATION,
            SCRIPTS,
            LOOSE,
        ]
        if any(_has_ipv6(profile) for profile in want["profiles"]):
            asked.append(routes.PROBE6)
        if any(".routi" in name for profile in want["profiles"] for name in profile["properties"]):
            asked.append(rules.PROBE)
        script = WAY_IN if any(profile["existing"] for profile in want["profiles"]) else ""
        script += "".join(_offline(profile) for profile in want["profiles"] if profile["properties"])
        # Other profiles may hold secrets; their names come from NetworkManager.
        patterns = f"{DIRECTORY}/labrun-*.nmconnection", f"{DIRECTORY}/cloud-init-*.nmconnection"
        return (*asked, Probe(patterns, script))

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the NICs whose profile, activation or kernel state is not as declared."""
        held = want.get("held", {})
        profiles = [Profile.of(raw, facts).unless_held(held) for raw in want["profiles"]]
        try:
            state = observed(facts, map(route_pattern, want.get("ignored", ())))
        except UnreadableError:
            raise
        except CommandError as error:
            why = f"NetworkManager cannot be queried: {error.reason}"
            refused = (profile.refused(why, is_there=False) for profile in profiles)
            return SectionPlan(self.section, tuple(refused))
        if want.get("own_resolver"):
            state = replace(state, resolver=None)
        work = Work()
        taken: dict[str, str] = {}
        for profile in profiles:
            PlannedNic(profile, facts, state, taken, want["exclusive"]).plan(work)
        _strangers(want, profiles, facts, state, work)
        seen = [
            value
            for path, text in facts.files.items()
            if path.startswith(f"{DIRECTORY}/")
            for name, value in properties(parse(text)).items()
            if is_secret(name)
        ]
        touched = tuple(dict.fromkeys([*work.write, *work.remove]))
        return SectionPlan(
            self.section,
            tuple(work.items),
            apply=apply_script(work),
            undo=undo(touched, work.load, work.was) if work.load else "",
            commands=tuple(work.commands),
            secrets=tuple(seen),
            saves=touched,
            seconds=20 + 40 * len(work.bring),
            gateways=tuple(work.gateways),
            kernel=tuple((no_ipv6_file(interface), "1") for interface in work.enable_ipv6),
        )

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


def _offline(profile: Mapping[str, Any]) -> str:
    """Let the guest's nmcli merge the lab file's properties into the profile, offline."""
    if any(property_fault(name, value) for name, value in profile["properties"].items()):
        return ""
    words = " ".join(quote(word) for pair in profile["properties"].items() for word in pair)
    text = quote(render(profile["settings"]))
    name = quote(f"profile-{profile['network']}")
    return f"printf %s {text} | capture {name} nmcli --offline connection modify {words}\n"


def _strangers(want: Json, profiles: list[Profile], facts: Facts, state: NmState, work: Work) -> None:
    """Add the profiles to remove: labrun's for former NICs, with ``exclusive`` all others."""
    kept = {profile.path for profile in profiles} | set(work.remove)
    own = {path for path in facts.files if path.startswith(f"{DIRECTORY}/labrun-")}
    # On an existing machine, NICs that this file does not name may belong to another lab file.
    gone = set() if any(profile.existing for profile in profiles) else own - kept
    if want["exclusive"]:
        gone |= {path for path in state.loaded if path.startswith(f"{DIRECTORY}/")} - kept
    for path in sorted(gone):
        name = path.removeprefix(f"{DIRECTORY}/").removesuffix(".nmconnection")
        label = name.removeprefix("labrun-")
        stored, loaded = parse(facts.files.get(path, "")), path in state.loaded
        seen = {"profile": stored_state(stored, loaded=loaded, loose=is_loose(path, facts))}
        have, words = {"profile": f"profile {name}"}, Words(diff=f"-{path}")
        work.items.append(Item(label, have=have, seen=seen, words=words))
        work.remove.append(path)
        work.load.append(path)
        work.commands.append(f"nmcli connection delete {quote(name)}")
