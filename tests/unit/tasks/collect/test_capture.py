"""Parsing: what ip, traceroute and ping print, line by line."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from labrun.errors import CommandError, UnreadableError
from labrun.tasks.collect.capture import Trace, read_capture
from labrun.tasks.collect.collect_spec import CollectSpec, TraceSpec

NIC = (
    '[{"ifname":"lo","link_type":"loopback","flags":["UP"],"address":"00:00:00:00:00:00","addr_info":[]},'
    '{"ifname":"eth0","link_type":"ether","flags":["UP"],"operstate":"UP","address":"02:AA:00:00:00:01",'
    '"addr_info":[{"family":"inet","local":"10.0.0.5","prefixlen":24,"scope":"global","dynamic":true},'
    '{"family":"inet6","local":"fd00::5","prefixlen":64,"scope":"global"},'
    '{"family":"inet6","local":"fd00::aa","prefixlen":64,"scope":"global","dynamic":true,"mngtmpaddr":true},'
    '{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]}]'
)


def output(**parts: str) -> str:
    named = {name.replace("_", " "): text for name, text in parts.items()}
    every = {"link": NIC, "route4": "", "route6": "", **named}
    frames = "".join(f"\nM out {name}\n{text}\nM status {name} 0\n" for name, text in every.items())
    return frames + "\nM end\n"


def raw(stdout: str, address: str = "10.0.2.9") -> dict[str, Any]:
    spec = CollectSpec(traces=(TraceSpec("b", ip_address(address), 2),))
    return {"mark": "M", "stdout": stdout, "spec": spec}


def traced(text: str, address: str = "10.0.2.9") -> Trace:
    found = read_capture(raw(output(trace_0=text), address))
    return found.traces["b", ip_address(address).version]


def hops(trace: Trace) -> dict[int, str]:
    return {ttl: str(who) for ttl, who in trace.answers.items()}


def test_addresses_are_typed_and_what_comes_and_goes_is_apart() -> None:
    link = read_capture(raw(output())).links["02:aa:00:00:00:01"]
    assert [str(each) for each in link.settled] == ["10.0.0.5/24", "fd00::5/64"]
    assert [str(each) for each in link.fleeting] == ["fd00::aa/64"]
    assert link.is_up


@pytest.mark.parametrize("state", ['"operstate":"DOWN"', '"operstate":"UP"'])
def test_a_nic_is_up_when_it_is_enabled_and_has_a_carrier(state: str) -> None:
    found = read_capture(raw(output(link=NIC.replace('"operstate":"UP"', state))))
    assert found.links["02:aa:00:00:00:01"].is_up is (state == '"operstate":"UP"')


def test_routes_of_every_shape() -> None:
    found = read_capture(
        raw(
            output(
                route4='[{"dst":"default","gateway":"10.0.0.1","dev":"eth0","protocol":"dhcp","metric":100},'
                '{"dst":"10.0.9.9","via":{"family":"inet6","host":"fe80::2"},"dev":"eth0"},'
                '{"type":"blackhole","dst":"10.8.0.0/16"},'
                '{"dst":"10.7.0.0/16","nexthops":[{"gateway":"10.0.0.2","dev":"eth0"},'
                '{"gateway":"10.0.0.3","dev":"eth0"}]}]',
                route6='[{"dst":"fd00::/64","dev":"eth0","protocol":"kernel","metric":256}]',
            )
        )
    )
    assert [(str(r.prefix), str(r.via), r.device, r.kind) for r in found.routes] == [
        ("0.0.0.0/0", "10.0.0.1", "eth0", "unicast"),
        ("10.0.9.9/32", "fe80::2", "eth0", "unicast"),
        ("10.8.0.0/16", "None", "", "blackhole"),
        ("10.7.0.0/16", "10.0.0.2", "eth0", "unicast"),
        ("10.7.0.0/16", "10.0.0.3", "eth0", "unicast"),
        ("fd00::/64", "None", "eth0", "unicast"),
    ]


def test_a_trace_that_arrives() -> None:
    trace = traced(
        "by udp\ntraceroute to 10.0.2.9 (10.0.2.9), 2 hops max, 60 byte packets\n"
        " 1  10.0.1.1  0.399 ms\n 2  10.0.2.9  0.544 ms\n"
    )
    assert hops(trace) == {1: "10.0.1.1", 2: "10.0.2.9"}
    assert (trace.reached, trace.method, trace.asked, trace.refused) == (2, "udp", 1, None)


def test_attempts_complete_each_other() -> None:
    trace = traced(
        "by udp\n 1  *\n 2  *\nby icmp\n 1  *\n 2  10.0.2.9  0.1 ms\nby again\n 1  10.0.1.1  0.2 ms\n"
    )
    assert hops(trace) == {1: "10.0.1.1", 2: "10.0.2.9"}
    assert (trace.reached, trace.method, trace.asked) == (2, "icmp", 3)


def test_a_router_that_says_no_is_named_and_is_no_hop() -> None:
    trace = traced("by udp\n 1  10.0.1.1  0.020 ms !N\n")
    assert hops(trace) == {}
    assert (trace.reached, trace.refused) == (None, "10.0.1.1 !N")


def test_a_target_that_forbids_is_reached_all_the_same() -> None:
    trace = traced("by udp\n 1  10.0.1.1  0.1 ms\n 2  10.0.2.9  0.1 ms\n")
    assert (trace.reached, trace.refused) == (2, None)
    # Its own firewall answers in its place.
    for marks in ("!X", "!Z", "!H", "!P", "!<10>"):
        trace = traced(f"by udp\n 1  10.0.1.1  0.1 ms\n 2  10.0.2.9  0.1 ms {marks}\n")
        assert (trace.reached, trace.refused) == (None, f"10.0.2.9 {marks}")
        both = traced(
            f"by udp\n 2  10.0.2.9  0.1 ms {marks}\nby icmp\n 1  10.0.1.1  0.1 ms\n 2  10.0.2.9  0.1 ms\n"
        )
        assert (both.reached, both.refused) == (2, f"10.0.2.9 {marks}")


def test_tracepath_that_arrives_or_is_told_that_there_is_no_way() -> None:
    start = "by tracepath\n 1?: [LOCALHOST]                      pmtu 1500\n"
    first = " 1:  10.0.1.1                                         0.096ms \n" * 2
    there = (
        " 2:  10.0.2.9                                           0.023ms reached\n     Resume: pmtu 1500\n"
    )
    trace = traced(start + first + there)
    assert hops(trace) == {1: "10.0.1.1", 2: "10.0.2.9"}
    assert (trace.reached, trace.method, trace.asked, trace.refused) == (2, "tracepath", 1, None)
    refused = traced(start + first + " 2:  10.0.1.1                                         0.007ms !H\n")
    assert (hops(refused), refused.reached, refused.refused) == ({1: "10.0.1.1"}, None, "10.0.1.1 !H")
    silent = traced(start + first + " 2:  no reply\n     Too many hops: pmtu 1500\nby ping\nttl 1\n")
    assert (silent.reached, silent.method, silent.asked) == (None, "ping", 2)


def test_ping_with_a_rising_ttl() -> None:
    trace = traced(
        "by ping\nttl 1\nFrom 10.0.1.1 icmp_seq=1 Time to live exceeded\n"
        "ttl 2\n64 bytes from 10.0.2.9: icmp_seq=1 ttl=63 time=0.04 ms\n"
    )
    assert hops(trace) == {1: "10.0.1.1", 2: "10.0.2.9"}
    assert (trace.reached, trace.method) == (2, "ping")


def test_ping_with_a_rising_hop_limit() -> None:
    trace = traced(
        "by ping\nttl 1\nFrom fd00:1::fe icmp_seq=1 Time exceeded: Hop limit\n"
        "ttl 2\n64 bytes from fd00:2::9: icmp_seq=1 ttl=63 time=0.04 ms\n",
        "fd00:2::9",
    )
    assert hops(trace) == {1: "fd00:1::fe", 2: "fd00:2::9"}


@pytest.mark.parametrize(
    "text", ["", "by udp\nconnect: Network is unreachable\n", "by udp\n 1  10.0.1.7  3060 ms !H\n 2  *\n"]
)
def test_a_trace_without_an_answer(text: str) -> None:
    trace = traced(text)
    assert hops(trace) == {}
    assert trace.reached is None


def test_a_command_that_failed_is_an_error_with_its_words() -> None:
    broken = output().replace("M status link 0", "M status link 1").replace(NIC, "ip: no such object")
    with pytest.raises(UnreadableError, match=r"^ip address: ip: no such object$"):
        read_capture(raw(broken))


def test_output_without_its_end_is_an_error() -> None:
    with pytest.raises(CommandError, match="the script broke off before its end"):
        read_capture(raw(output().replace("M end", "")))
