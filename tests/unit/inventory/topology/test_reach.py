"""What firewalls, forwards and hidden networks imply: verdicts, derived checks, paths, and their rows."""

from __future__ import annotations

import io
from ipaddress import ip_address

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.inventory.topology.checks import expected_text, instances_of
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.reach import Connection, reach
from labrun.inventory.topology.steps import steps_back
from labrun.outcome import Outcome
from labrun.tasks.collect.capture import Capture, Trace, Unreachable
from labrun.tasks.collect.causes import Shown
from labrun.tasks.collect.check_judge import check_rows
from labrun.tasks.collect.checks import CheckResult
from labrun.tasks.collect.schedule import collect_spec
from tests import places
from tests.unit.inventory.topology.test_checks import capture

DMZ = load_lab(str(places.EXAMPLES / "dmz.yaml"))
DROP = "fw: firewall.{} is drop and no rule accepts it"


def said(lab: Lab, source: str, address: str, port: int, proto: str = "tcp") -> str | None:
    """Return a verdict in words: who has it in the end, or who drops it; None where nobody can tell."""
    found = reach(lab, Connection(source, ip_address(address), port, "tcp" if proto == "tcp" else "udp"))
    if found is None:
        return None
    return f"{found.end} by {', '.join(rule for _, rule in found.rules)}" if found.passes else found.by


@pytest.mark.parametrize(
    ("source", "address", "port", "words"),
    [
        ("visitor", "172.16.0.254", 80, "web by tcp/80 on outer to web:80"),
        ("visitor", "172.16.0.254", 22, "fw by "),
        ("visitor", "172.16.0.254", 81, DROP.format("input")),
        ("visitor", "172.16.1.80", 80, DROP.format("forward")),
        ("desk", "172.16.0.66", 4711, "visitor by tcp from inner to 0.0.0.0/0"),
        ("desk", "172.16.0.254", 443, "web by tcp/443 on outer to web:443"),
        ("web", "172.16.0.66", 80, DROP.format("forward")),
        ("web", "172.16.0.254", 80, None),
        ("fw", "172.16.1.80", 80, "web by "),
        ("visitor", "192.0.2.1", 80, None),
    ],
)
def test_the_dmz(source: str, address: str, port: int, words: str | None) -> None:
    assert said(DMZ, source, address, port) == words


def test_tcp_rules_are_not_udp_s() -> None:
    text = DMZ_TEXT.replace("        - {from: inner, to: 0.0.0.0/0, proto: udp}\n", "")
    assert text != DMZ_TEXT
    assert said(of(text), "desk", "172.16.0.66", 53, "udp") == DROP.format("forward")
    assert said(DMZ, "desk", "172.16.0.66", 53, "udp") == "visitor by udp from inner to 0.0.0.0/0"


DMZ_TEXT = (places.EXAMPLES / "dmz.yaml").read_text(encoding="utf-8")


def of(text: str) -> Lab:
    return load_lab("-", stdin=io.StringIO(text))


def test_answers_that_come_by_a_firewall_which_saw_no_question_tell_nothing() -> None:
    lab = of("""\
name: two-ways
networks:
  a: {mode: very-isolated, cidr: 10.0.1.0/24}
  b: {mode: very-isolated, cidr: 10.0.2.0/24}
hosts:
  open: {role: router, networks: {a: 10.0.1.1, b: 10.0.2.1}}
  shut: {role: router, networks: {a: 10.0.1.2, b: 10.0.2.2}, firewall: {forward: drop}}
  one: {networks: {a: 10.0.1.9}, gateway: open}
  two: {networks: {b: 10.0.2.9}, gateway: shut}
""")
    assert said(lab, "one", "10.0.2.9", 80) is None
    assert said(lab, "two", "10.0.1.9", 80) == "shut: firewall.forward is drop and no rule accepts it"
    assert not expectations(lab).path("one", "two").fault


def derived(lab: Lab) -> list[str]:
    found = [trial for host in lab.hosts for trial in instances_of(lab, host) if trial.derived]
    return [f"{trial.name} at {trial.address}: {expected_text(trial.check)}" for trial in found]


def test_each_rule_forward_and_policy_is_shown_by_one_connection() -> None:
    desk = DMZ.hosts["desk"].interfaces[0].ipv4
    assert desk is not None
    assert derived(DMZ) == [
        "web -> visitor tcp/22 at 172.16.0.66: filtered",
        f"web -> desk tcp/22 at {desk.ip}: filtered",
        "web -> fw tcp/23 at 172.16.1.254: filtered",
        "desk -> visitor tcp/22 at 172.16.0.66: open or refused",
        "desk -> fw tcp/23 at 172.16.2.254: filtered",
        "visitor -> fw tcp/80 at 172.16.0.254: open or refused",
        "visitor -> fw tcp/443 at 172.16.0.254: open or refused",
        "visitor -> web tcp/22 at 172.16.1.80: filtered",
        f"visitor -> desk tcp/22 at {desk.ip}: filtered",
        "visitor -> fw tcp/23 at 172.16.0.254: filtered",
    ]


def test_a_lab_without_firewall_and_forwards_has_none() -> None:
    begin, end = DMZ_TEXT.index("    firewall:"), DMZ_TEXT.index("  web:")
    assert derived(of(DMZ_TEXT[:begin] + DMZ_TEXT[end:])) == []


