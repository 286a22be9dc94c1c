"""What became of full segments: as a host prints it, and what it means."""

from __future__ import annotations

import io
from dataclasses import replace
from types import MappingProxyType

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.inventory.topology.placement import place_hosts
from labrun.inventory.topology.routing import route_table
from labrun.inventory.topology.segments import SegmentTrial, segment_trials
from labrun.outcome import Outcome, Status
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.schedule import collect_spec, seconds_for
from labrun.tasks.collect.segment_rows import segment_rows
from labrun.tasks.collect.segments import SegmentTry, Stream, read_segment
from labrun.tasks.guest.facts.links import Link, LinkAddress
from labrun.tasks.guest.facts.routes import ObservedRoute
from labrun.tasks.guest.shell import Captured, Facts

TEXT = """\
name: demo
hypervisors:
  a: {uri: "qemu:///system", tunnel: 10.0.0.1}
  b: {uri: "qemu+ssh://lab@b/system", tunnel: 10.0.0.2}
networks: {lan: {mode: isolated, cidr: 10.1.0.0/24, mtu: 1450}}
hosts:
  one: {hypervisor: a, networks: {lan: 10.1.0.11}}
  two: {hypervisor: b, networks: {lan: 10.1.0.12}}
"""
SOCKET = 'tcp socket ESTAB 0 0 10.1.0.11:5 10.1.0.12:22 users:(("nc",pid=9,fd=3)) cubic mss:1398 {}'
OPENED = "Connection to 10.1.0.12 22 port [tcp/*] succeeded!"


@pytest.fixture(scope="module")
def lab() -> Lab:
    return load_lab("-", stdin=io.StringIO(TEXT))


@pytest.fixture(scope="module")
def trial(lab: Lab) -> SegmentTrial:
    return next(segment_trials(lab, place_hosts(lab, {}, {"a": 64000, "b": 64000})))


@pytest.mark.parametrize(
    ("lines", "ping", "stream"),
    [
        (["ping 1422", SOCKET.format("bytes_sent:8000 bytes_acked:8001"), OPENED], 1422, "arrived"),
        (["ping 1422", SOCKET.format("bytes_sent:9398 bytes_retrans:1398 bytes_acked:1")], 1422, "lost"),
        (["ping 1422", SOCKET.format("bytes_sent:1398"), OPENED], 1422, "lost"),
        (["ping 1422", "tcp ended", SOCKET.format("bytes_acked:1399"), OPENED], 1422, "arrived"),
        (["ping 1422", "tcp socket SYN-SENT 0 1 10.1.0.11:5 10.1.0.12:22"], 1422, "silent"),
        (["ping 1422", "tcp ended", "tcp socket ", "nc: connect: Connection refused"], 1422, "refused"),
        (["ping lost", "tcp none ss"], 0, "untried"),
        (["ping none", "tcp none nc"], None, "untried"),
        (["ping 99999999", "tcp socket "], None, "silent"),
    ],
)
def test_what_a_host_prints_is_read(lines: list[str], ping: int | None, stream: Stream) -> None:
    found = read_segment(Captured("\n".join(lines) + "\n", 0))
    assert found is not None
    assert (found.ping, found.stream) == (ping, stream)


@pytest.mark.parametrize("text", ["", "\n", "nonsense\n" * 9])
def test_output_without_a_beginning_is_none(text: str) -> None:
    assert read_segment(Captured(text, 0)) is None
    assert read_segment(None) is None


def captured(lab: Lab, host: str, mtu: int = 1450) -> Capture:
    (nic,) = lab.hosts[host].interfaces
    assert nic.ipv4 is not None
    link = Link("eth0", nic.mac, mtu=mtu, held=(LinkAddress(nic.ipv4),))
    routes = tuple(ObservedRoute(r.prefix, r.via, "eth0") for r in route_table(lab, host))
    return Capture(links={nic.mac: link}, routes=routes, facts=Facts())


def row(lab: Lab, trial: SegmentTrial, tried: SegmentTry | None, mtu: int = 1450) -> Outcome:
    one, two = captured(lab, "one", mtu), captured(lab, "two")
    if tried is not None:
        one = replace(one, segments=MappingProxyType({("lan", "two"): tried}))
    (found,) = segment_rows(lab, {"one": one, "two": two}, [trial])
    assert (found.host, found.section, found.expected) == ("one", "path", "1450 bytes")
    assert found.name == "one -> two: full segments on lan"
    return found


