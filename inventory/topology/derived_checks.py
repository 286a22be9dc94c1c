"""What firewalls and port forwards imply for connections: a few samples for each rule and policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from labrun.inventory.check_model import Check
from labrun.inventory.model import Address, Host, Lab, Prefix
from labrun.inventory.topology.check_instance import ACCEPTED, CheckInstance
from labrun.inventory.topology.filter_trials import filter_trials
from labrun.inventory.topology.flows import Flow, accepted, redirections
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.reach import Connection, Verdict, reach
from labrun.inventory.topology.wiring import Attachment, Version, wiring

__all__ = ["derived_trials"]

_VERSIONS: tuple[Version, ...] = (4, 6)
# sshd listens on every host, so a dropped connection looks different from a closed port.
_SSH = 22
# A firewall accepts SSH to itself; rules hardly ever open one of these.
_UNUSED = (23, 79, 7, 9)


_Chain = Literal["input", "forward"]
_Found = tuple[str, str, Connection, str]
"""Source, target, the connection, and its expected result."""


def derived_trials(lab: Lab) -> tuple[CheckInstance, ...]:
    """Return the connections that must be accepted or dropped, in file order and without duplicates.

    One pair of hosts stands for each TCP rule, each port forward, each pair of networks between which a
    forward chain drops, each network from which an input chain drops, and each port and direction of a
    filter's rules.
    """
    found: dict[tuple[str, Address, int, str], CheckInstance] = {}
    for host in lab.hosts.values():
        for version in _VERSIONS:
            derived = _Derived(lab, host, version).all() if host.firewall or host.nat else ()
            for source, target, dialled, expect in (*derived, *filter_trials(lab, host, version)):
                key = dialled.source, dialled.address, dialled.port, dialled.proto
                found.setdefault(key, _trial(source, target, dialled, expect, version))
    return tuple(found.values())


def _trial(source: str, target: str, dialled: Connection, expect: str, version: Version) -> CheckInstance:
    what = f"{dialled.proto}/{dialled.port}{' (IPv6)' if version == 6 else ''}"
    name = f"{source} -> {target} {what}"
    check = Check(name, source, target, dialled.proto, str(dialled.port), expect)
    return CheckInstance(check, name, source, target, dialled.address, derived=True)


@dataclass(frozen=True, slots=True)
class _Derived:
    """What one host's firewall and port forwards imply in one IP version."""

    lab: Lab
    host: Host
    version: Version

    def all(self) -> Iterator[_Found]:
        yield from self._forwards()
        for flow in self._rules("forward"):
            yield from self._shown(flow, self._some(flow.targets))
        for flow in self._rules("input"):
            yield from self._shown(flow, self._own())
        firewall = self.host.firewall
        if firewall is not None and firewall.forward == "drop":
            yield from self._between()
        if firewall is not None and firewall.input == "drop":
            yield from self._into()

    def _rules(self, chain: _Chain) -> Iterator[Flow]:
        for flow in accepted(self.lab, self.host, chain):
            if flow.proto == "tcp" and flow.version in (None, self.version):
                yield flow

    def _forwards(self) -> Iterator[_Found]:
        for each in redirections(self.lab, self.host):
            if each.proto != "tcp" or each.version != self.version or each.address is None:
                continue
            # The first host of a network may be the one that the forward leads to.
            for source in (there for network in self.lab.networks for there in self._on(network)[:2]):
                dialled = Connection(source.host, each.address, each.port)
                verdict = self._verdict(dialled)
                if verdict is not None and verdict.passes and (self.host.name, each.text) in verdict.rules:
                    yield source.host, self.host.name, dialled, ACCEPTED
                    break

    def _shown(self, flow: Flow, targets: Sequence[Attachment]) -> Iterator[_Found]:
        """Yield the first pair of hosts whose connection the rule accepts, or nothing if there is none."""
        covers_ssh = not flow.ports or any(low <= _SSH <= high for low, high in flow.ports)
        port = _SSH if covers_ssh else flow.ports[0][0]
        for source in self._some(flow.sources):
            for target in targets:
                dialled = self._dialled(source, target, port, named=bool(flow.targets))
                verdict = self._verdict(dialled) if dialled is not None else None
                if dialled and verdict and verdict.passes and (self.host.name, flow.text) in verdict.rules:
                    yield source.host, target.host, dialled, ACCEPTED
                    return

    def _between(self) -> Iterator[_Found]:
        for start in self.host.interfaces:
            for end in self.host.interfaces:
                if start.network != end.network:
                    pairs = ((s, t) for s in self._on(start.network)[:1] for t in self._on(end.network)[:1])
                    yield from self._first_dropped(pairs, "forward", (_SSH,))

    def _into(self) -> Iterator[_Found]:
        for network in dict.fromkeys(nic.network for nic in self.host.interfaces):
            pairs = ((source, own) for source in self._on(network)[:1] for own in self._own())
            yield from self._first_dropped(pairs, "input", _UNUSED)

    def _first_dropped(
        self,
        pairs: Iterable[tuple[Attachment, Attachment]],
        chain: _Chain,
        ports: tuple[int, ...],
    ) -> Iterator[_Found]:
        by = f"{self.host.name}: firewall.{chain} is "
        for source, target in pairs:
            for port in ports:
                dialled = self._dialled(source, target, port)
                verdict = self._verdict(dialled) if dialled is not None else None
                if dialled is not None and verdict is not None and verdict.by.startswith(by):
                    yield source.host, target.host, dialled, "filtered"
                    return

    def _dialled(
        self, source: Attachment, target: Attachment, port: int, *, named: bool = False
    ) -> Connection | None:
        """Return a connection to the usual address, or to exactly this one if a rule names it."""
        if source.host == target.host:
            return None
        usual = paths(self.lab, self.version).target_address(source.host, target.host)
        return Connection(source.host, target.address if named or usual is None else usual, port)

    def _verdict(self, dialled: Connection) -> Verdict | None:
        return reach(self.lab, dialled)

    def _some(self, prefixes: Sequence[Prefix]) -> tuple[Attachment, ...]:
        """Return one host per network, other than the firewall, with an address in one of the prefixes."""
        first: dict[str, Attachment] = {}
        for network in self.lab.networks:
            for there in self._on(network):
                if not prefixes or any(there.address in prefix for prefix in prefixes):
                    first.setdefault(network, there)
        return tuple(first.values())

    def _on(self, network: str) -> tuple[Attachment, ...]:
        members = wiring(self.lab, self.version).on[network]
        return tuple(there for there in members if there.host != self.host.name)

    def _own(self) -> tuple[Attachment, ...]:
        return wiring(self.lab, self.version).of[self.host.name]
