"""A lab over several hypervisors: which of them answer, where its hosts are, and what of it is on each."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from labrun.errors import HypervisorError, UsageError
from labrun.hypervisor import connect, enter_network, is_local, networks_of, translated
from labrun.hypervisor_uri import VARIABLE, asked_hypervisor
from labrun.inventory.hosts.leases import LibvirtLeases
from labrun.inventory.hosts.locate import Located, entry_network, first_hop
from labrun.inventory.model import Lab
from labrun.inventory.topology.parts import homes_of, part_of, placement_faults, spanned
from labrun.inventory.topology.placement import Placement, place_hosts
from labrun.ports import Lease
from labrun.state import LabState
from labrun.state_members import NotedMember, noted_members
from labrun.tasks.provision.domains import tagged_domains
from labrun.tasks.provision.network_settings import read_settings
from labrun.tasks.provision.tunnel_paths import TunnelPath

__all__ = ["Member", "Span", "SpanLeases", "open_span", "with_mtus"]

_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Member:
    """A hypervisor of the lab that answers, by its name, and the lab as it has it.

    The name is empty and the lab whole where it is the only one.
    """

    name: str
    uri: str
    part: Lab

    def label(self, name: str) -> str:
        """Return the name of a thing on it, as rows have it."""
        return f"{name} on {self.name}" if self.name else name


@dataclass(frozen=True, slots=True)
class Span:
    """Where the hosts of a lab are; ``gone`` has the hypervisors that do not answer, with the error.

    ``declared`` are the networks whose MTU is the file's, ``recorded`` has that of others as libvirt has it.
    ``paths`` are the ways from each hypervisor to its peers as far as they were measured, ``silent`` those
    that have no shell to measure them from, and why.
    """

    lab: Lab
    placement: Placement
    members: tuple[Member, ...]
    gone: Mapping[str, HypervisorError]
    declared: frozenset[str] = frozenset()
    recorded: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    paths: Mapping[str, TunnelPath] = field(default_factory=lambda: MappingProxyType({}))
    silent: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def uris(self) -> tuple[str, ...]:
        """Return the URIs of those that answer."""
        return tuple(member.uri for member in self.members)

    def lost(self) -> dict[str, str]:
        """Return the hosts whose hypervisor does not answer, with the reason."""
        return {
            host: f"its hypervisor {name} does not answer: {error.reason}"
            for name, error in self.gone.items()
            for host in self.placement.on(name)
        }

    def way_uri(self, host: str) -> str:
        """Return the URI of the hypervisor through which a host is reached: the home of a network."""
        network = entry_network(self.lab, host)
        home = homes_of(self.lab, self.placement).get(network or "")
        return self.lab.hypervisors[home].uri if home is not None else ""

    def through(self, located: Mapping[str, Located]) -> dict[str, Located]:
        """Return where hosts can be reached, with the login to a remote hypervisor before it."""
        lost = self.lost()
        found = {}
        for name, where in located.items():
            hop = first_hop(self.lab, self.way_uri(name), name)
            found[name] = replace(where, hypervisor=hop)
            if name in lost:
                found[name] = replace(found[name], address=None, reason=lost[name])
        return found

    def faults(self) -> dict[tuple[str, str, str], str]:
        """Return why the lab cannot be as the file says: of hosts, and of networks of ``hypervisor``."""
        from labrun.outcome import HYPERVISOR

        found = {(host, "machine", host): why for host, why in self.placement.homeless.items()}
        for host, there in self.placement.moved.items():
            wanted = self.placement.places[host].hypervisor
            why = f"it is on {there}, and the file puts it on {wanted}"
            found[host, "machine", host] = f"{why} (`labrun down --hosts {host}` removes it there)"
        for network, why in placement_faults(self.lab, self.placement).items():
            found[HYPERVISOR, "network", network] = why
        return found

    def short_notes(self) -> list[str]:
        """Return, for people, one line per hypervisor: its hosts by the reason why they are there."""
        lines = []
        for name, each in self.lab.hypervisors.items():
            reasons: dict[str, list[str]] = {}
            for host in self.placement.on(name):
                reasons.setdefault(self.placement.places[host].why, []).append(host)
            said = "; ".join(f"{_named(hosts)} ({why})" for why, hosts in reasons.items()) or "no hosts"
            gone = self.gone.get(name)
            silent = f" does not answer: {gone.reason}" if gone is not None else ""
            lines.append(f"hypervisor {name}{silent or f' ({each.uri})'}: {said}")
        return lines

    def notes(self) -> list[str]:
        """Return, for people, the hypervisors, and the place of each host with the reason."""
        lines = [f"hypervisor {name}: {each.uri}" for name, each in self.lab.hypervisors.items()]
        lines += [f"hypervisor {name} does not answer: {error.reason}" for name, error in self.gone.items()]
        places = self.placement.places.items()
        return lines + [f"{host}: on {place.hypervisor} ({place.why})" for host, place in places]


@dataclass(frozen=True, slots=True)
class SpanLeases:
    """A :class:`labrun.ports.LeaseSource` over several libvirt URIs."""

    uris: tuple[str, ...]

    def leases(self, networks: Iterable[str]) -> tuple[Lease, ...]:
        """Return the leases of all of them. Raises HypervisorError."""
        names = tuple(networks)
        return tuple(lease for uri in self.uris for lease in LibvirtLeases(uri).leases(names))


def _named(hosts: list[str]) -> str:
    more = len(hosts) - _MOST_NAMED
    return ", ".join(hosts[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def open_span(lab: Lab, state: LabState) -> Span:
    """Ask every hypervisor of the lab what it has, and return where its hosts are.

    Raises HypervisorError if none answers, if two are the same machine, or if one is silent that has nothing
    of the lab yet: a lab is not half made. Raises UsageError if one is set for the whole lab.
    """
    if asked := asked_hypervisor():
        raise UsageError(
            f"{VARIABLE} names one hypervisor, and the lab file has several",
            hint=f"unset {VARIABLE}, or leave `hypervisors` out of the file: {asked}",
        )
    for each in lab.hypervisors.values():
        if is_local(each.uri):
            enter_network(each.uri)
    noted = noted_members(state)
    gone: dict[str, HypervisorError] = {}
    memory: dict[str, int] = {}
    there: dict[str, str] = {}
    machines: dict[str, str] = {}
    for name, each in lab.hypervisors.items():
        try:
            connection = connect(each.uri)
            own = _machine_id(connection)
            memory[name] = int(connection.getInfo()[1])
            there |= {tag.host: name for _, tag, _ in _domains(each.uri, lab.name)}
        except HypervisorError as error:
            if not _has_part(noted.get(name), each.uri):
                raise
            gone[name] = error
            continue
        if own in machines:
            raise HypervisorError(
                f"the hypervisors {machines[own]} and {name} are the same machine: both say {own}",
                step="hypervisors",
                hint="remove one; of copied machines, give one another host_uuid in libvirtd.conf",
            )
        machines[own] = name
    if len(gone) == len(lab.hypervisors):
        raise next(iter(gone.values()))
    for name in gone:
        there = {**dict.fromkeys(noted[name].hosts, name), **there}
    placement = place_hosts(lab, there, memory)
    answering = [name for name in lab.hypervisors if name not in gone]
    recorded = MappingProxyType(_recorded_mtus(lab, placement, answering))
    members = tuple(Member(name, lab.hypervisors[name].uri, lab) for name in answering)
    declared = frozenset(name for name, each in lab.networks.items() if each.mtu is not None)
    return with_mtus(Span(lab, placement, members, MappingProxyType(gone), declared, recorded), recorded)


def with_mtus(span: Span, mtus: Mapping[str, int]) -> Span:
    """Return the lab with these MTUs of networks for which the file names none, by network."""
    networks = {
        name: replace(each, mtu=mtus[name]) if name in mtus and name not in span.declared else each
        for name, each in span.lab.networks.items()
    }
    lab = replace(span.lab, networks=MappingProxyType(networks))
    members = [replace(each, part=part_of(lab, span.placement, each.name)) for each in span.members]
    return replace(span, lab=lab, members=tuple(members))


def _recorded_mtus(lab: Lab, placement: Placement, answering: Iterable[str]) -> dict[str, int]:
    """Return the MTU that networks that span have in libvirt, by network, where the file names none."""
    found: dict[str, int] = {}
    for member in answering:
        connection = connect(lab.hypervisors[member].uri)
        names = {
            lab.libvirt_name(name): name
            for name, on in spanned(lab, placement).items()
            if member in on and lab.networks[name].mtu is None
        }
        with translated("hypervisors"):
            for network, xml in networks_of(connection) if names else ():
                name, mtu = names.get(network.name()), read_settings(xml)["mtu"]
                if name is not None and mtu:
                    found[name] = min(found.get(name, int(mtu)), int(mtu))
    return found


def _has_part(noted: NotedMember | None, uri: str) -> bool:
    return noted is not None and noted.uri == uri


def _machine_id(connection: Any) -> str:
    with translated("hypervisors"):
        root = ET.fromstring(connection.getCapabilities())  # noqa: S314 - libvirt's own output
    return root.findtext("./host/uuid", "")


def _domains(uri: str, lab: str) -> list[tuple[Any, Any, str]]:
    """Return the lab's domains under every driver of the hypervisor."""
    from labrun.tasks.provision.driver_registry import lab_drivers

    found = []
    for _, driver_uri in lab_drivers(uri):
        try:
            found += tagged_domains(connect(driver_uri), lab)
        except HypervisorError:
            if driver_uri == uri:
                raise
    return found
