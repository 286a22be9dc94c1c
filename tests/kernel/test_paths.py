"""Expected paths against a kernel: the same topology as network namespaces, everybody traced by everybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from labrun.inventory.kernel_values import role_values
from labrun.inventory.model import Host, Lab, Role
from labrun.inventory.topology.paths import paths
from labrun.inventory.topology.reach import Connection, reach
from labrun.inventory.topology.routing import metric_of, route_table
from labrun.tasks.configure.nft_text import definition, replacement, ssh_line
from tests.unit.small_labs import host, lab, network

from .generated_labs import KINDS, generated

SCRIPT = Path(__file__).with_name("namespaces.py")
AT_ONCE = 8
SECONDS = 120
Probe = tuple[str, str, str]
"""Who asks, whom, and which address."""
Dial = tuple[str, str, int]
"""Who dials, which address, which port."""


def topology(of: Lab) -> tuple[dict[str, Any], list[Probe]]:
    """Return what the namespaces are made from, and who is to be traced from where."""
    names, networks = list(of.hosts), list(of.networks)
    probes = list(probes_of(of))
    return {
        "networks": [
            [str(own) for own in (each.hypervisor4, each.hypervisor6) if own is not None]
            for each in of.networks.values()
        ],
        "hosts": [
            {
                "nics": [
                    [
                        networks.index(nic.network),
                        [str(own) for own in (nic.ipv4, nic.ipv6) if own is not None],
                        metric_of(each, nic),
                    ]
                    for nic in each.interfaces
                ],
                # What is connected the kernel knows by itself.
                "routes": [
                    [str(route.prefix), str(route.via), place_of(each, route.nic)]
                    for route in route_table(of, each.name)
                    if route.via is not None
                ],
                "sysctl": sysctl_of(each),
                "nft": nft_of(of, each),
            }
            for each in of.hosts.values()
        ],
        "probes": [[names.index(source), address] for source, _, address in probes],
        "dials": [
            [names.index(source), address, port] for source, _, address in probes for port in ports_of(of)
        ],
        "longest": len(of.hosts) + 1,
    }, probes


def nft_of(of: Lab, who: Host) -> str:
    text = definition(of, who)
    return ssh_line([22]) + replacement(text) if text else ""


def ports_of(of: Lab) -> tuple[int, ...]:
    """Return the ports to dial: none where there is nothing that could tell them apart."""
    return (22, 80, 81, 8080) if any(each.firewall for each in of.hosts.values()) else ()


def place_of(who: Host, name: str) -> int:
    return next(place for place, nic in enumerate(who.interfaces) if nic.name == name)


def sysctl_of(who: Host) -> dict[str, str]:
    if who.role is not Role.ROUTER:
        return role_values(who)
    held = dict.fromkeys(("net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter"), "2")
    switches = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
    return {**role_values(who), **switches, **held, **who.sysctl}


def probes_of(of: Lab) -> Iterator[Probe]:
    for source in of.hosts.values():
        for target in of.hosts.values():
            if source is not target:
                for address in aims(source, target):
                    yield source.name, target.name, address


def aims(source: Host, target: Host) -> Iterator[str]:
    """Yield the target's address on the first network both are on, else its first, of each IP version."""
    for version in ("ipv4", "ipv6"):
        # Of several on one network, the first.
        last_first = reversed(target.interfaces)
        theirs = {nic.network: own for nic in last_first if (own := getattr(nic, version)) is not None}
        shared = [nic.network for nic in source.interfaces if getattr(nic, version) and nic.network in theirs]
        if theirs:
            yield str(
                theirs[shared[0]].ip
                if shared
                else next(own for nic in target.interfaces if (own := getattr(nic, version)) is not None).ip
            )


def traced(of: Lab) -> tuple[dict[Probe, list[str | None] | None], dict[Dial, bool]]:
    """Return what the kernel shows: the hops, and who gets an answer on which port."""
    content, probes = topology(of)
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT)],
        input=json.dumps(content),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    dials = [(source, address, port) for source, _, address in probes for port in ports_of(of)]
    return dict(zip(probes, said["hops"], strict=True)), dict(zip(dials, said["answers"], strict=True))


def expected(of: Lab, probe: Probe) -> list[str | None] | None:
    source, target, address = probe
    path = paths(of, 6 if ":" in address else 4).path(source, target)
    assert str(path.address) == address
    return None if path.fault else [None if hop is None else str(hop) for hop in path.hops]


def differences(of: Lab) -> dict[str, tuple[object, object]]:
    """Return where labrun and the kernel disagree: first what labrun says."""
    assert os.geteuid() == 0, "network namespaces are root's to make"
    seen, answered = traced(of)
    said = {probe: expected(of, probe) for probe in seen}
    found: dict[str, tuple[object, object]] = {
        " ".join(probe): (said[probe], seen[probe]) for probe in seen if said[probe] != seen[probe]
    }
    for (source, address, port), answer in answered.items():
        verdict = reach(of, Connection(source, ip_address(address), port))
        if verdict is not None and verdict.passes is not answer:
            found[f"{source} {address} {port}"] = verdict, answer
    return found


def persistent(of: Lab) -> dict[str, tuple[object, object]]:
    """Return what differs every time."""
    once = differences(of)
    return {} if not once else {what: each for what, each in differences(of).items() if what in once}


@pytest.mark.parametrize("numbers", [range(2), pytest.param(range(2, 60), marks=pytest.mark.full)], ids=len)
@pytest.mark.parametrize("kind", KINDS)
def test_every_path_is_what_the_kernel_does(kind: str, numbers: range) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda number: differences(generated(kind, number)), numbers))
    differing = [number for number, each in zip(numbers, found, strict=True) if each]
    # On a busy machine an answer may come late: what differs is asked again, alone.
    assert {number: each for number in differing if (each := persistent(generated(kind, number)))} == {}


def test_the_namespaces_notice_when_a_path_is_another() -> None:
    """The oracle itself: a lab whose file says one thing, on namespaces that were told another."""
    told = lab(
        [network("n0", "10.0.0.0/24"), network("n1", "10.0.1.0/24")],
        [
            host("r0", {"n0": "10.0.0.10/24", "n1": "10.0.1.10/24"}, "router"),
            host("h1", {"n0": "10.0.0.11/24"}),
            host("h2", {"n1": "10.0.1.12/24"}),
        ],
    )
    assert differences(told) == {}
    content, probes = topology(told)
    content["hosts"][0]["sysctl"]["net.ipv4.ip_forward"] = "0"
    content["hosts"][2]["routes"] = []
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT)],
        input=json.dumps(content),
        capture_output=True,
        text=True,
        check=True,
    )
    seen = dict(zip(probes, json.loads(done.stdout)["hops"], strict=True))
    assert seen["h1", "h2", "10.0.1.12"] is None
    assert seen["h1", "r0", "10.0.0.10"] == ["10.0.0.10"]
    assert seen["h2", "r0", "10.0.1.10"] == ["10.0.1.10"]
