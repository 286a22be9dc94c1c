"""NetworkManager profiles: one per NIC, bound to its MAC, in force without cutting the session.

Each NIC has three states that can differ: the profile's file, what NetworkManager made of it, and
what the kernel does. A plan puts right whichever is off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from labrun.errors import CommandError
from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.keyfile import Hop, Intent, Sections, intent, parse, properties, render
from labrun.tasks.configure.nm_commands import explain_profile
from labrun.tasks.configure.nm_profiles import desired_profiles, profile_id, property_fault
from labrun.tasks.configure.nm_state import ACTIVATED, PROBE, Device, Link, NmState, observed
from labrun.tasks.configure.plan import Item, Json, SectionPlan
from labrun.tasks.configure.shell import Facts, Probe, install, quote

__all__ = ["DIRECTORY", "Nmcli"]

DIRECTORY = "/etc/NetworkManager/system-connections"
_RUNTIME = "/run/NetworkManager/system-connections"
_MTU = 1500
# Protocols of routes that a person or NetworkManager put there; daemons and the kernel use others.
_SET_BY_HAND = frozenset({"static", "boot", "dhcp", "ra"})

# A profile with the UUID of the active one is taken over by reapply, and no address goes away for a
# moment. Otherwise the NIC goes down and up: as a unit of its own, because the session may go with it.
_BRING = """\
bring() {
if [ "$3" = same ] && said=$(nmcli device reapply "$1" 2>&1); then return 0; fi
systemd-run --quiet --collect --wait --pipe nmcli --wait 30 connection up uuid "$2" ifname "$1" && return 0
echo "$4: $1 did not come up${said:+; reapply said: $said}"; return 1
}
bad=0
"""


def _path(network: str) -> str:
    return f"{DIRECTORY}/{profile_id(network)}.nmconnection"


@dataclass(frozen=True, slots=True)
class _Profile:
    """One NIC's desired profile; ``fault`` says why it cannot be, where it cannot."""

    network: str
    mac: str
    sections: Sections
    fault: str | None = None

    @property
    def path(self) -> str:
        return _path(self.network)

    def with_uuid(self, uuid: str) -> Sections:
        return {**self.sections, "connection": {**self.sections["connection"], "uuid": uuid}}


@dataclass(slots=True)
class _Work:
    """What the plan collects for the one script: files, removals, and NICs to bring up."""

    items: list[Item] = field(default_factory=list)
    write: dict[str, str] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    load: list[str] = field(default_factory=list)
    bring: list[tuple[str, str, bool, str]] = field(default_factory=list)
    reset_mtu: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


class Nmcli:
    """The resource ``nmcli``; rows are named after the networks."""

    section = "nmcli"

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return the profiles of all NICs."""
        return {"profiles": desired_profiles(lab, host), "exclusive": host.exclusive}

    def probe(self, want: Json) -> Probe:
        """Read labrun's and cloud-init's profiles, NetworkManager's objects, addresses and routes."""
        script = PROBE
        if any(_has_ipv6(profile) for profile in want["profiles"]):
            script += "capture route6 ip -j -6 route\n"
        script += "".join(_offline(profile) for profile in want["profiles"] if profile["properties"])
        # Other profiles may hold secrets; their names come from NetworkManager.
        return Probe((f"{DIRECTORY}/labrun-*.nmconnection", f"{DIRECTORY}/cloud-init-*.nmconnection"), script)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the NICs whose profile, activation or kernel state is not as declared."""
        profiles = [_profile(raw, facts) for raw in want["profiles"]]
        try:
            state = observed(facts)
        except CommandError as error:
            why = f"NetworkManager cannot be asked: {error.reason}"
            return SectionPlan(self.section, tuple(Item(p.network, "refused", why=why) for p in profiles))
        work = _Work()
        for profile in profiles:
            _Nic(profile, facts, state).plan(work)
        _strangers(want, profiles, facts, state, work)
        return SectionPlan(self.section, tuple(work.items), _script(work), "", tuple(work.commands))

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return ``nmcli connection add`` and ``up`` for every NIC."""
        return tuple(line for raw in want["profiles"] for line in explain_profile(raw, None))


def _has_ipv6(profile: Mapping[str, Any]) -> bool:
    return len(profile["settings"]["ipv6"]) > 1 or any(
        name.startswith("ipv6.") for name in profile["properties"]
    )


def _offline(profile: Mapping[str, Any]) -> str:
    """Let the guest's own nmcli put the lab file's properties into the profile, on paper only."""
    if any(property_fault(name, value) for name, value in profile["properties"].items()):
        return ""
    words = " ".join(quote(word) for pair in profile["properties"].items() for word in pair)
    text = quote(render(profile["settings"]))
    name = quote(f"profile-{profile['network']}")
    return f"printf %s {text} | capture {name} nmcli --offline connection modify {words}\n"


