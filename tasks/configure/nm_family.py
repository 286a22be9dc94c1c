"""The family NetworkManager: one profile per NIC, bound to its MAC, activated without cutting the session.

Each NIC has three states that can differ: the profile's file, NetworkManager's view of it, and the kernel's
state. A plan fixes whichever is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labrun.errors import CommandError, UnreadableError
from labrun.inventory.route_patterns import route_pattern
from labrun.secrets import is_secret
from labrun.tasks.configure.nic_family import Claim
from labrun.tasks.configure.nic_profile import Profile
from labrun.tasks.configure.nm_config import CONFIGURATION
from labrun.tasks.configure.nm_diff import stored_state
from labrun.tasks.configure.nm_dispatcher import SCRIPTS
from labrun.tasks.configure.nm_nic import PlannedNic
from labrun.tasks.configure.nm_profiles import DIRECTORY, property_fault
from labrun.tasks.configure.nm_script import Work, apply_script, no_ipv6_file
from labrun.tasks.configure.nm_undo import undo
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.facts.nm import PROBE, UNITS, NmState, observed, rivals_probe
from labrun.tasks.guest.facts.nm_loose import LOOSE, is_loose
from labrun.tasks.guest.facts.units import boot_probe
from labrun.tasks.guest.keyfile import parse, properties, render
from labrun.tasks.guest.shell import Facts, Probe, quote
from labrun.tasks.state.item import Item, Words
from labrun.tasks.state.sections import NMCLI

__all__ = ["NetworkManager"]


class NetworkManager:
    """NICs that NetworkManager manages; also those of a guest that no family holds, and then it says why."""

    name = "NetworkManager"

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read labrun's and cloud-init's profiles, NetworkManager's objects and configuration."""
        script = "".join(_offline(profile) for profile in want["profiles"] if profile["properties"])
        # Other profiles may hold secrets; their names come from NetworkManager.
        patterns = f"{DIRECTORY}/labrun-*.nmconnection", f"{DIRECTORY}/cloud-init-*.nmconnection"
        own = Probe(patterns, script)
        return PROBE, rivals_probe(DIRECTORY), boot_probe(UNITS), CONFIGURATION, SCRIPTS, LOOSE, own

    def claim(self, want: Json, facts: Facts) -> Claim:
        """Tell whether NetworkManager answers, and manages one of the NICs."""
        try:
            state = observed(facts)
        except CommandError:
            return Claim.NONE
        nics = (Profile.of(raw, facts).chosen(state.devices, state.nics) for raw in want["profiles"])
        managed = any(device is not None and device.is_managed for device in nics)
        return Claim.HOLDS if managed else Claim.RUNS

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
            return SectionPlan(NMCLI.name, tuple(refused))
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
            NMCLI.name,
            tuple(work.items),
            apply=apply_script(work),
            undo=undo(touched, work.load, work.was, work.made) if work.load else "",
            commands=tuple(work.commands),
            secrets=tuple(seen),
            saves=touched,
            seconds=20 + 40 * len(work.bring),
            checkpoint=True,
            gateways=tuple(work.gateways),
            kernel=tuple((no_ipv6_file(interface), "1") for interface in work.enable_ipv6),
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
