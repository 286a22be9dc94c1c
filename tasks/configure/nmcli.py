"""NetworkManager profiles: one per NIC, bound to its MAC, in force without cutting the session.

Each NIC has three states that can differ: the profile's file, what NetworkManager made of it, and
what the kernel does. A plan puts right whichever is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from labrun.errors import CommandError
from labrun.inventory.existing import marked_nic
from labrun.inventory.model import Host, Lab
from labrun.secrets import is_secret
from labrun.tasks.configure.keyfile import Sections, intent, parse, properties, render
from labrun.tasks.configure.nm_commands import explain_profile
from labrun.tasks.configure.nm_diff import (
    actual_summary,
    expected_summary,
    file_diff,
    runtime_diff,
    shown_state,
    stored_state,
)
from labrun.tasks.configure.nm_profiles import (
    desired_profiles,
    profile_id,
    property_fault,
    secret_properties,
)
from labrun.tasks.configure.nm_state import PROBE, Device, Link, NmState, observed
from labrun.tasks.configure.nm_undo import Was, new_gateways, undo, was
from labrun.tasks.configure.plan import Item, Json, SectionPlan
from labrun.tasks.configure.shell import Captured, Facts, Probe, install, quote
from labrun.tasks.configure.way_in import PROBE as WAY_IN
from labrun.tasks.configure.way_in import cut_off, way_in

__all__ = ["DIRECTORY", "Nmcli"]

DIRECTORY = "/etc/NetworkManager/system-connections"
_RUNTIME = "/run/NetworkManager/system-connections"
_MTU = 1500

# A profile with the UUID of the active one is taken over by reapply, and no address goes away for a
# moment. Of several IPv4 addresses it loses some where the first changes and the kernel does not promote the
# others (promote_secondaries). Then, and otherwise, the NIC goes down and up: as a unit of its own, because
# the session may go with it.
_BRING = """\
holds() {
n=0
until there=$(ip -o -4 address show dev "$1"); missing=; for a in $2; do
case $there in *" $a "*) ;; *) missing=$a;; esac
done; [ -z "$missing" ]; do n=$((n + 1)); [ $n -lt 10 ] || return 1; sleep 0.1; done
}
bring() {
if [ "$3" = same ] && said=$(nmcli device reapply "$1" 2>&1) && holds "$1" "$5"; then return 0; fi
systemd-run --quiet --collect --wait --pipe nmcli --wait 30 connection up uuid "$2" ifname "$1" && return 0
echo "$4: $1 did not come up${said:+; reapply said: $said}"; return 1
}
bad=0
"""
# The kernel first asks whether somebody else has a new IPv6 address (RFC 4862) and uses it only then:
# about two seconds in which whoever verifies would find it dead. Not for link-local addresses: every NIC
# has one, and nobody is to wait for it where IPv4 is all there is.
_SETTLE = """\
n=0
while [ $n -lt 25 ] && [ -n "$(ip -6 address show scope global tentative)" ]; do n=$((n + 1)); sleep 0.2; done
"""


# NetworkManager passes over a profile that others may read or that is not root's.
_LOOSE = (
    f"capture loose find {DIRECTORY} -maxdepth 1 -name 'labrun-*.nmconnection' "
    "'(' -perm /077 -o ! -user 0 ')'\n"
)


def _path(network: str) -> str:
    return f"{DIRECTORY}/{profile_id(network)}.nmconnection"


@dataclass(frozen=True, slots=True)
class _Profile:
    """One NIC's desired profile; ``fault`` says why it cannot be, where it cannot.

    Of a machine that labrun did not make (``existing``), ``marks`` tell the NIC where ``mac`` is
    empty, and ``reached_at`` is the address that must not go away.
    """

    network: str
    mac: str
    sections: Sections
    existing: bool = False
    marks: tuple[str, ...] = ()
    reached_at: str | None = None
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
    bring: list[tuple[str, str, bool, str, str]] = field(default_factory=list)
    reset_mtu: list[str] = field(default_factory=list)
    was: list[Was] = field(default_factory=list)
    gateways: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


class Nmcli:
    """The resource ``nmcli``; rows are named after the networks."""

    section = "nmcli"

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return the profiles of all NICs; None for an existing machine of which the file names none."""
        if host.address is not None and not host.interfaces:
            return None
        profiles = desired_profiles(lab, host)
        return {
            "profiles": profiles,
            "exclusive": host.exclusive,
            "secrets": secret_properties(profiles),
        }

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the networks that have a profile."""
        return tuple(str(profile["network"]) for profile in want["profiles"])

    def probe(self, want: Json) -> Probe:
        """Read labrun's and cloud-init's profiles, NetworkManager's objects, addresses and routes."""
        script = PROBE + _LOOSE
        if any(_has_ipv6(profile) for profile in want["profiles"]):
            script += "capture route6 ip -j -6 route\n"
        if any(profile["existing"] for profile in want["profiles"]):
            script += WAY_IN
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
            return SectionPlan(self.section, tuple(_unasked(profile, why) for profile in profiles))
        work = _Work()
        taken: dict[str, str] = {}
        for profile in profiles:
            _Nic(profile, facts, state, taken).plan(work)
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
            apply=_script(work),
            undo=undo(touched, work.load, work.was) if work.load else "",
            commands=tuple(work.commands),
            secrets=tuple(seen),
            saves=touched,
            gateways=tuple(work.gateways),
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return ``nmcli connection add`` and ``up`` for every NIC, then what removes cloud-init's."""
        lines = [line for raw in want["profiles"] for line in explain_profile(raw, None)]
        # On an existing machine they may be those of NICs that the file does not name.
        if lines and not any(raw["existing"] for raw in want["profiles"]):
            lines += [f"rm -f {DIRECTORY}/cloud-init-*.nmconnection", "nmcli connection reload"]
        return tuple(lines)