def _profile(raw: Mapping[str, Any], facts: Facts) -> _Profile:
    plain = _Profile(raw["network"], raw["mac"], raw["settings"])
    if not raw["properties"]:
        return plain
    faults = (property_fault(name, value) for name, value in raw["properties"].items())
    fault = next(filter(None, faults), None)
    said = facts.commands.get(f"profile-{plain.network}")
    if fault is None and said is not None and said.status == 0:
        return _Profile(plain.network, plain.mac, parse(said.text))
    fault = fault or f"nmcli refuses the properties: {said.last_line if said else 'no answer'}"
    return _Profile(plain.network, plain.mac, plain.sections, fault)


@dataclass(frozen=True, slots=True)
class _Nic:
    """One NIC: its desired profile beside what was observed."""

    profile: _Profile
    facts: Facts
    state: NmState

    def plan(self, work: _Work) -> None:
        """Add this NIC's item, and what makes it true, to the work."""
        profile, device = self.profile, self.state.devices.get(self.profile.mac)
        expected = _summary(profile.sections)
        reason = self._refusal(device)
        if reason is not None or device is None:
            work.items.append(Item(profile.network, "refused", expected, "", reason))
            return
        link = self.state.links.get(device.interface, Link(0, frozenset(), frozenset(), {}))
        replaced = self._replaced(device)
        uuid = self._uuid(device, replaced)
        stored = parse(self.facts.files.get(profile.path, ""))
        stored_uuid = stored.get("connection", {}).get("uuid", "")
        on_disk = [*_file_diff(profile, stored), *(f"-{path}" for path in replaced)]
        moved = stored_uuid != uuid
        in_force = list(_runtime_diff(profile.sections, device, link))
        if device.profile != uuid or device.state != ACTIVATED:
            in_force.append(f"-{device.interface}: {device.profile_id or 'no profile'}")
            in_force.append(f"+{device.interface}: {profile_id(profile.network)}")
        actual = _actual(device, link)
        unloaded = profile.path not in self.state.loaded
        if not (on_disk or in_force or moved or unloaded):
            work.items.append(Item(profile.network, "ok", expected, actual))
            return
        why = None if on_disk or in_force else "NetworkManager has not loaded the file"
        diff = "\n".join([*on_disk, *in_force]) or None
        work.items.append(Item(profile.network, "change", expected, actual, why, diff))
        if on_disk or moved:
            work.write[profile.path] = render(profile.with_uuid(uuid))
        work.remove.extend(replaced)
        work.load.extend([profile.path, *replaced])
        if (
            any(line.startswith("-ethernet.mtu") for line in on_disk)
            and "mtu" not in profile.sections["ethernet"]
        ):
            work.reset_mtu.append(device.interface)
        keeps = device.profile == uuid
        work.bring.append((device.interface, uuid, keeps, profile.network))
        raw = {"network": profile.network, "settings": profile.sections, "properties": {}}
        work.commands.extend(explain_profile(raw, device.interface if keeps else None))

    def _refusal(self, device: Device | None) -> str | None:
        if self.profile.fault is not None:
            return self.profile.fault
        if device is None:
            return f"no NIC here has the MAC {self.profile.mac}"
        if not device.is_managed:
            return f"{device.interface} is not managed by NetworkManager"
        try:
            for version in (4, 6):
                intent(self.profile.sections, version)
        except ValueError as error:
            return f"the profile makes no sense: {error}"
        return None

    def _replaced(self, device: Device) -> list[str]:
        """Return cloud-init's profiles of this NIC: they give way to labrun's."""
        found = []
        for path, text in sorted(self.facts.files.items()):
            if not path.startswith(f"{DIRECTORY}/cloud-init-"):
                continue
            sections = parse(text)
            mac = sections.get("ethernet", {}).get("mac-address", "").lower()
            name = sections.get("connection", {}).get("interface-name", "")
            if mac == self.profile.mac or (not mac and name == device.interface):
                found.append(path)
        return found

    def _uuid(self, device: Device, replaced: list[str]) -> str:
        """Return the UUID the profile shall have: that of the active one where it may be taken over."""
        volatile = not device.file or device.file.startswith(f"{_RUNTIME}/")
        if device.profile is not None and (device.file in replaced or volatile):
            return device.profile
        stored = parse(self.facts.files.get(self.profile.path, ""))
        own = stored.get("connection", {}).get("uuid")
        return own or self.profile.sections["connection"]["uuid"]


def _file_diff(profile: _Profile, stored: Sections) -> Iterator[str]:
    want, have = properties(profile.sections), properties(stored)
    for name in sorted(want.keys() | have.keys()):
        if want.get(name) == have.get(name):
            continue
        if name in have:
            yield f"-{name}: {have[name]}"
        if name in want:
            yield f"+{name}: {want[name]}"


