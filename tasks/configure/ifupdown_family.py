"""The family ifupdown: the stanzas of one NIC per file, and `ifup`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from labrun.errors import CommandError
from labrun.inventory.route_patterns import route_pattern
from labrun.tasks.configure.ifupdown_file import PREFIX, file_path
from labrun.tasks.configure.nic_family import Claim
from labrun.tasks.configure.nic_profile import Profile
from labrun.tasks.configure.nm_script import no_ipv6_file
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.facts.ifupdown import (
    FOLDER,
    PROBE,
    UNITS,
    IfupdownState,
    ifupdown_state,
    only_for,
    stanzas,
)
from labrun.tasks.guest.facts.units import boot_probe
from labrun.tasks.guest.scripts import quote
from labrun.tasks.guest.shell import Facts, Probe
from labrun.tasks.state.item import NOTHING, Item, Words
from labrun.tasks.state.sections import NMCLI

if TYPE_CHECKING:
    from labrun.tasks.configure.ifupdown_script import IfupdownWork

__all__ = ["Ifupdown"]

_BOOT = boot_probe(UNITS)
_ENABLED = Probe(
    script=f"if command -v ifup >/dev/null && [ -e /etc/network/interfaces ]; then\n{_BOOT.script}fi\n",
    after=_BOOT.after,
)


class Ifupdown:
    """NICs that ifupdown, or ifupdown-ng, brings up."""

    name = "ifupdown"

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read its files, what it has brought up, and resolvconf's name servers."""
        return PROBE, _ENABLED

    def claim(self, want: Json, facts: Facts) -> Claim:
        """Tell whether it has a stanza of one of the NICs."""
        try:
            state = ifupdown_state(facts)
        except CommandError:
            return Claim.NONE
        if state is None:
            return Claim.NONE
        nics = (Profile.plain(raw).chosen(state.links, state.nics) for raw in want["profiles"])
        held = any(link is not None and [*stanzas(state.files, link.interface)] for link in nics)
        return Claim.HOLDS if held else Claim.NONE

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the NICs whose file, stanza in force or kernel state is not as declared."""
        held = want.get("held", {})
        profiles = [_profile(raw).unless_held(held) for raw in want["profiles"]]
        state = ifupdown_state(facts, tuple(map(route_pattern, want.get("ignored", ()))))
        if state is None:
            refused = (profile.refused("ifupdown is not here", is_there=False) for profile in profiles)
            return SectionPlan(NMCLI.name, tuple(refused))
        # Most guests are of another family.
        from labrun.tasks.configure.ifupdown_nic import IfupdownNic
        from labrun.tasks.configure.ifupdown_script import IfupdownWork, apply_ifupdown, undo_ifupdown
        from labrun.tasks.configure.networkd_nic import usual_metric
        from labrun.tasks.configure.vlan_device import carriers_first

        work = IfupdownWork()
        taken: dict[str, str] = {}
        for position, profile in carriers_first(profiles):
            IfupdownNic(profile, facts, state, taken, usual_metric(position), want["exclusive"]).plan(work)
        work.in_order_of(profile.nic for profile in profiles)
        spared = _spared(profiles, state, taken, work)
        _strangers(want, profiles, facts, state, work, spared)
        _leave(spared, state, work)
        touched = tuple(dict.fromkeys([*work.write, *work.remove]))
        return SectionPlan(
            NMCLI.name,
            tuple(work.items),
            apply=apply_ifupdown(work),
            undo=undo_ifupdown(touched, work.was, work.devices_back) if touched or work.bring else "",
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
    fault = f"`nmcli` needs NetworkManager, and ifupdown has this NIC: take {names} out of the file"
    return replace(profile, fault=fault)


def _spared(
    profiles: list[Profile], state: IfupdownState, taken: Mapping[str, str], work: IfupdownWork
) -> frozenset[str]:
    """Return the interfaces of the refused NICs: what others' files say of them is all that they have."""
    refused = {item.name for item in work.items if item.state == "refused"}
    links = (profile.chosen(state.links, state.nics) for profile in profiles if profile.nic in refused)
    return frozenset(link.interface for link in links if link is not None) - taken.keys()


def _leave(spared: frozenset[str], state: IfupdownState, work: IfupdownWork) -> None:
    """Leave the stanzas of these interfaces in the files that go for the other NICs."""
    for path in [path for path in dict.fromkeys(work.remove) if path in state.files]:
        kept = only_for(state.files[path], spared)
        if kept:
            work.remove = [each for each in work.remove if each != path]
            work.write[path] = kept


def _strangers(
    want: Json,
    profiles: list[Profile],
    facts: Facts,
    state: IfupdownState,
    work: IfupdownWork,
    spared: frozenset[str],
) -> None:
    """Add the files to remove: labrun's for former NICs, with ``exclusive`` all others."""
    kept = {file_path(profile.nic) for profile in profiles} | set(work.remove)
    # On an existing machine, NICs that this file does not name may belong to another lab file.
    existing = any(profile.existing for profile in profiles)
    gone = set() if existing else {path for path in state.files if path.startswith(PREFIX)} - kept
    if want["exclusive"]:
        gone |= {path for path in state.files if path.startswith(f"{FOLDER}/")} - kept
        gone -= {path for path in gone if only_for(state.files[path], spared) == state.files[path]}
    for path in sorted(gone):
        name = path.removeprefix(f"{FOLDER}/")
        have, words = {"profile": f"file {name}"}, Words(diff=f"-{path}")
        seen = {"profile": state.files[path]}
        work.items.append(Item(name.removeprefix("labrun-"), NOTHING, have, seen=seen, words=words))
        work.remove.append(path)
        work.commands.append(f"rm -f {quote(path)}")
    if not existing:
        own = "".join(text for path, text in state.files.items() if path.startswith(PREFIX))
        made = {match[1] for match in re.finditer(r"^iface (vlan[0-9-]+) ", own, re.MULTILINE)}
        _former_devices(made - {profile.device for profile in profiles}, facts, state, work)


def _former_devices(names: Collection[str], facts: Facts, state: IfupdownState, work: IfupdownWork) -> None:
    """Add what removes the devices of former VLANs, which ifupdown leaves."""
    from labrun.tasks.configure.ifupdown_script import PreviousStanza
    from labrun.tasks.configure.vlan_device import DeviceChange, vlan_in

    for name in sorted(names):
        have = vlan_in(facts, name)
        link = state.vlans.get(have.name) if have is not None else None
        if have is None or link is None:
            continue
        change = DeviceChange("", None, have)
        work.has_device(change)
        work.commands += change.typed
        work.was.append(PreviousStanza(have.name, link.is_up, state.nics[have.name].mtu))
