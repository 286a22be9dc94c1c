"""The family systemd-networkd: one network file per NIC, bound to its MAC."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from labrun.errors import CommandError
from labrun.inventory.route_patterns import route_pattern
from labrun.tasks.configure.netplan_store import GENERATED, VLANS, NetplanFiles
from labrun.tasks.configure.networkd_store import NetworkFiles, Store
from labrun.tasks.configure.nic_family import Claim
from labrun.tasks.configure.nic_profile import Profile
from labrun.tasks.configure.nm_script import no_ipv6_file
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.facts.networkd import PROBE, UNITS, NetworkdState, networkd_state
from labrun.tasks.guest.facts.units import boot_probe
from labrun.tasks.guest.scripts import quote
from labrun.tasks.guest.shell import Facts, Probe
from labrun.tasks.state.item import NOTHING, Item, Words
from labrun.tasks.state.sections import NMCLI

if TYPE_CHECKING:
    from labrun.tasks.configure.networkd_script import NetworkdWork

__all__ = ["Netplan", "Networkd"]

_STOPPED = "systemd-networkd is not running: `systemctl start systemd-networkd`"
_BOOT = boot_probe(UNITS)
# After the probe of its state, which says whether it runs. Elsewhere systemd need not be asked.
_ENABLED = Probe(script=f'if [ -n "$runs" ]; then\n{_BOOT.script}fi\n', after=(PROBE, *_BOOT.after))


class Networkd:
    """NICs that systemd-networkd sets, by files of its own."""

    name = "systemd-networkd"
    store: Store = NetworkFiles()

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read its state, and the network files of all folders."""
        return PROBE, _ENABLED

    def claim(self, want: Json, facts: Facts) -> Claim:
        """Tell whether it has a network file for one of the NICs, and runs."""
        state = _state(facts)
        if state is None:
            return Claim.NONE
        held = any(_files_of(want, state))
        if state.runs:
            return Claim.HOLDS if held else Claim.RUNS
        return Claim.RUNS if held else Claim.NONE

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the NICs whose file, manager or kernel state is not as declared."""
        held = want.get("held", {})
        profiles = [self._profile(raw).unless_held(held) for raw in want["profiles"]]
        state = networkd_state(facts, tuple(map(route_pattern, want.get("ignored", ()))))
        if state is None or not state.runs:
            refused = (profile.refused(_STOPPED, is_there=False) for profile in profiles)
            return SectionPlan(NMCLI.name, tuple(refused))
        # Most guests are of another family.
        from labrun.tasks.configure.networkd_nic import NetworkdNic, usual_metric
        from labrun.tasks.configure.networkd_script import NetworkdWork, apply_networkd, undo_networkd
        from labrun.tasks.configure.vlan_device import carriers_first, on_nics

        work = NetworkdWork()
        taken: dict[str, str] = {}
        above = on_nics(profiles, state.links, state.nics)
        for position, profile in carriers_first(profiles):
            metric, exclusive = usual_metric(position), want["exclusive"]
            NetworkdNic(profile, facts, state, taken, metric, self.store, exclusive, above).plan(work)
        work.in_order_of(profile.nic for profile in profiles)
        self._strangers(want, profiles, facts, state, work)
        touched = tuple(dict.fromkeys([*work.write, *work.edits, *work.remove]))
        return SectionPlan(
            NMCLI.name,
            tuple(work.items),
            apply=apply_networkd(work, self.store.rebuild),
            undo=undo_networkd(touched, work.was, self.store.rebuild, work.devices_back)
            if touched or work.bring
            else "",
            commands=tuple(work.commands),
            saves=touched,
            seconds=20 + 40 * len(work.bring),
            gateways=tuple(work.gateways),
            kernel=tuple((no_ipv6_file(interface), "1") for interface in work.enable_ipv6),
        )

    def _profile(self, raw: Mapping[str, Any]) -> Profile:
        """Return what is wanted of a NIC; nmcli's properties have no counterpart here."""
        profile = Profile.plain(raw)
        if not raw["properties"]:
            return profile
        names = ", ".join(raw["properties"])
        fault = f"`nmcli` needs NetworkManager, and {self.name} has this NIC: take {names} out of the file"
        return replace(profile, fault=fault)

    def _strangers(
        self, want: Json, profiles: list[Profile], facts: Facts, state: NetworkdState, work: NetworkdWork
    ) -> None:
        """Add the files to remove: labrun's for former NICs, with ``exclusive`` all others."""
        store = self.store
        files = store.files(facts, state)
        kept = {f"{store.prefix}{profile.nic}{store.suffix}" for profile in profiles}
        devices = {path for each in profiles for path in store.companions(each.nic, each.sections)}
        own = {path for path in files if path.startswith(store.prefix) and path.endswith(store.suffix)}
        # On an existing machine, NICs that this file does not name may belong to another lab file.
        gone = set() if any(profile.existing for profile in profiles) else own - kept
        if want["exclusive"]:
            others = (path for path in files if path.startswith(store.folder) and path.endswith(store.suffix))
            gone |= set(others) - kept
        for path in sorted(gone):
            name = path.removeprefix(store.folder).removesuffix(store.suffix)
            label = path.removeprefix(store.prefix).removeprefix(store.folder).removesuffix(store.suffix)
            seen = {"profile": "".join(f"{line}\n" for line in store.lines(files[path]))}
            have, words = {"profile": f"file {name}"}, Words(diff=f"-{path}")
            work.items.append(Item(label, NOTHING, have, seen=seen, words=words))
            work.remove.append(path)
            work.commands += [f"rm -f {quote(path)}", *store.typed_reload]
        made = {path: store.device_in(text) for path, text in files.items() if path.startswith(store.prefix)}
        if any(profile.existing for profile in profiles):
            return
        for path in sorted(each for each, name in made.items() if name and each not in kept | devices):
            if path not in work.remove:
                work.remove.append(path)
                work.commands.append(f"rm -f {quote(path)}")
        self._former_devices({*made.values()} - {each.device for each in profiles}, facts, state, work)

    def _former_devices(
        self, names: Collection[str], facts: Facts, state: NetworkdState, work: NetworkdWork
    ) -> None:
        """Add what removes the devices of former VLANs, which systemd-networkd leaves."""
        from labrun.tasks.configure.networkd_script import PreviousFile
        from labrun.tasks.configure.vlan_device import DeviceChange, vlan_in

        for name in sorted(names):
            have = vlan_in(facts, name)
            link = state.vlans.get(have.name) if have is not None else None
            if have is None or link is None:
                continue
            change = DeviceChange("", None, have)
            work.has_device(change)
            work.commands += change.typed
            work.was.append(
                PreviousFile(have.name, link.file if link.is_up else "", state.nics[have.name].mtu)
            )