def _runtime_diff(sections: Sections, device: Device, link: Link) -> Iterator[str]:
    for version in (4, 6):
        meant = intent(sections, version)
        yield from _address_diff(meant, link, version)
        yield from _route_diff(meant, link, version)
        missing = [server for server in meant.dns if server not in device.dns]
        if missing:
            yield f"+{device.interface}: dns {' '.join(missing)}"
    mtu = sections.get("ethernet", {}).get("mtu", "")
    if mtu.isdecimal() and int(mtu) and link.mtu != int(mtu):
        yield f"-{device.interface}: mtu {link.mtu}"
        yield f"+{device.interface}: mtu {mtu}"


def _address_diff(meant: Intent, link: Link, version: int) -> Iterator[str]:
    there = {address for address in link.addresses if address.version == version}
    lasting = {address for address in link.lasting if address.version == version}
    # Router advertisements bring addresses of their own, which may look lasting.
    ours = (
        frozenset()
        if version == 6 and meant.method == "auto"
        else there
        if meant.method == "manual"
        else lasting
    )
    for address in sorted(ours - set(meant.addresses)):
        yield f"-address {address}"
    for address in meant.addresses:
        if address not in there:
            yield f"+address {address}"
    if version == 4 and meant.method == "auto" and not there:
        yield "+address by DHCP"


def _route_diff(meant: Intent, link: Link, version: int) -> Iterator[str]:
    there = {hop: protocol for hop, protocol in link.routes.items() if hop.prefix.version == version}
    for hop, protocol in sorted(there.items(), key=lambda pair: str(pair[0])):
        if hop in meant.routes or protocol not in _SET_BY_HAND:
            continue
        announced = protocol in ("dhcp", "ra")
        if announced and (hop.prefix.prefixlen > 0 or meant.keeps_announced_default):
            continue
        yield f"-route {hop}"
    for hop in sorted(meant.routes - there.keys(), key=str):
        yield f"+route {hop}"


def _summary(sections: Sections) -> str:
    """Return addresses and gateway in a few words, for a table."""
    words = []
    for version in (4, 6):
        meant = intent(sections, version)
        if version == 4 and meant.method == "auto":
            words.append("dhcp")
        words.extend(str(address) for address in meant.addresses)
        words.extend(_gateways(meant.routes))
    return " ".join(words) or "no address"


def _gateways(routes: frozenset[Hop]) -> Iterator[str]:
    yield from (f"via {hop.via}" for hop in routes if hop.prefix.prefixlen == 0)


def _actual(device: Device, link: Link) -> str:
    words = [str(address) for address in sorted(link.addresses, key=lambda a: (a.version, a.ip.packed))]
    words.extend(_gateways(frozenset(link.routes)))
    return " ".join([*words, f"({device.profile_id or 'no profile'})"])


def _strangers(want: Json, profiles: list[_Profile], facts: Facts, state: NmState, work: _Work) -> None:
    """Add the profiles that have to go: labrun's own of former networks, with ``exclusive`` all others."""
    kept = {profile.path for profile in profiles} | set(work.remove)
    gone = {path for path in facts.files if path.startswith(f"{DIRECTORY}/labrun-")} - kept
    if want["exclusive"]:
        gone |= {path for path in state.loaded if path.startswith(f"{DIRECTORY}/")} - kept
    for path in sorted(gone):
        name = path.removeprefix(f"{DIRECTORY}/").removesuffix(".nmconnection")
        label = name.removeprefix("labrun-")
        work.items.append(Item(label, "change", "absent", f"profile {name}", None, f"-{path}"))
        work.remove.append(path)
        work.load.append(path)
        work.commands.append(f"nmcli connection delete {quote(name)}")


def _script(work: _Work) -> str:
    if not (work.load or work.bring):
        return ""
    lines = [install(path, text, "0600") for path, text in work.write.items()]
    if work.remove:
        lines.append("rm -f " + " ".join(quote(path) for path in dict.fromkeys(work.remove)))
    paths = " ".join(quote(path) for path in dict.fromkeys(work.load))
    lines.append(f"nmcli connection load {paths}")
    # NetworkManager leaves an MTU as it is when the profile no longer names one.
    lines.extend(f"ip link set dev {quote(interface)} mtu {_MTU}" for interface in work.reset_mtu)
    lines.append(_BRING.rstrip())
    for interface, uuid, same, network in work.bring:
        words = " ".join(quote(word) for word in (interface, uuid, "same" if same else "other", network))
        lines.append(f"bring {words} || bad=1")
    return "\n".join([*lines, "exit $bad"])