def test_input_rules_and_ipv6_have_their_rows_too() -> None:
    lab = of("""\
name: six
networks:
  n: {cidr: 10.0.1.0/24, cidr6: "fd00:1::/64"}
hosts:
  web:
    networks: {n: {ipv4: 10.0.1.80, ipv6: "fd00:1::80"}}
    firewall: {input: drop, allow: [{port: [443, 80], from: other}, {port: 81, from: nobody}]}
  other: {networks: {n: {ipv4: 10.0.1.9, ipv6: "fd00:1::9"}}}
  nobody: {networks: {n: {ipv6: "fd00:1::8"}}}
""")
    assert derived(lab) == [
        "other -> web tcp/443 at 10.0.1.80: open or refused",
        "other -> web tcp/23 at 10.0.1.80: filtered",
        "other -> web tcp/443 (IPv6) at fd00:1::80: open or refused",
        "other -> web tcp/23 (IPv6) at fd00:1::80: filtered",
        "nobody -> web tcp/81 (IPv6) at fd00:1::80: open or refused",
    ]


HIDDEN = """\
name: hidden
networks:
  inner: {mode: very-isolated, cidr: 10.0.1.0/24}
  outer: {mode: very-isolated, cidr: 10.0.2.0/24}
  far: {mode: very-isolated, cidr: 10.0.3.0/24}
hosts:
  r1: {role: router, networks: {inner: 10.0.1.1, outer: 10.0.2.1}, nat: {masquerade: [inner]}}
  r2: {role: router, networks: {outer: 10.0.2.2, far: 10.0.3.2}}
  one: {networks: {inner: 10.0.1.9}}
  two: {networks: {far: 10.0.3.9}}
routing: manual
"""


def test_a_hidden_source_needs_no_route_back_to_it() -> None:
    to_far = HIDDEN.replace("nat:", "routes: [{to: 10.0.3.0/24, via: r2}], nat:")
    path = expectations(of(to_far)).path("one", "two")
    assert [str(hop) for hop in path.hops] == ["10.0.1.1", "10.0.2.2", "10.0.3.9"]
    assert path.way.back == ("r2", "r1")
    assert [str(step.to) for step in steps_back(of(to_far), path)] == [
        "10.0.2.1",
        "10.0.2.1",
        "10.0.1.9",
        "10.0.1.9",
    ]
    shown = to_far.replace(", nat: {masquerade: [inner]}", "")
    assert str(expectations(of(shown)).path("one", "two").fault) == "r2: no route back to 10.0.1.0/24"


def test_a_trace_through_a_firewall_asks_by_echo_from_the_start() -> None:
    by = {each.to: each.by for each in collect_spec(DMZ, "visitor").traces}
    assert by == {"fw": "echo", "web": "echo", "desk": "echo"}
    assert {each.by for each in collect_spec(DMZ, "fw").traces} == {"udp"}


OPEN, REFUSED, FILTERED = (
    CheckResult("open", "open"),
    CheckResult("refused", "refused"),
    CheckResult("filtered", "filtered"),
)


def judged(name: str, tried: CheckResult, lab: Lab = DMZ) -> Outcome:
    """Return the row of a check of ``visitor``, everything being well otherwise."""
    found = expectations(lab)
    traces = {}
    for target in ("fw", "web", "desk"):
        hops = [hop for hop in found.path("visitor", target).hops if hop is not None]
        traces[target] = Trace(dict(enumerate(hops, 1)), len(hops), "echo", 1)
    shown: dict[str, Capture | Unreachable] = {"visitor": capture(traces, {name: tried})}
    return next(row for row in check_rows(Shown(lab, shown), found, "visitor") if row.name == name)


@pytest.mark.parametrize(
    ("name", "tried", "status", "why"),
    [
        ("visitor -> fw tcp/80", OPEN, "ok", None),
        ("visitor -> fw tcp/80", REFUSED, "ok", None),
        (
            "visitor -> fw tcp/80",
            FILTERED,
            "failed",
            "no answer to tcp/80, though fw can be reached: something drops it",
        ),
        ("visitor -> web tcp/22", FILTERED, "ok", None),
        ("visitor -> web tcp/22", REFUSED, "failed", "it should be filtered: " + DROP.format("forward")),
        ("visitor -> fw tcp/23", OPEN, "failed", "it should be filtered: " + DROP.format("input")),
        ("not around the firewall", FILTERED, "ok", "by the lab file: " + DROP.format("forward")),
        ("not around the firewall", OPEN, "failed", "it should be blocked: " + DROP.format("forward")),
    ],
)
def test_rows(name: str, tried: CheckResult, status: str, why: str | None) -> None:
    row = judged(name, tried)
    assert (row.status.value, row.why) == (status, why)


def test_a_check_that_contradicts_the_firewall_says_so() -> None:
    lab = of(DMZ_TEXT + "  - {name: wish, from: visitor, to: web, tcp: 8080}\n")
    row = judged("wish", FILTERED, lab)
    assert (row.status.value, row.why) == (
        "failed",
        "by the lab file it cannot be: " + DROP.format("forward"),
    )