class Netplan(Networkd):
    """NICs that systemd-networkd sets by what netplan makes of its files."""

    name = "netplan"
    store: Store = NetplanFiles()

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read labrun's files beside what systemd-networkd has, and which files define VLANs."""
        vlans = (VLANS,) if any(raw.get("device") for raw in want["profiles"]) else ()
        return *super().facts(want), Probe((f"{NetplanFiles.prefix}*{NetplanFiles.suffix}",)), *vlans

    def claim(self, want: Json, facts: Facts) -> Claim:
        """Tell whether systemd-networkd has one of the NICs by a file that netplan has made."""
        state = _state(facts)
        if state is None:
            return Claim.NONE
        if any(path.startswith(GENERATED) for path in _files_of(want, state)):
            return Claim.HOLDS if state.runs else Claim.RUNS
        return Claim.RUNS if self.store.files(facts, state) else Claim.NONE


def _state(facts: Facts) -> NetworkdState | None:
    try:
        return networkd_state(facts)
    except CommandError:
        return None


def _files_of(want: Json, state: NetworkdState) -> Iterator[str]:
    """Yield the network files by which systemd-networkd has the NICs."""
    for raw in want["profiles"]:
        link = Profile.plain(raw).chosen(state.links, state.nics)
        if link is not None and link.file:
            yield link.file