def _unasked(profile: _Profile, why: str) -> Item:
    declared, observed = render(profile.sections), "NetworkManager does not answer"
    return Item(profile.network, "refused", why=why, declared=declared, observed=observed)


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
    plain = _Profile(
        raw["network"],
        raw["mac"],
        raw["settings"],
        raw["existing"],
        tuple(raw.get("marks", ())),
        raw.get("reached_at"),
    )
    if not raw["properties"]:
        return plain
    faults = (property_fault(name, value) for name, value in raw["properties"].items())
    fault = next(filter(None, faults), None)
    said = facts.commands.get(f"profile-{plain.network}")
    if fault is None and (said is None or said.status != 0):
        fault = f"nmcli refuses the properties: {said.last_line if said else 'no answer'}"
    if fault is not None or said is None:
        return replace(plain, fault=fault)
    sections = parse(said.text)
    try:
        expected_summary(sections)
    except ValueError as error:
        return replace(plain, fault=f"labrun cannot read what nmcli makes of the properties: {error}")
    return replace(plain, sections=sections)


def _activation_diff(device: Device, uuid: str, profile: _Profile) -> list[str]:
    if device.profile == uuid and device.is_up:
        return []
    return [
        f"-{device.interface}: {device.profile_id or 'no profile'}",
        f"+{device.interface}: {profile_id(profile.network)}",
    ]


