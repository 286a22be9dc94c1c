"""What a try of a forwarded port means, by what the hosts behind it showed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from types import MappingProxyType

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.inventory.topology.hypervisor_forwards import forward_trials
from labrun.inventory.topology.routing import route_table
from labrun.outcome import Status
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.forward_judge import TriedForward, expected_forwards, forward_rows
from labrun.tasks.collect.schedule import collect_spec
from labrun.tasks.guest.facts.links import Link, LinkAddress
from labrun.tasks.guest.facts.routes import ObservedRoute
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.provision.forward_trials import dialled_address, try_forwards
from labrun.tasks.provision.hypervisor_network import HypervisorNetwork

CLIENT = ip_address("192.0.2.1")
BY_FILE = "by the lab file it cannot be"
DROPPED = "something drops it"
NOBODY = "no host of the lab has that address"
TEXT = """\
networks:
  lan:
    mode: nat
    cidr: 10.1.0.0/24
    forward:
      - {port: 8080, to: "web:80"}
      - {port: 8081, to: "shut:80"}
      - {port: 8082, to: "kept:80"}
      - {port: 53, to: "web:53", proto: udp}
      - {port: 8083, to: "10.1.0.99:80"}
  other: {cidr: 10.2.0.0/24}
hosts:
  web: {networks: {lan: 10.1.0.11}}
  shut: {networks: {lan: 10.1.0.12}, firewall: {input: drop}}
  kept: {networks: {lan: {ipv4: 10.1.0.13, filter: quiet}}}
