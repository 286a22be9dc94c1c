"""Labs by number: the same number gives the same lab again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from labrun.inventory.model import Host, Interface, Lab, Network
from labrun.inventory.traffic import Firewall, FirewallRule, Forward, Nat
from tests.unit.small_labs import host, lab, network

__all__ = ["KINDS", "generated"]

_PORTS = ((), ((80, 80),), ((81, 81), (8080, 8090)))
_STRICT = dict.fromkeys(("net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter"), "1")


class _Drawing:
    """A lab that is being drawn: who is on which network, and what else they say."""

    def __init__(self, dice: random.Random, count: int) -> None:
        self.dice = dice
        self.nics: dict[str, list[int]] = {}
        self.routers: list[str] = []
        self.more: dict[str, dict[str, object]] = {}
        # Some networks speak only one of the two IP versions.
        self.versions = [dice.choice(("46", "46", "46", "4", "6")) for _ in range(count)]
        self.modes = ["isolated"] * count
        self.routing = "auto"
        self.flows: dict[str, tuple[Firewall | None, Nat | None]] = {}
        self.twins: dict[tuple[str, int], bool] = {}

    def router(self, *networks: int) -> str:
        self.routers.append(name := f"r{len(self.nics)}")
        self.nics[name] = list(dict.fromkeys(networks))
        return name

    def host(self, *networks: int) -> str:
        name = f"h{len(self.nics)}"
        self.nics[name] = list(dict.fromkeys(networks))
        return name

    def address(self, name: str, where: int, version: str) -> str:
        place = 10 + list(self.nics).index(name)
        return f"10.0.{where}.{place}" if version == "4" else f"fd00:{where}::{place:x}"

    def twin(self, name: str, where: int, version: str) -> str:
        """Return the address of the second NIC that somebody has on a network."""
        place = 110 + list(self.nics).index(name)
        return f"10.0.{where}.{place}" if version == "4" else f"fd00:{where}::{place:x}"

    def neighbours(self, name: str, version: str) -> list[str]:
        return [
            self.address(other, where, version)
            for other, theirs in self.nics.items()
            if other != name
            for where in self.nics[name]
            if where in theirs and version in self.versions[where]
        ]

    def goals(self, name: str, version: str) -> list[str]:
        """Return prefixes somebody may route: networks, single addresses, nearly everything."""
        far = [
            at for at, speaks in enumerate(self.versions) if version in speaks and at not in self.nics[name]
        ]
        short, long, wide = (24, 32, "10.0.0.0/16") if version == "4" else (64, 128, "fd00::/16")
        nets = [f"10.0.{at}.0/{short}" if version == "4" else f"fd00:{at}::/{short}" for at in far]
        single = [
            f"{self.address(other, at, version)}/{long}"
            for other, theirs in self.nics.items()
            for at in theirs
            if at in far
        ]
        return [*nets, *nets, *single, wide]

    def routes(self, name: str, most: int) -> None:
        """Give somebody up to so many routes of his own by neighbours of his."""
        drawn: dict[str, str] = {}
        for version in "46":
            near = self.neighbours(name, version)
            if near:
                goals = self.goals(name, version)
                wanted = self.dice.sample(goals, min(len(goals), self.dice.randint(0, most)))
                drawn |= {goal: self.dice.choice(near) for goal in wanted}
        self.more.setdefault(name, {})["routes"] = drawn

    def done(self) -> Lab:
        nets: list[Network] = []
        for at, (mode, speaks) in enumerate(zip(self.modes, self.versions, strict=True)):
            four = f"10.0.{at}.0/24" if "4" in speaks else None
            six = f"fd00:{at}::/64" if "6" in speaks else None
            nets.append(network(f"n{at}", four, mode, six))
        hosts: list[Host] = []
        for name, theirs in self.nics.items():
            words: Mapping[str, str] = {
                f"n{at}": " ".join(
                    f"{self.address(name, at, version)}/{24 if version == '4' else 64}"
                    for version in self.versions[at]
                )
                for at in theirs
            }
            role = "router" if name in self.routers else "host"
            made = host(name, words, role, **self.more.get(name, {}))  # type: ignore[arg-type]
            made = replace(made, interfaces=tuple(self._with_twins(made)))
            firewall, nat = self.flows.get(name, (None, None))
            hosts.append(replace(made, firewall=firewall, nat=nat))
        return lab(nets, hosts, self.routing)

    def _with_twins(self, made: Host) -> Iterator[Interface]:
        for nic, at in zip(made.interfaces, self.nics[made.name], strict=True):
            is_first = self.twins.get((made.name, at))
            words = [
                f"{self.twin(made.name, at, version)}/{24 if version == '4' else 64}"
                for version in self.versions[at]
            ]
            (twin,) = host(made.name, {nic.network: " ".join(words)}).interfaces
            other = replace(twin, name=f"{nic.network}-2", mac=f"06{nic.mac[2:]}")
            yield from (nic,) if is_first is None else (other, nic) if is_first else (nic, other)


def _chain(dice: random.Random) -> _Drawing:
    links = dice.randint(2, 5)
    drawing = _Drawing(dice, links + 1)
    for at in range(links):
        drawing.router(at, at + 1)
    for at in range(links + 1):
        drawing.host(at)
    return drawing


def _triangle(dice: random.Random) -> _Drawing:
    sides = dice.randint(3, 4)
    drawing = _Drawing(dice, 2 * sides)
    for at in range(sides):
        drawing.router(at, (at + 1) % sides, sides + at)
    for at in range(sides):
        drawing.host(sides + at)
    drawing.host(dice.randrange(sides))
    return drawing


def _several_paths(dice: random.Random) -> _Drawing:
    count = dice.randint(3, 5)
    drawing = _Drawing(dice, count)
    for _ in range(dice.randint(3, 5)):
        drawing.router(*dice.sample(range(count), dice.randint(2, 3)))
    for _ in range(dice.randint(2, 4)):
        drawing.host(*dice.sample(range(count), dice.choice((1, 1, 2))))
    return drawing


def _asymmetric(dice: random.Random) -> _Drawing:
    drawing = _several_paths(dice)
    for name in drawing.nics:
        version = dice.choice("46")
        near = drawing.neighbours(name, version)
        if near and name not in drawing.routers:
            drawing.more[name] = {"gateway": dice.choice(near)}
        elif name in drawing.routers and dice.random() < 0.5:
            drawing.routes(name, 1)
    return drawing


def _overrides(dice: random.Random) -> _Drawing:
    drawing = dice.choice((_chain, _triangle, _several_paths))(dice)
    for name in drawing.nics:
        if dice.random() < 0.6:
            drawing.routes(name, 2)
    return drawing


def _hole(dice: random.Random) -> _Drawing:
    """Draw routes by hand, as somebody does who forgets some."""
    drawing = dice.choice((_chain, _triangle))(dice)
    drawing.routing = "manual"
    for name in drawing.routers:
        drawing.routes(name, 4)
    return drawing


def _strict(dice: random.Random) -> _Drawing:
    drawing = _asymmetric(dice)
    for name in drawing.routers:
        if dice.random() < 0.5:
            drawing.more.setdefault(name, {})["sysctl"] = _STRICT
    return drawing


def _mixed(dice: random.Random) -> _Drawing:
    """Draw anything: uplinks, networks without hypervisor, hosts that route through hosts."""
    drawing = _several_paths(dice)
    drawing.modes = [dice.choice(("isolated", "very-isolated", "nat")) for _ in drawing.modes]
    for name in drawing.nics:
        if dice.random() < 0.4:
            drawing.routes(name, 2)
        near = drawing.neighbours(name, dice.choice("46"))
        if dice.random() < 0.3:
            drawing.more.setdefault(name, {})["gateway"] = dice.choice(["none", *near])
    drawing.routing = dice.choice(("auto", "auto", "manual"))
    return drawing


def _hiding(dice: random.Random) -> _Drawing:
    """Draw routers that hide networks, and no firewall."""
    drawing = dice.choice((_chain, _triangle, _several_paths, _asymmetric))(dice)
    networks = [f"n{at}" for at in range(len(drawing.versions))]
    for name in drawing.routers:
        names = tuple(dice.sample(networks, dice.randint(0, 2)))
        drawing.flows[name] = None, Nat(names)
    return drawing


def _filtering(dice: random.Random) -> _Drawing:
    """Draw firewalls anywhere, and routers that forward ports and hide networks."""
    drawing = dice.choice((_chain, _triangle, _several_paths, _asymmetric))(dice)
    networks = [f"n{at}" for at in range(len(drawing.versions))]
    ends = [None, *networks, *drawing.nics]
    for name, own in drawing.nics.items():
        rules = tuple(
            FirewallRule("tcp", dice.choice(_PORTS), dice.choice(ends), dice.choice(ends))
            for _ in range(dice.randint(0, 3))
        )
        policies = [dice.choice(("accept", "drop")) for _ in range(2)]
        firewall = Firewall(policies[0], policies[1], dice.random() < 0.5, rules)  # type: ignore[arg-type]
        near = [other for other, theirs in drawing.nics.items() if other != name and set(own) & set(theirs)]
        nat = None
        if name in drawing.routers and near:
            keys = dice.sample([(f"n{at}", port) for at in own for port in (80, 81)], dice.randint(0, 2))
            forward = tuple(
                Forward(on, port, dice.choice(near), dice.choice((80, 8080))) for on, port in keys
            )
            nat = Nat(tuple(dice.sample(networks, dice.randint(0, 1))), forward)
        drawing.flows[name] = firewall if dice.random() < 0.6 else None, nat
    return drawing


def _twins(dice: random.Random) -> _Drawing:
    """Draw any of them, with second NICs on some networks, before the first or after it."""
    drawing = dice.choice((_several_paths, _asymmetric, _strict, _mixed, _hiding, _filtering))(dice)
    for name, own in drawing.nics.items():
        for at in own:
            if dice.random() < 0.5:
                drawing.twins[name, at] = dice.random() < 0.5
    for name, own in drawing.nics.items():
        doors = [(other, at) for other, at in drawing.twins if other != name and at in own]
        if doors and dice.random() < 0.4:
            other, at = dice.choice(doors)
            version = dice.choice(drawing.versions[at])
            drawing.more.setdefault(name, {})["gateway"] = drawing.twin(other, at, version)
    return drawing


KINDS: Mapping[str, Callable[[random.Random], _Drawing]] = {
    "chain": _chain,
    "triangle": _triangle,
    "several-paths": _several_paths,
    "asymmetric": _asymmetric,
    "overrides": _overrides,
    "hole": _hole,
    "strict": _strict,
    "mixed": _mixed,
    "hiding": _hiding,
    "filtering": _filtering,
    "twins": _twins,
}
"""What is drawn, by name."""


def generated(kind: str, number: int) -> Lab:
    """Return the lab of this kind and number, dual-stack but for some of its networks."""
    dice = random.Random(f"{kind} {number}")
    return KINDS[kind](dice).done()
