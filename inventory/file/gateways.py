"""Check a host's default gateway and static routes: next hops must be on one of its networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from labrun.inventory.file.addressing import is_link
from labrun.inventory.file.merging import Merged
from labrun.inventory.file.network_models import RouteModel, with_static
from labrun.inventory.file.nics import Nics
from labrun.inventory.file.problems import Path, Report, quoted
from labrun.inventory.file.validate import Dropped
from labrun.inventory.model import Address, Gateway, Interface, Network, Prefix, StaticRoute
from labrun.inventory.topology.eui64 import link_local

__all__ = ["WaysOut"]


@dataclass(frozen=True, slots=True)
class _OnLink:
    """Where a next hop is: ``nic`` for a link-local address; others are where their subnet is."""

    nic: str | None


@dataclass(frozen=True, slots=True)
class WaysOut:
    """Resolve gateways and routes against the NICs of all hosts."""

    networks: Mapping[str, Network]
    nics: Nics
    cut: Dropped
    report: Report

    def gateway(self, host: Merged) -> Gateway:
        """Return the declared gateway; an unreachable one is reported and treated as ``auto``."""
        text = host.model.gateway or "auto"
        if text == "auto":
            return Gateway("auto")
        if text == "none":
            return Gateway("none")
        path = host.path("gateway")
        address = _as_address(text)
        if address is not None:
            found = self._on_link(path, host, address)
            return Gateway("address", address=_plain(address), nic=found.nic if found else None)
        if self._is_neighbour(path, host, text):
            shared = [nic for nic, _ in self._shared(host.name, text)]
            if text not in self.nics.doubtful and not any(nic.ipv4 or nic.ipv6 for nic in shared):
                self.report.add(path, f"{text} has no known address on a network of {host.name}")
            return Gateway("host", host=text)
        return Gateway()

    def routes(self, host: Merged) -> tuple[StaticRoute, ...]:
        """Return the declared routes, each with its next-hop address; invalid ones are reported."""
        found: list[StaticRoute] = []
        first: dict[Prefix, Path] = {}
        for number, route in enumerate(with_static(host.model.routes or []).static or ()):
            long = (*host.path("routes"), "static", number)
            path = long if self.report.is_in_file(long) else (*host.path("routes"), number)
            if first.setdefault(route.to, path) != path:
                line = self.report.line_of(first[route.to])
                self.report.add(path, f"two routes go to {route.to}", f"the first is in line {line}")
                continue
            own = next((nic.network for nic in self._nics(host.name) if route.to in self._subnets(nic)), None)
            if own is not None:
                self.report.add((*path, "to"), f"{route.to} is {host.name}'s own network {own}")
                continue
            resolved = self._via((*path, "via"), host, route)
            if resolved is not None:
                found.append(resolved)
        return tuple(found)

    def _via(self, path: Path, host: Merged, route: RouteModel) -> StaticRoute | None:
        address = _as_address(route.via)
        if address is not None:
            if address.version != route.to.version:
                self.report.add(
                    path, f"{address} is IPv{address.version}, {route.to} is IPv{route.to.version}"
                )
                return None
            found = self._on_link(path, host, address)
            return StaticRoute(route.to, _plain(address), found.nic) if found else None
        if not self._is_neighbour(path, host, route.via):
            return None
        for theirs, _ in self._shared(host.name, route.via):
            mine = theirs.ipv4 if route.to.version == 4 else theirs.ipv6
            if mine is not None:
                return StaticRoute(route.to, mine.ip)
        if route.via not in self.nics.doubtful:
            what = f"{route.via} has no known IPv{route.to.version} address on a network of {host.name}"
            self.report.add(path, what)
        return None

    def _is_neighbour(self, path: Path, host: Merged, name: str) -> bool:
        if name == host.name:
            self.report.add(path, f"{name} cannot go through itself")
        elif name not in self.nics.by_host:
            if not self.cut.has("hosts", name):
                self.report.unknown(path, "host", name, self.nics.by_host)
        elif self._shared(host.name, name):
            return True
        elif not self.nics.doubtful & {host.name, name}:
            mine = ", ".join(dict.fromkeys(nic.network for nic in self._nics(host.name))) or "none"
            self.report.add(path, f"{name} is on none of {host.name}'s networks", f"they are: {mine}")
        return False

    def _on_link(self, path: Path, host: Merged, address: Address) -> _OnLink | None:
        """Return where an address can be a neighbour of the host; report it and return None if nowhere."""
        if isinstance(address, IPv6Address) and address.scope_id is not None and not address.is_link_local:
            self.report.add(path, f"{_plain(address)} is not link-local", "leave out what follows the %")
            return None
        if isinstance(address, IPv6Address) and address.is_link_local:
            return self._on_network(path, host, address)
        return _OnLink(None) if self._in_subnet(path, host, address) else None

    def _on_network(self, path: Path, host: Merged, address: IPv6Address) -> _OnLink | None:
        """Return the NIC of a link-local address: the one it names, or the only one that it can be at."""
        mine = [nic for nic in self._nics(host.name) if nic.has(6)]
        named = address.scope_id
        if named is not None:
            if any(nic.name == named for nic in mine):
                return _OnLink(named)
            names = ", ".join(nic.name for nic in mine) or "none"
            what = f"{host.name} has no IPv6 address on a network {quoted(named)}"
            self.report.add(path, what, f"those it has one on: {names}")
            return None
        first = [nic for nic in mine if nic.network not in {each.network for each in mine[: mine.index(nic)]}]
        held = [nic.name for nic in first if self._is_held(nic.network, address)]
        fitting = held or [nic.name for nic in first]
        if len(fitting) == 1:
            return _OnLink(fitting[0])
        if mine:
            what = f"{address} may be on each of {host.name}'s networks"
            self.report.add(path, what, f"write {address}%{fitting[0]}")
        elif host.name not in self.nics.doubtful:
            self.report.add(path, f"{address} is IPv6, and {host.name} has no IPv6 address")
        return None

    def _is_held(self, network: str, address: IPv6Address) -> bool:
        """Tell whether a NIC of the lab on this network makes the link-local address from its MAC."""
        return any(
            nic.network == network and nic.mac and link_local(nic.mac) == address
            for nics in self.nics.by_host.values()
            for nic in nics
        )

    def _in_subnet(self, path: Path, host: Merged, address: Address) -> bool:
        """Tell whether an address can be a neighbour of the host by the subnets; report it if not."""
        own = [nic for nic in self._nics(host.name) if address in _addresses(nic)]
        if own:
            self.report.add(path, f"{address} is {host.name}'s own address on {own[0].name}")
            return False
        subnets = [subnet for nic in self._nics(host.name) for subnet in self._subnets(nic)]
        holding = next((subnet for subnet in subnets if address in subnet), None)
        if holding is not None:
            last = holding.broadcast_address if address.version == 4 else None
            if not is_link(holding) and address in (holding.network_address, last):
                self.report.add(path, f"{address} is not the address of a host in {holding}")
                return False
            return True
        # A network without a subnet in the file is an external one, where any address may exist.
        if any(self._is_open(nic, address.version) for nic in self._nics(host.name)):
            return True
        if host.name not in self.nics.doubtful:
            shown = (
                ", ".join(str(subnet) for subnet in subnets if subnet.version == address.version) or "none"
            )
            self.report.add(path, f"{address} is on none of {host.name}'s networks", f"they are: {shown}")
        return False

    def _shared(self, host: str, other: str) -> list[tuple[Interface, Interface]]:
        """Return (the other's NIC, the host's) for every NIC on a common network, in the host's order."""
        theirs = self._nics(other)
        return [(there, nic) for nic in self._nics(host) for there in theirs if there.network == nic.network]

    def _nics(self, host: str) -> tuple[Interface, ...]:
        return self.nics.by_host.get(host, ())

    def _subnets(self, nic: Interface) -> list[Prefix]:
        network = self.networks[nic.network]
        return [subnet for subnet in (network.cidr, network.cidr6) if subnet is not None]

    def _is_open(self, nic: Interface, version: int) -> bool:
        network = self.networks[nic.network]
        return (
            network.cidr if version == 4 else network.cidr6
        ) is None and not network.mode.has_hypervisor_address


def _addresses(nic: Interface) -> list[Address]:
    return [interface.ip for interface in nic.addresses]


def _plain(address: Address) -> Address:
    """Return an address without the name of its network."""
    return IPv6Address(int(address)) if isinstance(address, IPv6Address) else address


def _as_address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
