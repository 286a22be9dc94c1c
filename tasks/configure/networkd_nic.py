"""One NIC of systemd-networkd: whether its file, the manager and the kernel agree, and how to make them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from labrun.tasks.configure.lockout import cut_off, way_in
from labrun.tasks.configure.networkd_script import NetworkdWork, PreviousFile
from labrun.tasks.configure.networkd_store import Stack, Store
from labrun.tasks.configure.nic_profile import Profile
from labrun.tasks.configure.nm_choices import choices_diff, ipv6_diff, lacking, shown_choices
from labrun.tasks.configure.nm_diff import (
    actual_summary,
    expected_summary,
    runtime_diff,
    shown_state,
    usual_mtu,
)
from labrun.tasks.configure.nm_undo import new_gateways
from labrun.tasks.configure.vlan_device import DeviceChange, device_change, own_mac
from labrun.tasks.guest.facts.networkd import UNITS, NetworkdLink, NetworkdState
from labrun.tasks.guest.facts.nics import Nic
from labrun.tasks.guest.facts.units import no_start
from labrun.tasks.guest.network_files import in_order, is_for
from labrun.tasks.guest.shell import Facts, quote, typed_file
from labrun.tasks.state.item import Item, Words, spelled

__all__ = ["NetworkdNic", "usual_metric"]

_LINK_LOCAL = ("disabled", "ignore", "link-local")


@dataclass(frozen=True, slots=True)
class NetworkdNic:
    """One NIC: what is wanted, and what is observed; ``taken`` = NICs of the file by interface so far.

    ``metric`` is that of its routes where the lab file gives none. ``exclusive`` = others' files are removed.
    ``above`` are the VLAN devices on each interface.
    """

    profile: Profile
    facts: Facts
    state: NetworkdState
    taken: dict[str, str]
    metric: int
    store: Store
    exclusive: bool = False
    above: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def plan(self, work: NetworkdWork) -> None:
        """Add this NIC's item, and the steps to fix it, to the work."""
        nic = self.profile.nic
        below = self.profile.chosen(self.state.links, self.state.nics)
        link = self._link(below)
        device = device_change(self.profile, self.facts, below.interface) if below is not None else None
        reason = self._refusal(link, below, device)
        if reason is not None or link is None or below is None:
            work.items.append(self.profile.refused(reason or "", is_there=link is not None))
            return
        self.taken[link.interface] = nic
        profile = self._with_servers(link)
        store, sections = self.store, profile.sections
        path, in_force_as = f"{store.prefix}{nic}{store.suffix}", store.in_force(nic, profile.device)
        kernel = self.state.nics.get(link.interface, Nic(0, frozenset(), frozenset(), {}))
        stack = Stack(self.taken.get(below.interface, ""), self.above.get(link.interface, ()))
        text = store.text(sections, link, self.metric, stack)
        texts = {path: text, **store.companions(nic, sections)}
        files = store.files(self.facts, self.state)
        lines = {each: store.lines(files.get(each, "")) for each in texts}
        changed = {each: _file_diff(store.lines(new), lines[each]) for each, new in texts.items()}
        added = self._added(path)
        unreadable = [each for each in texts if each in self.state.unreadable]
        on_disk = [*(line for each in changed.values() for line in each), *(f"-{each}" for each in added)]
        on_disk += [f"+{each}: mode {store.mode}" for each in unreadable]
        elsewhere = self._edits()
        on_disk += [f"-{each}: {profile.device}" for each in elsewhere]
        no_ipv6 = [*ipv6_diff(sections, link.interface, self.state.no_ipv6)]
        runtime = runtime_diff(sections, link, kernel, has_usual_mtu=self.profile.has_usual_mtu)
        hidden = [*no_ipv6, *choices_diff(sections, link, kernel, self.state.policy)]
        in_force = [*hidden, *runtime, *_activation_diff(link, in_force_as)]
        in_force += device.diff if device is not None else []
        want = {"profile": text, "nic": text}
        shown = (*shown_choices(sections, link, kernel, self.state.policy), *no_ipv6)
        seen = {
            "profile": _shown(
                [line for each in lines.values() for line in each], unreadable=bool(unreadable)
            ),
            "nic": shown_state(link, kernel) + "".join(f"{line}\n" for line in shown),
        }
        if device is not None:
            seen["nic"] += f"{device.have or 'no device'}\n"
        holds = {"profile": not on_disk, "nic": not in_force}
        summary = actual_summary(link, kernel, in_force_as.rpartition("/")[2].removesuffix(".network"))
        item = Item(
            nic,
            want,
            spelled(want, seen, holds),
            seen=seen,
            note=lacking(hidden) if hidden else None,
            words=Words(expected_summary(sections), summary, "\n".join([*on_disk, *in_force])),
        )
        work.items.append(self._at_boot(item, link, in_force_as))
        if item.state == "ok":
            return
        work.write |= {each: texts[each] for each in texts if changed[each] or each in unreadable}
        work.edits |= elsewhere
        work.remove.extend(added)
        if "mtu" not in sections.get("ethernet", {}) and "mtu" in files.get(path, "").lower():
            work.reset_mtu.append(link.interface)
        elif self.profile.resets_mtu(kernel.mtu):
            work.reset_mtu.append(link.interface)
            work.commands.append(usual_mtu(link.interface))
        if no_ipv6:
            work.enable_ipv6.append(link.interface)
        work.await_ipv6 |= sections.get("ipv6", {}).get("method") not in _LINK_LOCAL
        again = not on_disk and link.file == in_force_as
        work.bring.append((link.interface, in_force_as, nic, again))
        if device is not None:
            work.has_device(device)
        # What was not there is gone again without its file.
        if device is None or device.have is not None:
            work.was.append(PreviousFile(link.interface, link.file if link.is_up else "", kernel.mtu))
        work.gateways.extend(new_gateways(sections, kernel))
        work.commands.extend(self._typed(texts if on_disk else {}, link.interface, added, elsewhere, device))

    def _typed(
        self,
        texts: Mapping[str, str],
        interface: str,
        added: list[str],
        elsewhere: Mapping[str, str],
        device: DeviceChange | None,
    ) -> Iterator[str]:
        """Yield the equivalent commands for a person to type; ``texts`` are the files to write."""
        if added:
            yield f"rm -f {' '.join(map(quote, added))}"
        yield from elsewhere.values()
        yield from (typed_file(path, text, self.store.mode) for path, text in texts.items())
        yield from device.typed if device is not None else ()
        if texts:
            yield from self.store.typed_reload
        yield f"networkctl reconfigure {quote(interface)}"

    def _link(self, below: NetworkdLink | None) -> NetworkdLink | None:
        """Return the NIC that the file is for; for a VLAN its device, which may not have been made yet."""
        name = self.profile.device
        if not name or below is None:
            return below
        return self.state.vlans.get(name) or NetworkdLink(name, own_mac(self.profile.sections), "missing", "")

    def _edits(self) -> dict[str, str]:
        """Return the commands that take the VLAN out of others' files, by path."""
        device = self.profile.device
        paths = self.store.definitions(self.facts, device) if device else ()
        commands = {path: self.store.without(path, device) for path in paths}
        return {path: command for path, command in commands.items() if command is not None}

    def _refusal(
        self, link: NetworkdLink | None, below: NetworkdLink | None, device: DeviceChange | None
    ) -> str | None:
        fault = self.profile.fault or self.store.fault(self.profile.sections)
        if fault is not None:
            return fault
        if device is not None and below is not None:
            if device.refused is not None:
                return device.refused
            if below.interface not in self.taken:
                return f"{below.interface}, which carries {self.profile.device}, cannot be set"
            for path in self.store.definitions(self.facts, self.profile.device):
                if self.store.without(path, self.profile.device) is None:
                    return f"{path} defines {self.profile.device} too: remove it there"
        if link is None:
            return self.profile.not_there
        if link.interface in self.taken:
            return f"{link.interface} is the NIC of {self.taken[link.interface]} already"
        if not self.profile.existing:
            return None
        way = way_in(self.facts, self.profile.reached_at)
        return cut_off(way, self.profile.sections, link.interface, self.state.nics)

    def _with_servers(self, link: NetworkdLink) -> Profile:
        """Return the profile with an existing machine's name servers, if the file does not mention any."""
        ipv4 = self.profile.sections.get("ipv4", {})
        servers = [server for server in link.dns if "." in server]
        if not self.profile.existing or ipv4.get("method") != "manual" or "dns" in ipv4 or not servers:
            return self.profile
        ipv4 = {**ipv4, "dns": "".join(f"{server};" for server in servers)}
        return replace(self.profile, sections={**self.profile.sections, "ipv4": ipv4})

    def _added(self, path: str) -> list[str]:
        """Return the drop-ins that change labrun's file."""
        return sorted(each for each in self.state.files if each.startswith(f"{path}.d/"))

    def _at_boot(self, item: Item, link: NetworkdLink, path: str) -> Item:
        """Return the item with what the next boot brings instead, if it brings something else."""
        unit = no_start(self.facts, UNITS)
        rival = self._rival(link, path)
        if unit is not None:
            why, words = unit.not_at_boot, "not kept across a reboot"
        elif rival is not None:
            why, words = rival, "another file after a reboot"
        else:
            return item
        shown = replace(
            item, later={**item.have, "nic": ""}, words=replace(item.words, actual=f"{item.actual} ({words})")
        )
        return replace(shown, refused=why) if item.state == "ok" else replace(shown, note=why)

    def _rival(self, link: NetworkdLink, path: str) -> str | None:
        """Return which file takes the NIC in place of labrun's, and what to do about it."""
        name = path.rpartition("/")[2]
        for other, text in in_order(self.state.files):
            if other.rpartition("/")[2] >= name:
                return None
            if is_for(text, link.interface, link.mac) and not self._goes(other):
                return f"{other} is for {link.interface} too, and comes first: remove it"
        return None

    def _goes(self, path: str) -> bool:
        return self.exclusive and path.startswith("/etc/")


def _file_diff(wanted: list[str], stored: list[str]) -> list[str]:
    lines = difflib.ndiff(stored, wanted)
    return [f"{line[0]}{line[2:]}" for line in lines if line[0] in "+-"]


def _shown(stored: list[str], *, unreadable: bool) -> str:
    lines = [*stored, *["not readable by systemd-networkd"] * unreadable]
    return "".join(f"{line}\n" for line in lines)


def _activation_diff(link: NetworkdLink, path: str) -> list[str]:
    if link.file == path and link.is_up:
        return []
    have = link.file or "no network file"
    return [
        f"-{link.interface}: {have}{'' if link.is_up else f' ({link.state})'}",
        f"+{link.interface}: {path}",
    ]


def usual_metric(position: int) -> int:
    """Return the metric that NetworkManager gives the routes of a host's NIC at this position, from 0."""
    return 100 + position