filters: {quiet: [{deny: in, proto: tcp, port: 80}]}
"""


@pytest.fixture(scope="module")
def lab() -> Lab:
    return load_lab("-", stdin=io.StringIO(f"name: demo\nhypervisor: lxc:///system\n{TEXT}"))


def healthy(lab: Lab) -> dict[str, Capture | Unreachable]:
    found: dict[str, Capture | Unreachable] = {}
    for name, host in lab.hosts.items():
        (nic,) = host.interfaces
        assert nic.ipv4 is not None
        link = Link("eth0", nic.mac, mtu=1500, held=(LinkAddress(nic.ipv4),))
        routes = tuple(ObservedRoute(r.prefix, r.via, "eth0") for r in route_table(lab, name))
        found[name] = Capture(links={nic.mac: link}, routes=routes, facts=Facts())
    return found


def row(
    lab: Lab, port: int, tried: TriedForward, **changes: Capture | Unreachable
) -> tuple[Status, str | None, str | None]:
    (trial,) = (each for each in forward_trials(lab) if each.forward.port == port)
    (found,) = forward_rows(lab, {**healthy(lab), **changes}, {trial: tried})
    assert (found.host, found.section, found.expected) == ("hypervisor", "forward", "open")
    return found.status, found.actual, found.why


@pytest.mark.parametrize(
    ("port", "seen", "status", "actual", "why"),
    [
        (8080, "open", Status.OK, "open", None),
        (8080, "refused", Status.WARNING, "refused", "nothing listens on tcp/80 on web"),
        (8080, "filtered", Status.FAILED, "filtered", f"no answer from tcp/80 on web: {DROPPED}"),
        (
            8081,
            "filtered",
            Status.FAILED,
            "filtered",
            f"{BY_FILE}: shut: firewall.input is drop and no rule accepts it",
        ),
        (
            8082,
            "filtered",
            Status.FAILED,
            "filtered",
            f"{BY_FILE}: hypervisor: the filter quiet drops tcp/80 at kept's NIC on lan",
        ),
        (53, "silent", Status.UNKNOWN, "no answer", "over UDP no answer can be open or filtered"),
        (8083, "refused", Status.WARNING, "refused", "nothing listens on tcp/80 on 10.1.0.99"),
        (
            8083,
            "filtered",
            Status.FAILED,
            "filtered",
            "no answer from tcp/80 on 10.1.0.99: no host of the lab has that address",
        ),
    ],
)
def test_what_was_seen_is_judged_by_the_file(
    lab: Lab, port: int, seen: str, status: Status, actual: str, why: str | None
) -> None:
    assert row(lab, port, TriedForward(seen, CLIENT)) == (status, actual, why)  # type: ignore[arg-type]


def test_a_host_without_a_way_back_is_named(lab: Lab) -> None:
    web = healthy(lab)["web"]
    assert isinstance(web, Capture)
    no_default = replace(web, routes=tuple(each for each in web.routes if each.prefix.prefixlen))
    found = row(lab, 8080, TriedForward("filtered", CLIENT), web=no_default)
    assert found == (Status.FAILED, "filtered", "web: no route back to 192.0.2.1")
    nowhere = replace(web, links=MappingProxyType({}))
    found = row(lab, 8080, TriedForward("filtered", CLIENT), web=nowhere)
    assert found[2] == f"web: no NIC has {lab.hosts['web'].interfaces[0].mac}, its MAC on lan"


def test_a_host_that_does_not_answer_decides_nothing(lab: Lab) -> None:
    off = Unreachable("the machine is shut off: `labrun up` starts it")
    for port, seen in ((8080, "filtered"), (53, "silent")):
        found = row(lab, port, TriedForward(seen, CLIENT), web=off)  # type: ignore[arg-type]
        assert (found[0], found[2]) == (Status.UNREACHABLE, f"web: {off.reason}")
    assert row(lab, 8080, TriedForward("open", CLIENT), web=off)[0] is Status.OK


def test_what_cannot_be_tried_is_unknown_and_what_is_lost_is_closed(lab: Lab) -> None:
    assert row(lab, 8080, TriedForward("error", why="so")) == (Status.UNKNOWN, "not tried", "so")
    assert row(lab, 8080, TriedForward("lost", why="gone")) == (Status.FAILED, "closed", "gone")


def test_a_port_of_another_machine_is_not_tried_from_here(lab: Lab) -> None:
    trials = tuple(expected_forwards(lab, ["web"]))
    assert [each.forward.port for each in trials] == [8080, 53, 8083]
    found = try_forwards(lab, "qemu+ssh://far.test/system", trials)
    why = "not tried from here: qemu+ssh://far.test/system is another machine"
    assert set(found.values()) == {TriedForward("error", why=why)}


def test_udp_is_judged_by_the_sockets_of_the_host_behind(lab: Lab) -> None:
    assert [name for name in lab.hosts if collect_spec(lab, name).listeners] == ["web"]
    web = healthy(lab)["web"]
    assert isinstance(web, Capture)
    for text, expected in (
        ("UNCONN 0 0 0.0.0.0:53 0.0.0.0:*\n", (Status.OK, "open")),
        ("UNCONN 0 0 0.0.0.0:67 0.0.0.0:*\n", (Status.WARNING, "refused")),
    ):
        facts = Facts(commands={"listeners": Captured(text, 0)})
        assert row(lab, 53, TriedForward("silent", CLIENT), web=replace(web, facts=facts))[:2] == expected


def held(**devices: str) -> Mapping[str, Link]:
    return {
        name: Link(name, "02:00:00:00:00:01", mtu=1500, held=(LinkAddress(ip_interface(address)),))
        for name, address in devices.items()
    }


@pytest.mark.parametrize(
    ("devices", "up", "at"),
    [
        ({"virbr1": "10.1.0.1/24"}, ("virbr1",), "127.0.0.1"),
        ({"virbr1": "10.1.0.1/24", "eth0": "192.0.2.1/24"}, ("virbr1", "eth0"), "192.0.2.1"),
        ({"virbr1": "10.1.0.1/24", "eth0": "192.0.2.1/24"}, ("virbr1",), "127.0.0.1"),
        ({"virbr2": "10.2.0.1/24", "virbr1": "10.1.0.1/24"}, ("virbr1", "virbr2"), "127.0.0.1"),
        ({"eth0": "169.254.1.1/16"}, ("eth0",), "127.0.0.1"),
    ],
)
def test_a_port_is_tried_at_an_address_outside_the_lab(
    lab: Lab, devices: dict[str, str], up: tuple[str, ...], at: str
) -> None:
    here = HypervisorNetwork(held(**devices), frozenset(up), ())
    assert str(dialled_address(lab, forward_trials(lab)[0], here)) == at
