"""The family systemd-networkd: one network file per NIC, bound to its MAC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labrun.errors import CommandError
from labrun.inventory.route_patterns import route_pattern
from labrun.tasks.configure.networkd_file import PREFIX
from labrun.tasks.configure.networkd_nic import NetworkdNic, usual_metric
from labrun.tasks.configure.networkd_script import NetworkdWork, apply_networkd, undo_networkd
from labrun.tasks.configure.nic_family import Claim
from labrun.tasks.configure.nic_profile import Profile
from labrun.tasks.configure.nm_script import no_ipv6_file
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.facts.networkd import FOLDER, PROBE, UNITS, NetworkdState, networkd_state
from labrun.tasks.guest.facts.units import boot_probe
from labrun.tasks.guest.network_files import listed
from labrun.tasks.guest.scripts import quote
from labrun.tasks.guest.shell import Facts, Probe
from labrun.tasks.state.item import NOTHING, Item, Words
from labrun.tasks.state.sections import NMCLI

__all__ = ["Networkd"]

_STOPPED = "systemd-networkd is not running: `systemctl start systemd-networkd`"
_BOOT = boot_probe(UNITS)
# After the probe of its state, which says whether it runs. Elsewhere systemd need not be asked.
_ENABLED = Probe(script=f'if [ -n "$runs" ]; then\n{_BOOT.script}fi\n', after=(PROBE,))


class Networkd:
    """NICs that systemd-networkd sets."""

    name = "systemd-networkd"

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read its state, and the network files of all folders."""
        return PROBE, _ENABLED

    def claim(self, want: Json, facts: Facts) -> Claim:
        """Tell whether it has a network file for one of the NICs, and runs."""
        try:
            state = networkd_state(facts)
        except CommandError:
            return Claim.NONE
        if state is None:
            return Claim.NONE
        nics = (Profile.plain(raw).chosen(state.links, state.nics) for raw in want["profiles"])
        held = any(link is not None and link.file for link in nics)
        if state.runs:
            return Claim.HOLDS if held else Claim.RUNS
        return Claim.RUNS if held else Claim.NONE

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the NICs whose file, manager or kernel state is not as declared."""
        held = want.get("held", {})
        profiles = [_profile(raw).unless_held(held) for raw in want["profiles"]]
        state = networkd_state(facts, tuple(map(route_pattern, want.get("ignored", ()))))
        if state is None or not state.runs:
            refused = (profile.refused(_STOPPED, is_there=False) for profile in profiles)
            return SectionPlan(NMCLI.name, tuple(refused))
        work = NetworkdWork()
        taken: dict[str, str] = {}
        for position, profile in enumerate(profiles):
            metric = usual_metric(position)
            NetworkdNic(profile, facts, state, taken, metric, want["exclusive"]).plan(work)
        _strangers(want, profiles, state, work)
        touched = tuple(dict.fromkeys([*work.write, *work.remove]))
        return SectionPlan(
            NMCLI.name,
            tuple(work.items),
            apply=apply_networkd(work),
            undo=undo_networkd(touched, work.was) if touched or work.bring else "",
            commands=tuple(work.commands),
            saves=touched,
            seconds=20 + 40 * len(work.bring),
            gateways=tuple(work.gateways),
            kernel=tuple((no_ipv6_file(interface), "1") for interface in work.enable_ipv6),
        )


def _profile(raw: Mapping[str, Any]) -> Profile:
    """Return what is wanted of a NIC; nmcli's properties have no counterpart here."""
    profile = Profile.plain(raw)
    if not raw["properties"]:
        return profile
    names = ", ".join(raw["properties"])
    fault = f"`nmcli` needs NetworkManager, and systemd-networkd has this NIC: take {names} out of the file"
    return replace(profile, fault=fault)


def _strangers(want: Json, profiles: list[Profile], state: NetworkdState, work: NetworkdWork) -> None:
    """Add the files to remove: labrun's for former NICs, with ``exclusive`` all others."""
    kept = {f"{PREFIX}{profile.nic}.network" for profile in profiles}
    own = {path for path in state.files if path.startswith(PREFIX) and path.endswith(".network")}
    # On an existing machine, NICs that this file does not name may belong to another lab file.
    gone = set() if any(profile.existing for profile in profiles) else own - kept
    if want["exclusive"]:
        others = (path for path in state.files if path.startswith(f"{FOLDER}/") and path.endswith(".network"))
        gone |= set(others) - kept
    for path in sorted(gone):
        name = path.removeprefix(f"{FOLDER}/").removesuffix(".network")
        label = name.removeprefix("05-labrun-")
        seen = {"profile": "".join(f"{line}\n" for line in listed(state.files[path]))}
        have, words = {"profile": f"network file {name}"}, Words(diff=f"-{path}")
        work.items.append(Item(label, NOTHING, have, seen=seen, words=words))
        work.remove.append(path)
        work.commands += [f"rm -f {quote(path)}", "networkctl reload"]
