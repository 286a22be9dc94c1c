"""One NIC of ifupdown: whether its stanza, what is in force and the kernel agree, and how to make them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from labrun.tasks.configure.ifupdown_file import file_path, file_text
from labrun.tasks.configure.ifupdown_script import IfupdownWork, PreviousStanza
from labrun.tasks.configure.lockout import cut_off, way_in
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
from labrun.tasks.guest.facts.ifupdown import FOLDER, MAIN, UNITS, IfupdownLink, IfupdownState, stanzas
from labrun.tasks.guest.facts.nics import Nic
from labrun.tasks.guest.facts.units import no_start
from labrun.tasks.guest.keyfile import intent
from labrun.tasks.guest.shell import Facts, quote, typed_file
from labrun.tasks.state.item import Item, Words, spelled

__all__ = ["CLOUD_INIT", "IfupdownNic"]

CLOUD_INIT = f"{FOLDER}/50-cloud-init"
_LINK_LOCAL = ("disabled", "ignore", "link-local")


@dataclass(frozen=True, slots=True)
class IfupdownNic:
    """One NIC: what is wanted, and what is observed; ``taken`` = NICs of the file by interface so far.

    ``metric`` is that of its routes where the lab file gives none. ``exclusive`` = others' files are removed.
    """

    profile: Profile
    facts: Facts
    state: IfupdownState
    taken: dict[str, str]
    metric: int
    exclusive: bool = False

    def plan(self, work: IfupdownWork) -> None:
        """Add this NIC's item, and the steps to fix it, to the work."""
        nic, sections = self.profile.nic, self.profile.sections
        below = self.profile.chosen(self.state.links, self.state.nics)
        link = self._link(below)
        device = device_change(self.profile, self.facts, below.interface) if below is not None else None
        reason = self._vlan_fault(below, device) or self._refusal(link)
        if reason is not None or link is None or below is None:
            work.items.append(self.profile.refused(reason or "", is_there=link is not None))
            return
        self.taken[link.interface] = nic
        path = file_path(nic)
        kernel = self.state.nics.get(link.interface, Nic(0, frozenset(), frozenset(), {}))
        text = file_text(sections, link.interface, self.metric, below.interface if device is not None else "")
        stored = self.state.files.get(path)
        replaced = [each for each in stanzas(self.state.files, link.interface) if self._goes(each, path)]
        on_disk = [*_lines_diff(text, stored or ""), *(f"-{each}" for each in replaced)]
        no_ipv6 = [*ipv6_diff(sections, link.interface, self.state.no_ipv6)]
        runtime = runtime_diff(sections, link, kernel, has_usual_mtu=self.profile.has_usual_mtu)
        hidden = [*no_ipv6, *choices_diff(sections, link, kernel, self.state.policy)]
        in_force = [*hidden, *runtime, *_activation_diff(link)]
        in_force += device.diff if device is not None else []
        want = {"profile": text, "nic": text}
        shown = (*shown_choices(sections, link, kernel, self.state.policy), *no_ipv6)
        seen = {
            "profile": stored or "",
            "nic": shown_state(link, kernel) + "".join(f"{line}\n" for line in shown),
        }
        if device is not None:
            seen["nic"] += f"{device.have or 'no device'}\n"
        holds = {"profile": not on_disk, "nic": not in_force}
        summary = actual_summary(link, kernel, f"iface {link.interface}")
        item = Item(
            nic,
            want,
            spelled(want, seen, holds),
            seen=seen,
            note=lacking(hidden) if hidden else None,
            words=Words(expected_summary(sections), summary, "\n".join([*on_disk, *in_force])),
        )
        work.items.append(self._at_boot(item))
        if item.state == "ok":
            return
        if text != stored:
            work.write[path] = text
        work.remove.extend(replaced)
        if kernel.mtu != 1500 and "mtu" not in sections.get("ethernet", {}) and " mtu " in (stored or ""):
            work.reset_mtu.append(link.interface)
        elif self.profile.resets_mtu(kernel.mtu):
            work.reset_mtu.append(link.interface)
            work.commands.append(usual_mtu(link.interface))
        if no_ipv6:
            work.enable_ipv6.append(link.interface)
        work.await_ipv6 |= sections.get("ipv6", {}).get("method") not in _LINK_LOCAL
        work.bring.append((link.interface, nic, intent(sections, 6).method == "auto"))
        if device is not None:
            work.has_device(device)
        # What was not there is gone again without its stanza.
        if device is None or device.have is not None:
            work.was.append(PreviousStanza(link.interface, link.is_up, kernel.mtu))
        work.gateways.extend(new_gateways(sections, kernel))
        typed = {path: text} if on_disk else {}
        work.commands.extend(self._typed(typed, link.interface, replaced, device))

    def _typed(
        self, texts: Mapping[str, str], interface: str, replaced: list[str], device: DeviceChange | None
    ) -> Iterator[str]:
        """Yield the equivalent commands for a person to type; ``texts`` are the files to write."""
        if replaced:
            yield f"rm -f {' '.join(map(quote, replaced))}"
        yield from (typed_file(path, text, "0644") for path, text in texts.items())
        yield from device.typed if device is not None else ()
        yield f"ip address flush dev {quote(interface)} scope global && ifup --force {quote(interface)}"

    def _link(self, below: IfupdownLink | None) -> IfupdownLink | None:
        """Return the NIC that the stanza is for; for a VLAN its device, which may not have been made yet."""
        name = self.profile.device
        if not name or below is None:
            return below
        return self.state.vlans.get(name) or IfupdownLink(name, own_mac(self.profile.sections), is_up=False)

    def _vlan_fault(self, below: IfupdownLink | None, device: DeviceChange | None) -> str | None:
        if device is None or below is None or self.profile.fault is not None:
            return None
        unset = f"{below.interface}, which carries {self.profile.device}, cannot be set"
        return device.refused or (None if below.interface in self.taken else unset)

    def _refusal(self, link: IfupdownLink | None) -> str | None:
        if self.profile.fault is not None:
            return self.profile.fault
        if link is None:
            return self.profile.not_there
        if link.interface in self.taken:
            return f"{link.interface} is the NIC of {self.taken[link.interface]} already"
        fault = _folder_fault(self.state.files.get(MAIN, ""), is_ng=self.state.is_ng)
        if fault is not None:
            return fault
        path = file_path(self.profile.nic)
        for other in stanzas(self.state.files, link.interface):
            if other != path and not self._goes(other, path):
                return f"{other} has a stanza of {link.interface} too: remove it there"
        meant = [intent(self.profile.sections, version) for version in (4, 6)]
        if not self.state.resolver and any(each.dns or each.searches for each in meant):
            return "ifupdown leaves name servers to resolvconf, which is not installed: install openresolv"
        if not self.profile.existing:
            return None
        way = way_in(self.facts, self.profile.reached_at)
        return cut_off(way, self.profile.sections, link.interface, self.state.nics)

    def _goes(self, path: str, own: str) -> bool:
        """Tell whether another file with a stanza of the NIC is removed: cloud-init's, and labrun's own.

        On an existing machine it may have the NICs of another lab file, and those that none names.
        """
        if path in (own, MAIN):
            return False
        if self.exclusive:
            return True
        return not self.profile.existing and (path == CLOUD_INIT or path.startswith(f"{FOLDER}/labrun-"))

    def _at_boot(self, item: Item) -> Item:
        """Return the item with what the next boot brings instead, if it brings something else."""
        unit = no_start(self.facts, UNITS)
        if unit is None:
            return item
        words = replace(item.words, actual=f"{item.actual} (not kept across a reboot)")
        shown = replace(item, later={**item.have, "nic": ""}, words=words)
        why = unit.not_at_boot
        return replace(shown, refused=why) if item.state == "ok" else replace(shown, note=why)


def _folder_fault(main: str, *, is_ng: bool) -> str | None:
    """Return why labrun's files would not be read, None if they are."""
    words = (line.split() for line in main.splitlines())
    sources = {each[1]: each[0] for each in words if len(each) == 2 and each[0].startswith("source")}
    # It takes a pattern for the name of a file, and without that file it brings nothing up.
    patterns = [f"{sources[each]} {each}" for each in sources if is_ng and "*" in each]
    if patterns:
        wanted = f"write `source-directory {FOLDER}`"
        return f"ifupdown-ng does not know the pattern in `{patterns[0]}` of {MAIN}: {wanted}"
    if {f"{FOLDER}/*", FOLDER, "interfaces.d/*", "interfaces.d"} & sources.keys():
        return None
    return f"{MAIN} does not read {FOLDER}: add `source-directory {FOLDER}` to it"


def _lines_diff(text: str, stored: str) -> list[str]:
    lines = difflib.ndiff(stored.splitlines(), text.splitlines())
    return [f"{line[0]}{line[2:]}" for line in lines if line[0] in "+-"]


def _activation_diff(link: IfupdownLink) -> list[str]:
    return [] if link.is_up else [f"+{link.interface}: brought up by ifup"]
