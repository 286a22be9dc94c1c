"""One NIC: whether its profile's file, NetworkManager and the kernel agree, and how to make them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from labrun.tasks.configure.lockout import cut_off, way_in
from labrun.tasks.configure.nic_profile import Profile
from labrun.tasks.configure.nm_choices import choices_diff, ipv6_diff, lacking, resolver_diff, shown_choices
from labrun.tasks.configure.nm_commands import change_profile, explain_profile
from labrun.tasks.configure.nm_config import left_alone
from labrun.tasks.configure.nm_diff import (
    actual_summary,
    expected_summary,
    file_diff,
    runtime_diff,
    shown_state,
    stored_state,
    usual_mtu,
)
from labrun.tasks.configure.nm_dispatcher import suspected
from labrun.tasks.configure.nm_profiles import DIRECTORY, profile_id
from labrun.tasks.configure.nm_script import Work
from labrun.tasks.configure.nm_undo import new_gateways, was
from labrun.tasks.guest.facts.nics import Nic
from labrun.tasks.guest.facts.nm import UNITS, Device, NmState, priority_of, rivals
from labrun.tasks.guest.facts.nm_loose import ignored, is_loose
from labrun.tasks.guest.facts.units import no_start
from labrun.tasks.guest.keyfile import Sections, intent, parse, render
from labrun.tasks.guest.shell import Facts, quote
from labrun.tasks.state.item import Item, Words, spelled

__all__ = ["PlannedNic"]

_LINK_LOCAL = ("disabled", "ignore", "link-local")
_NOT_LOADED = "NetworkManager has not loaded the file"
_RUNTIME = "/run/NetworkManager/system-connections"


@dataclass(frozen=True, slots=True)
class PlannedNic:
    """One NIC: its desired profile and its observed state; ``taken`` = NICs of the file by interface so far.

    ``exclusive`` = others' profiles are removed, and none of them can win at the next boot.
    """

    profile: Profile
    facts: Facts
    state: NmState
    taken: dict[str, str]
    exclusive: bool = False

    def plan(self, work: Work) -> None:
        """Add this NIC's item, and the steps to fix it, to the work."""
        device = self._device()
        reason = self._refusal(device)
        if reason is not None or device is None:
            work.items.append(self.profile.refused(reason or "", is_there=device is not None))
            return
        self.taken[device.interface] = self.profile.nic
        profile = self._bound(device)
        link = self.state.nics.get(device.interface, Nic(0, frozenset(), frozenset(), {}))
        replaced = self._replaced(device)
        uuid = self._uuid(device, replaced)
        stored = parse(self.facts.files.get(profile.path, ""))
        on_disk = [*file_diff(profile.sections, stored), *(f"-{path}" for path in replaced)]
        loose = is_loose(profile.path, self.facts)
        if loose:
            on_disk.append(f"+{profile.path}: owner root, mode 0600")
        no_ipv6 = [*ipv6_diff(profile.sections, device.interface, self.state.no_ipv6)]
        # On an existing machine the file of name servers is left as it is.
        resolver = [] if profile.existing else [*resolver_diff(profile.sections, device, self.state)]
        hidden = [*no_ipv6, *resolver, *choices_diff(profile.sections, device, link, self.state.rules)]
        inactive = _activation_diff(device, uuid, profile)
        runtime = runtime_diff(profile.sections, device, link, has_usual_mtu=profile.has_usual_mtu)
        kernel = [*runtime, *_mac_diff(device, profile)]
        in_force = [*hidden, *kernel, *inactive]
        loaded = profile.path in self.state.loaded
        moved = stored.get("connection", {}).get("uuid", "") != uuid
        want = self.profile.want
        seen = {
            "profile": stored_state(stored, loaded=loaded, loose=loose),
            "nic": shown_state(device, link)
            + "".join(
                f"{line}\n"
                for line in (
                    *shown_choices(profile.sections, device, link, self.state.rules),
                    *no_ipv6,
                    *resolver,
                )
            ),
        }
        holds = {"profile": loaded and not (on_disk or moved), "nic": not in_force}
        item = Item(
            profile.nic,
            want,
            spelled(want, seen, holds),
            seen=seen,
            note=self._note(hidden, on_disk or inactive) if on_disk or in_force else _NOT_LOADED,
            words=Words(
                expected_summary(profile.sections),
                actual_summary(device, link, profile_id(profile.nic)),
                "\n".join([*on_disk, *in_force]),
            ),
        )
        work.items.append(self._at_boot(item, device, profile, replaced))
        if item.state == "ok":
            return
        if on_disk or moved:
            work.write[profile.path] = render(profile.with_uuid(uuid))
        # A profile changed only in memory is stored in /run and hides the file until it is removed.
        shadow = f"{_RUNTIME}/{profile_id(profile.nic)}.nmconnection"
        hiding = [shadow] if shadow in self.state.loaded else []
        work.remove.extend([*replaced, *hiding])
        work.load.extend([profile.path, *replaced, *hiding])
        named = any(line.startswith("+ethernet.mtu") for line in on_disk)
        if not named and any(line.startswith("-ethernet.mtu") for line in on_disk):
            work.reset_mtu.append(device.interface)
        elif profile.resets_mtu(link.mtu):
            work.reset_mtu.append(device.interface)
            work.commands.append(usual_mtu(device.interface))
        if no_ipv6:
            work.enable_ipv6.append(device.interface)
        work.writes_resolver |= bool(resolver)
        # A device gets another MAC only when it is made anew.
        same = device.profile == uuid and not _mac_diff(device, profile)
        way = device.path if same else ""
        work.await_ipv6 |= profile.sections.get("ipv6", {}).get("method") not in _LINK_LOCAL
        work.bring.append((device.interface, uuid, way, profile.nic, _several(profile.sections)))
        if device.path:
            work.was.append(was(device, link))
        former = stored.get("connection", {}).get("interface-name", "")
        if profile.device and former != profile.device and former in self.state.vlans:
            # With another tag, a VLAN has another device.
            work.former.append(former)
            work.made.append(profile.device)
            work.was.append(was(self.state.vlans[former], self.state.nics[former]))
        work.gateways.extend(new_gateways(profile.sections, link))
        work.commands.extend(
            self._typed(profile, device.interface if same else None, replaced, hiding, loose=loose)
        )

    def _note(self, hidden: list[str], left: list[str]) -> str | None:
        """Return what the row's addresses do not show; ``left`` keeps the profile from being active."""
        reasons = (
            lacking(hidden),
            ignored(self.profile.path, self.facts),
            None if left else suspected(self.facts),
        )
        return "; ".join(filter(None, reasons)) or None

    def _at_boot(self, item: Item, device: Device, profile: Profile, replaced: list[str]) -> Item:
        """Return the item with what the next boot brings instead, if it brings something else."""
        unit = no_start(self.facts, UNITS)
        alone = left_alone(self.facts, device)
        rival = None if unit is not None or alone is not None else self._rival(device, profile, replaced)
        if unit is not None or alone is not None:
            why = unit.not_at_boot if unit is not None else alone or ""
            words = "not kept across a reboot"
        elif rival is not None:
            why, words = rival, "another profile after a reboot"
        else:
            return item
        shown = replace(
            item, later={**item.have, "nic": ""}, words=replace(item.words, actual=f"{item.actual} ({words})")
        )
        return replace(shown, refused=why) if item.state == "ok" else replace(shown, note=why)

    def _rival(self, device: Device, profile: Profile, replaced: list[str]) -> str | None:
        """Return which foreign profile takes the NIC at the next boot, and what to do about it."""
        own = priority_of(profile.sections.get("connection", {}))
        # Those are profiles of Ethernet, which fit no VLAN.
        for each in () if self.exclusive or self.profile.device else rivals(self.facts):
            fits = each.interface in ("", device.interface) and each.mac in ("", device.mac)
            unfit = each.file in self.state.loaded and each.file not in device.available
            if fits and not unfit and each.priority > own and each.file not in replaced:
                return (
                    f"{each.name} ({each.file}, priority {each.priority}) takes {device.interface}"
                    " at the next boot: remove it, or let `exclusive: true` remove all profiles but labrun's"
                )
        return None

    def _typed(
        self, profile: Profile, active_on: str | None, replaced: list[str], hiding: list[str], *, loose: bool
    ) -> Iterator[str]:
        """Yield the equivalent commands for a person to type."""
        path = quote(profile.path)
        if profile.path in self.facts.files:
            if hiding:
                yield from _removed(hiding)
            if loose:
                yield f"chown root: {path} && chmod 600 {path}"
            # NetworkManager may not have noticed a file written by hand.
            yield f"nmcli connection load {path}"
            stored = parse(self.facts.files[profile.path])
            yield from change_profile(profile.nic, profile.sections, stored, active_on)
        else:
            new = {"network": profile.nic, "settings": profile.sections, "properties": {}}
            yield from explain_profile(new)
        if replaced:
            yield from _removed(replaced)

    def _device(self) -> Device | None:
        """Return the NIC that the profile is for; for a VLAN its device, which may not have been made yet."""
        below = self.profile.chosen(self.state.devices, self.state.nics)
        name = self.profile.device
        if not name or below is None:
            return below
        if name in self.state.nics and name in self.state.vlans:
            return self.state.vlans[name]
        # NetworkManager keeps one in mind that was deleted with its profile's end.
        return Device("", name, "", below.state, None, "", "", ())

    def _bound(self, device: Device) -> Profile:
        """Return the profile with the NIC's actual MAC."""
        if self.profile.device:
            return self.profile
        sections = dict(self.profile.sections)
        sections["ethernet"] = {**sections.get("ethernet", {}), "mac-address": device.mac}
        ipv4 = sections.get("ipv4", {})
        servers = [server for server in device.dns if "." in server]
        if self.profile.existing and ipv4.get("method") == "manual" and "dns" not in ipv4 and servers:
            # The file does not mention its name servers, so they stay.
            sections["ipv4"] = {**ipv4, "dns": "".join(f"{server};" for server in servers)}
        return replace(self.profile, mac=device.mac, sections=sections)

    def _refusal(self, device: Device | None) -> str | None:
        if self.profile.fault is not None:
            return self.profile.fault
        if device is None:
            return self.profile.not_there
        if device.interface in self.taken:
            return f"{device.interface} is the NIC of {self.taken[device.interface]} already"
        if not device.is_managed:
            return f"{device.interface} is not managed by NetworkManager"
        if not self.profile.existing:
            return None
        way = way_in(self.facts, self.profile.reached_at)
        return cut_off(way, self.profile.sections, device.interface, self.state.nics)

    def _replaced(self, device: Device) -> list[str]:
        """Return cloud-init's profiles of this NIC, which labrun's replaces.

        On an existing machine also labrun's profiles under other names, from another lab file.
        """
        kinds = ("cloud-init-", "labrun-") if self.profile.existing else ("cloud-init-",)
        paths = []
        for path, text in sorted(self.facts.files.items()):
            if path == self.profile.path or not path.startswith(tuple(f"{DIRECTORY}/{k}" for k in kinds)):
                continue
            sections = parse(text)
            mac = sections.get("ethernet", {}).get("mac-address", "").lower()
            name = sections.get("connection", {}).get("interface-name", "")
            if mac == device.mac or (not mac and name == device.interface):
                paths.append(path)
        return paths

    def _uuid(self, device: Device, replaced: list[str]) -> str:
        """Return the profile's UUID: that of the active profile if it may be taken over."""
        volatile = not device.file or device.file.startswith(f"{_RUNTIME}/")
        if device.profile is not None and (device.file in (*replaced, self.profile.path) or volatile):
            return device.profile
        stored = parse(self.facts.files.get(self.profile.path, ""))
        own = stored.get("connection", {}).get("uuid")
        return own or self.profile.sections["connection"]["uuid"]


def _mac_diff(device: Device, profile: Profile) -> list[str]:
    """Return the MAC of a VLAN's device beside its own, by which it is known."""
    wanted = profile.sections.get("ethernet", {}).get("cloned-mac-address", "").lower()
    if not profile.device or not device.path or device.mac == wanted:
        return []
    return [f"-{device.interface}: MAC {device.mac}", f"+{device.interface}: MAC {wanted}"]


def _activation_diff(device: Device, uuid: str, profile: Profile) -> list[str]:
    if device.profile == uuid and device.is_up:
        return []
    return [
        f"-{device.interface}: {device.profile_id or 'no profile'}",
        f"+{device.interface}: {profile_id(profile.nic)}",
    ]


def _several(sections: Sections) -> str:
    """Return the IPv4 addresses of a profile that has several, otherwise nothing."""
    addresses = intent(sections, 4).addresses
    return " ".join(map(str, addresses)) if len(addresses) > 1 else ""


def _removed(paths: Iterable[str]) -> Iterator[str]:
    yield f"rm -f {' '.join(quote(path) for path in paths)}"
    yield "nmcli connection reload"