def test_what_arrives_is_ok(lab: Lab, trial: SegmentTrial) -> None:
    for ping in (1422, 0, None):
        found = row(lab, trial, SegmentTry(ping, "arrived"))
        assert (found.status, found.actual, found.why) == (Status.OK, "1450 bytes", None)


@pytest.mark.parametrize(("stream", "actual"), [("lost", "TCP is lost"), ("silent", "no connection")])
def test_tcp_that_is_lost_beside_full_pings_is_the_checksum_offload(
    lab: Lab, trial: SegmentTrial, stream: Stream, actual: str
) -> None:
    found = row(lab, trial, SegmentTry(1422, stream))
    assert (found.status, found.actual) == (Status.FAILED, actual)
    what = "pings of 1450 bytes get to two, and TCP does not: the checksum offload between a and b is broken"
    by_hand = "ethtool -K eth0 tx off"
    assert found.why == f"one: {what} (`{by_hand}`; or on a: `ethtool -K {trial.device} tx off`)"
    assert found.fault is not None
    assert (found.fault.host, found.fault.what, found.fault.by_hand) == ("one", what, (by_hand,))


def test_full_pings_that_are_lost_are_the_mtu(lab: Lab, trial: SegmentTrial) -> None:
    found = row(lab, trial, SegmentTry(1272, "lost"))
    what = "the MTU between a and b is too small for lan: 1300 of 1450 bytes get through"
    assert (found.status, found.actual) == (Status.FAILED, "1300 bytes")
    assert found.why == f"{what} (on a: `ip -d link show {trial.device}`, and the ways to its peers)"
    assert found.fault is not None
    assert (found.fault.host, found.fault.what) == (None, what)


def test_a_nic_with_a_small_mtu_is_named_itself(lab: Lab, trial: SegmentTrial) -> None:
    found = row(lab, trial, SegmentTry(1272, "lost"), mtu=1300)
    assert (found.status, found.actual) == (Status.FAILED, "1300 bytes")
    assert found.why == "one: eth0 (lan) has the MTU 1300, not 1450"


@pytest.mark.parametrize(
    ("tried", "status", "why"),
    [
        (SegmentTry(1422, "untried", "ss"), Status.SKIPPED, "one has no ss: TCP was not tried"),
        (
            SegmentTry(1422, "refused"),
            Status.SKIPPED,
            "nothing listens on tcp/22 on two: full segments were not tried",
        ),
        (SegmentTry(0, "silent"), Status.FAILED, "two answers neither pings nor TCP"),
        (None, Status.UNKNOWN, "it was not tried"),
    ],
)
def test_what_could_not_be_tried_says_so(
    lab: Lab, trial: SegmentTrial, tried: SegmentTry | None, status: Status, why: str
) -> None:
    found = row(lab, trial, tried)
    assert (found.status, found.why) == (status, why)


def test_a_host_that_is_silent_decides_nothing(lab: Lab, trial: SegmentTrial) -> None:
    off = Unreachable("the machine is shut off")
    (found,) = segment_rows(lab, {"one": off, "two": captured(lab, "two")}, [trial])
    assert (found.status, found.why) == (Status.UNREACHABLE, off.reason)
    tried = MappingProxyType({("lan", "two"): SegmentTry(0, "silent")})
    one = replace(captured(lab, "one"), segments=tried)
    (found,) = segment_rows(lab, {"one": one, "two": off}, [trial])
    assert (found.status, found.why) == (Status.UNREACHABLE, f"two: {off.reason}")


def test_only_the_source_sends_and_its_deadline_allows_for_it(lab: Lab, trial: SegmentTrial) -> None:
    one, two = (collect_spec(lab, name, segments=[trial]) for name in ("one", "two"))
    (sent,) = one.segments
    assert (sent.to, sent.network, sent.port, sent.payload) == ("two", "lan", 22, 1422)
    assert two.segments == ()
    assert seconds_for(one) > seconds_for(collect_spec(lab, "one"))


def test_on_one_hypervisor_the_hosts_are_named(lab: Lab, trial: SegmentTrial) -> None:
    alone = replace(trial, between=(), device="")
    found = row(lab, alone, SegmentTry(1272, "lost"))
    assert found.why == "the MTU between one and two is too small for lan: 1300 of 1450 bytes get through"
    found = row(lab, alone, SegmentTry(1422, "lost"))
    assert found.why is not None
    assert found.why.endswith("the checksum offload between one and two is broken (`ethtool -K eth0 tx off`)")