@dataclass(frozen=True, slots=True)
class _Nic:
    """One NIC: its desired profile beside what was observed; ``taken`` = networks by interface so far."""

    profile: _Profile
    facts: Facts
    state: NmState
    taken: dict[str, str]

    def plan(self, work: _Work) -> None:
        """Add this NIC's item, and what makes it true, to the work."""
        device = self._device()
        reason = self._refusal(device)
        if reason is not None or device is None:
            declared, observed = render(self.profile.sections), None if device is not None else "no such NIC"
            work.items.append(
                Item(self.profile.network, "refused", why=reason, declared=declared, observed=observed)
            )
            return
        self.taken[device.interface] = self.profile.network
        profile = self._bound(device)
        link = self.state.links.get(device.interface, Link(0, frozenset(), frozenset(), {}))
        replaced = self._replaced(device)
        uuid = self._uuid(device, replaced)
        stored = parse(self.facts.files.get(profile.path, ""))
        on_disk = [*file_diff(profile.sections, stored), *(f"-{path}" for path in replaced)]
        loose = profile.path in self.facts.commands.get("loose", Captured("", 0)).text.splitlines()
        if loose:
            on_disk.append(f"+{profile.path}: owner root, mode 0600")
        in_force = [*runtime_diff(profile.sections, device, link), *_activation_diff(device, uuid, profile)]
        expected = expected_summary(profile.sections)
        actual = actual_summary(device, link, profile_id(profile.network))
        loaded = profile.path in self.state.loaded
        sides = {
            "declared": render(self.profile.sections),
            "observed": f"{stored_state(stored, loaded=loaded, loose=loose)}{shown_state(device, link)}",
        }
        moved = stored.get("connection", {}).get("uuid", "") != uuid
        if not (on_disk or in_force or moved or not loaded):
            work.items.append(Item(profile.network, "ok", expected, actual, **sides))
            return
        why = None if on_disk or in_force else "NetworkManager has not loaded the file"
        diff = "\n".join([*on_disk, *in_force]) or None
        work.items.append(Item(profile.network, "change", expected, actual, why, diff, **sides))
        if on_disk or moved:
            work.write[profile.path] = render(profile.with_uuid(uuid))
        # A profile changed in memory only lies in /run and hides the file until it is gone.
        shadow = f"{_RUNTIME}/{profile_id(profile.network)}.nmconnection"
        hiding = [shadow] if shadow in self.state.loaded else []
        work.remove.extend([*replaced, *hiding])
        work.load.extend([profile.path, *replaced, *hiding])
        named = any(line.startswith("+ethernet.mtu") for line in on_disk)
        if not named and any(line.startswith("-ethernet.mtu") for line in on_disk):
            work.reset_mtu.append(device.interface)
        same = device.profile == uuid
        work.bring.append((device.interface, uuid, same, profile.network, _several(profile.sections)))
        work.was.append(was(device, link, self.facts.files))
        work.gateways.extend(new_gateways(profile.sections, link))
        raw = {"network": profile.network, "settings": profile.sections, "properties": {}}
        work.commands.extend(explain_profile(raw, device if same else None))

    def _device(self) -> Device | None:
        """Return the NIC with the profile's MAC; without one, the NIC that its marks tell."""
        if self.profile.mac:
            return self.state.devices.get(self.profile.mac)
        by_name = {device.interface: device for device in self.state.devices.values()}
        shown = {name: link.addresses for name, link in self.state.links.items() if name in by_name}
        found = marked_nic(self.profile.marks, shown)
        return by_name[found] if found is not None else None

    def _bound(self, device: Device) -> _Profile:
        """Return the profile with the MAC that the NIC really has."""
        sections = dict(self.profile.sections)
        sections["ethernet"] = {**sections.get("ethernet", {}), "mac-address": device.mac}
        ipv4 = sections.get("ipv4", {})
        servers = [server for server in device.dns if "." in server]
        if self.profile.existing and ipv4.get("method") == "manual" and "dns" not in ipv4 and servers:
            # The file says nothing of its name servers, so they stay.
            sections["ipv4"] = {**ipv4, "dns": "".join(f"{server};" for server in servers)}
        return replace(self.profile, mac=device.mac, sections=sections)

    def _refusal(self, device: Device | None) -> str | None:
        if self.profile.fault is not None:
            return self.profile.fault
        if device is None:
            if self.profile.mac:
                return f"no NIC here has the MAC {self.profile.mac}"
            return "no single NIC here has an address of this network: name its `mac`"
        if device.interface in self.taken:
            return f"{device.interface} is the NIC of {self.taken[device.interface]} already"
        if not device.is_managed:
            return f"{device.interface} is not managed by NetworkManager"
        if not self.profile.existing:
            return None
        way = way_in(self.facts, self.profile.reached_at)
        return cut_off(way, self.profile.sections, device.interface, self.state.links)

    def _replaced(self, device: Device) -> list[str]:
        """Return cloud-init's profiles of this NIC: they give way to labrun's.

        On an existing machine those of labrun under other names do too: another lab file had them.
        """
        kinds = ("cloud-init-", "labrun-") if self.profile.existing else ("cloud-init-",)
        found = []
        for path, text in sorted(self.facts.files.items()):
            if path == self.profile.path or not path.startswith(tuple(f"{DIRECTORY}/{k}" for k in kinds)):
                continue
            sections = parse(text)
            mac = sections.get("ethernet", {}).get("mac-address", "").lower()
            name = sections.get("connection", {}).get("interface-name", "")
            if mac == device.mac or (not mac and name == device.interface):
                found.append(path)
        return found

    def _uuid(self, device: Device, replaced: list[str]) -> str:
        """Return the UUID the profile shall have: that of the active one where it may be taken over."""
        volatile = not device.file or device.file.startswith(f"{_RUNTIME}/")
        if device.profile is not None and (device.file in (*replaced, self.profile.path) or volatile):
            return device.profile
        stored = parse(self.facts.files.get(self.profile.path, ""))
        own = stored.get("connection", {}).get("uuid")
        return own or self.profile.sections["connection"]["uuid"]


def _several(sections: Sections) -> str:
    """Return the IPv4 addresses of a profile that has several, else nothing."""
    addresses = intent(sections, 4).addresses
    return " ".join(map(str, addresses)) if len(addresses) > 1 else ""


def _strangers(want: Json, profiles: list[_Profile], facts: Facts, state: NmState, work: _Work) -> None:
    """Add the profiles that have to go: labrun's own of former networks, with ``exclusive`` all others."""
    kept = {profile.path for profile in profiles} | set(work.remove)
    own = {path for path in facts.files if path.startswith(f"{DIRECTORY}/labrun-")}
    # On an existing machine, NICs that this file does not name may be another lab file's.
    gone = set() if any(profile.existing for profile in profiles) else own - kept
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
    for interface, uuid, same, network, addresses in work.bring:
        how = "same" if same else "other"
        words = " ".join(quote(word) for word in (interface, uuid, how, network, addresses))
        lines.append(f"bring {words} || bad=1")
    if work.bring:
        lines.append(_SETTLE.rstrip())
    return "\n".join([*lines, "exit $bad"])
