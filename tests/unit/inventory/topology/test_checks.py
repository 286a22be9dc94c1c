"""Declared checks without a host: which pairs, what a tool's words mean, and what a row makes of them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrun.errors import UnreadableError
from labrun.inventory.file.load import load_lab
from labrun.inventory.json_path import look_up, parse_path
from labrun.inventory.model import Lab
from labrun.inventory.topology.checks import expected_text, instances_of, trials
from labrun.inventory.topology.expectations import expectations
from labrun.outcome import Outcome
from labrun.tasks.collect.capture import Capture, Ping, Trace, Unreachable, read_capture
from labrun.tasks.collect.causes import Shown
from labrun.tasks.collect.check_judge import check_rows, unmet
from labrun.tasks.collect.check_script import by_hand, check_probe
from labrun.tasks.collect.check_spec import CheckSpec, check_specs
from labrun.tasks.collect.checks import CheckResult, read_check
from labrun.tasks.collect.collect_spec import CollectSpec
from labrun.tasks.collect.evidence import Evidence
from labrun.tasks.collect.schedule import collect_spec
from labrun.tasks.collect.script import collect_script
from labrun.tasks.guest.deadline import Pace, paced
from labrun.tasks.guest.facts.nft import read_ruleset
from labrun.tasks.guest.facts.routes import ObservedRoute
from labrun.tasks.guest.shell import Captured, Facts, Probe, gather_script, parse_facts

LAB = """\
name: small
networks:
  n1: {cidr: 10.0.1.0/24}
  n2: {cidr: 10.0.2.0/24}
  n3: {mode: very-isolated, cidr: 10.0.3.0/24}
hosts:
  r: {role: router, networks: {n1: 10.0.1.254, n2: 10.0.2.254}}
  a: {networks: {n1: 10.0.1.10}}
  b: {networks: {n2: 10.0.2.10}}
  c: {networks: {n2: 10.0.2.11}}
  x: {networks: {n3: 10.0.3.10}}
groups: {web: {hosts: [b, c]}}
checks:
"""


def lab(*checks: str) -> Lab:
    return load_lab("-", stdin=io.StringIO(LAB + "".join(f"  - {{{check}}}\n" for check in checks)))


@cache
def spec(check: str) -> CheckSpec:
    return check_specs(lab(f"name: it, from: a, {check}"), "a")[0]


@pytest.mark.parametrize(
    ("check", "names"),
    [
        ("from: a, to: b, tcp: 80", ["it"]),
        ("from: a, to: '@web', tcp: 80", ["it: a -> b", "it: a -> c"]),
        (
            "from: n1, to: n2, ping: true",
            ["it: r -> b", "it: r -> c", "it: a -> r", "it: a -> b", "it: a -> c"],
        ),
        ("from: '@web', to: 192.0.2.1, tcp: 80", ["it: b -> 192.0.2.1", "it: c -> 192.0.2.1"]),
        ("from: '@web', to: 10.0.2.10, tcp: 80", ["it"]),
        ("from: '@web', exec: id", ["it: b", "it: c"]),
        ("from: a, exec: id", ["it"]),
    ],
)
def test_a_check_is_one_row_for_each_pair(check: str, names: list[str]) -> None:
    of = lab(f"name: it, {check}")
    assert [trial.name for trial in trials(of, of.checks[0])] == names
    assert sorted(t.name for host in of.hosts for t in instances_of(of, host)) == sorted(names)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ("to: b, tcp: 80", "open"),
        ("to: b, tcp: 80, expect: refused", "refused"),
        ("to: b, trace: true, via: [r]", "via r"),
        ("to: b, http: true, status: 404", "404"),
        ("exec: id", "exit 0"),
        ("exec: id, status: 3, stdout: x", "exit 3, contains x"),
        ("exec: id, stdout: {json: 'a.b', equals: 1}", "a.b = 1"),
        ("sysctl: {net.ipv4.ip_forward: 1}", "1"),
        ("sshd: {X11Forwarding: no, Port: 22}", "x11forwarding no, port 22"),
        ("to: b, mtu: 1400", "1400"),
        ("dns: b.lab, answer: 10.0.2.10", "10.0.2.10"),
    ],
)
def test_the_expected_column(check: str, text: str) -> None:
    assert expected_text(lab(f"name: it, from: a, {check}").checks[0]) == text


def test_paths_into_json() -> None:
    document = {"a b": [{"name": "x", "on": True}, {"name": "y", "n": 7}], "k": None}
    assert look_up(document, '$["a b"][1].n') == 7
    assert look_up(document, '["a b"][name=x].on') is True
    assert look_up(document, '["a b"][-1]') == {"name": "y", "n": 7}
    assert look_up(document, "k") is None
    assert look_up(document, "$") is document
    nowhere = {"k.z": '"z"', '["a b"][5]': "[5]", "[0]": "[0]", '["a b"][name=z]': "[name=z]"}
    for path, step in nowhere.items():
        with pytest.raises(LookupError) as caught:
            look_up(document, path)
        assert caught.value.args[0] == f"there is no {step}"


@given(st.text(max_size=30))
def test_a_path_is_steps_or_a_value_error(text: str) -> None:
    try:
        steps = parse_path(text)
    except ValueError:
        return
    assert len(steps) <= len(text)


ANSWER = "4c52 8180 0001 0001 0000 0000 0162 036c 6162 0000 0100 01c0 0c00 0100 0100 0000 3c00 040a 0002 0a"
NXDOMAIN = "4c52 8183 0001 0000 0000 0000 0162 036c 6162 0000 0100 01"


@pytest.mark.parametrize(
    ("check", "status", "text", "seen", "actual"),
    [
        ("to: b, tcp: 80", 0, "Connection to 10.0.2.10 80 port [tcp/*] succeeded!", "open", "open"),
        ("to: b, tcp: 80", 1, "nc: connect to … failed: Connection refused", "refused", "refused"),
        (
            "to: b, tcp: 80",
            1,
            "nc: connect to … timed out: Operation now in progress",
            "filtered",
            "filtered",
        ),
        ("to: b, tcp: 80", 200, "RTNETLINK answers: Network is unreachable", "error", "no route"),
        ("to: b, tcp: 80", 201, "nc", "error", "not tried"),
        ("to: b, udp: 80", 0, "Connection to … succeeded!\n1\n", "open", "open"),
        ("to: b, udp: 80", 0, "Connection to … succeeded!\n0\n", "silent", "no answer"),
        ("to: b, udp: 80", 1, "", "refused", "refused"),
        ("to: b, ping: true", 0, "", "open", "open"),
        ("to: b, ping: true", 1, "", "filtered", "filtered"),
        ("to: b, mtu: 1500", 0, "", "open", "1500"),
        ("to: b, mtu: 1500", 1, "ping: local error: message too long, mtu=1400", "filtered", "1400"),
        ("to: b, mtu: 1500", 1, "From r icmp_seq=1 Frag needed and DF set (mtu = 1300)", "filtered", "1300"),
        ("to: b, mtu: 1500", 1, "", "filtered", "filtered"),
        ("to: b, http: true", 0, "200 0.001\n\nhello\n", "open", "open"),
        ("to: b, http: true, body: hello", 0, "200 0.001\n\nhello\n", "open", "hello"),
        ("to: b, http: true, body: {equals: hallo}", 0, "200 0.001\n\nhello\n", "wrong", "hello"),
        ("to: b, http: true", 0, "404 0.001\n\nno\n", "wrong", "404"),
        ("to: b, http: true, expect: blocked", 0, "404 0.001\n\nno\n", "open", "404"),
        (
            "to: b, http: true",
            7,
            "000 0.0\n* connect to … failed: Connection refused\n",
            "refused",
            "refused",
        ),
        ("to: b, http: true", 28, "000 0.0\ncurl: (28) Connection timed out\n", "filtered", "filtered"),
        ("to: b, http: true", 52, "000 0.001\ncurl: (52) Empty reply\n", "wrong", "no HTTP answer"),
        (
            "http: 'http://b.lab/'",
            6,
            "000 0.0\ncurl: (6) Could not resolve host: b.lab\n",
            "error",
            "no name",
        ),
        ("to: b, dns: b.lab", 0, ANSWER, "open", "open"),
        ("to: b, dns: b.lab, answer: 10.0.2.10", 0, ANSWER, "open", "10.0.2.10"),
        ("to: b, dns: b.lab, answer: 10.0.2.11", 0, ANSWER, "wrong", "10.0.2.10"),
        ("to: b, dns: b.lab", 0, NXDOMAIN, "refused", "NXDOMAIN"),
        ("to: b, dns: b.lab", 0, ANSWER[:40], "refused", "no address"),
        ("to: b, dns: b.lab", 0, "", "filtered", "filtered"),
        ("to: b, dns: b.lab", 1, "", "refused", "refused"),
        ("dns: b.lab", 0, "10.0.2.10 STREAM b.lab\n10.0.2.10 DGRAM\n", "open", "open"),
        ("dns: b.lab", 2, "", "wrong", "no such name"),
        ("exec: x", 0, "\nout\n", "open", "exit 0"),
        ("exec: x", 200, "oh\n", "wrong", "exit 200"),
        ("exec: x, expect: blocked", 1, "\n", "filtered", "exit 1"),
        ("exec: x", 127, "sh: 1: x: not found\n", "error", "exit 127"),
        ("exec: x", 124, "\n", "wrong", "exit 124"),
        ("exec: x, stdout: {regex: '^b$'}", 0, "\na\nb\n", "open", "a b"),
        ("exec: x, stdout: {json: 'a[0]', equals: 1}", 0, '\n{"a": [1]}', "open", "1"),
        ("exec: x, stdout: {json: 'a[1]'}", 0, '\n{"a": [1]}', "wrong", '{"a": [1]}'),
        ("exec: x, stdout: {json: a}", 0, "\nno json", "wrong", "no json"),
        ("sysctl: {net.ipv4.tcp_rmem: 1 2 3}", 0, "net.ipv4.tcp_rmem 1\t2\t3\n", "open", "1 2 3"),
        ("sysctl: {net.ipv4.ip_forward: 1}", 0, "net.ipv4.ip_forward 0\n", "wrong", "0"),
        ("sysctl: {net.ipv4.none: 1}", 0, "", "wrong", "absent"),
        ("sshd: {PasswordAuthentication: no}", 0, "passwordauthentication no\n", "open", "no"),
        ("sshd: {PasswordAuthentication: no}", 0, "passwordauthentication yes\n", "wrong", "yes"),
        ("sshd: {PasswordAuthentication: no}", 255, "bad configuration", "error", "not tried"),
    ],
)
def test_what_a_tool_says(check: str, status: int, text: str, seen: str, actual: str) -> None:
    tried = read_check(spec(check), Captured(text, status), Facts())
    assert (tried.seen, tried.actual) == (seen, actual)


def test_a_server_that_refuses_a_question_is_no_closed_port() -> None:
    refusing = NXDOMAIN.replace("8183", "8185")
    tried = read_check(spec("to: b, dns: b.lab"), Captured(refusing, 0), Facts())
    assert (tried.seen, tried.actual, tried.why) == ("refused", "REFUSED", "the server answers REFUSED")
    row = judged("to: b, dns: b.lab", tried)
    assert (row.status.value, row.why) == ("failed", "the server answers REFUSED")
    assert judged("to: b, dns: b.lab, expect: refused", tried).status.value == "ok"


def test_a_source_that_the_way_of_a_network_names_passes_through_nobody() -> None:
    of = lab("name: it, from: n1, to: b, trace: true, via: r")
    ways = {source: [each.via for each in check_specs(of, source)] for source in of.hosts}
    assert ways["a"] == [(("10.0.1.254", "10.0.2.254"),)]
    assert ways["r"] == [()]


def capture(
    traces: Mapping[str, Trace], checks: Mapping[str, CheckResult], listeners: str | None = None
) -> Capture:
    said = {} if listeners is None else {"listeners": Captured(listeners, 0)}
    everywhere = ObservedRoute(ip_network("0.0.0.0/0"), None, "eth0")
    return Capture(
        links={},
        routes=(everywhere,),
        facts=Facts(commands=said),
        traces={(name, 4): trace for name, trace in traces.items()},
        pings={("x", 4): Ping(False, None)},
        checks=checks,
    )


def judged(
    check: str,
    tried: CheckResult | None,
    *,
    whole: bool = True,
    listeners: str | None = None,
    rules: str = "",
) -> Outcome:
    """Return the row of a check from host a, with a path to b that is traced or (not whole) broken.

    ``rules`` is the ruleset of b, as nft prints it.
    """
    of = lab(f"name: it, from: a, {check}")
    path = expectations(of).path("a", "b")
    answers = {ttl: hop for ttl, hop in enumerate(path.hops, 1) if hop is not None}
    trace = Trace(answers, len(answers), "udp", 1) if whole else Trace({}, None, "icmp", 2)
    shown: dict[str, Capture | Unreachable] = {
        "a": capture({"b": trace}, {} if tried is None else {"it": tried}),
        "b": replace(capture({}, {}, listeners), evidence=Evidence(after=read_ruleset(rules))),
    }
    (row,) = check_rows(Shown(of, shown), expectations(of), "a")
    return row


OPEN, REFUSED, FILTERED = (
    CheckResult("open", "open"),
    CheckResult("refused", "refused"),
    CheckResult("filtered", "filtered"),
)
SILENT, NO_ROUTE = CheckResult("silent", "no answer"), CheckResult("error", "no route", "no route to it")
DROPPED = "no answer to tcp/80, though b can be reached: something drops it"
UNDECIDED = "a: b listens and did not answer: it may be open or filtered"
DROPS = (
    "table inet x { # handle 1\n\tchain c { # handle 2\n"
    "\t\ttype filter hook input priority filter; policy accept;\n"
    "\t\ttcp dport 80 drop # handle 3\n\t}\n}\n"
)
SS = "UNCONN 0 0 0.0.0.0:53 0.0.0.0:*"


@pytest.mark.parametrize("expect", ["open", "refused"])
def test_a_rule_that_drops_it_is_named_whatever_answer_was_expected(expect: str) -> None:
    row = judged(f"to: b, tcp: 80, expect: {expect}", FILTERED, rules=DROPS)
    assert row.status.value == "failed"
    assert row.why is not None
    assert row.why.startswith("b: nftables drops it: inet x, chain c: tcp dport 80")


def test_what_drops_it_is_no_fault_where_that_is_expected() -> None:
    for expect in ("blocked", "filtered"):
        row = judged(f"to: b, tcp: 80, expect: {expect}", FILTERED, rules=DROPS)
        assert (row.status.value, row.why) == ("ok", None)


@pytest.mark.parametrize(
    ("check", "tried", "status", "why"),
    [
        ("to: b, tcp: 80", OPEN, "ok", None),
        ("to: b, tcp: 80", REFUSED, "failed", "nothing listens on tcp/80 on b"),
        ("to: b, tcp: 80, level: warning", REFUSED, "warning", "nothing listens on tcp/80 on b"),
        ("to: b, tcp: 80", FILTERED, "failed", DROPPED),
        ("to: b, tcp: 80", NO_ROUTE, "unknown", "a: no route to it"),
        ("to: b, tcp: 80, level: warning", NO_ROUTE, "unknown", "a: no route to it"),
        ("to: b, tcp: 80, expect: blocked", OPEN, "failed", "it should be blocked"),
        ("to: b, tcp: 80, expect: blocked", REFUSED, "ok", None),
        ("to: b, tcp: 80, expect: blocked", FILTERED, "ok", None),
        ("to: b, tcp: 80, expect: filtered", REFUSED, "failed", "it should be filtered"),
        ("to: b, tcp: 80, expect: blocked", NO_ROUTE, "unknown", "a: no route to it"),
        ("to: x, tcp: 80, expect: blocked", FILTERED, "ok", "by the lab file: r: no route to 10.0.3.0/24"),
        ("to: x, tcp: 80, expect: blocked", NO_ROUTE, "unknown", "a: no route to it"),
        ("to: x, tcp: 80, expect: blocked", OPEN, "failed", "it should be blocked"),
        ("to: x, tcp: 80", FILTERED, "failed", "by the lab file it cannot be: r: no route to 10.0.3.0/24"),
        ("to: 192.0.2.1, tcp: 80, expect: blocked", REFUSED, "ok", None),
        (
            "to: 192.0.2.1, tcp: 80, expect: blocked",
            FILTERED,
            "unknown",
            "no answer, and nothing else shows that it can be reached",
        ),
        ("to: b, udp: 53, expect: blocked", SILENT, "unknown", UNDECIDED),
        ("to: b, udp: 54", SILENT, "failed", "nothing listens on udp/54 on b"),
        ("to: b, udp: 54, expect: blocked", SILENT, "ok", "nothing listens on udp/54 on b"),
        ("exec: x, expect: blocked", CheckResult("filtered", "exit 1"), "ok", None),
        ("to: b, tcp: 80", None, "unknown", "a: the check was not run"),
    ],
)
def test_the_row_of_a_check(check: str, tried: CheckResult | None, status: str, why: str | None) -> None:
    row = judged(check, tried, listeners=SS)
    assert (row.status.value, row.why) == (status, why)


def test_udp_without_an_answer_is_open_only_by_the_word_of_the_target() -> None:
    row = judged("to: b, udp: 53", SILENT, listeners=SS)
    assert (row.status.value, row.actual) == ("ok", "open")
    assert judged("to: b, udp: 53", SILENT).status.value == "unknown"


def test_what_fails_with_its_path_has_the_reason_of_the_path() -> None:
    row = judged("to: b, tcp: 80", FILTERED, whole=False)
    assert (row.status.value, row.actual) == ("failed", "filtered")
    assert row.why not in (None, DROPPED)
    blind = judged("to: b, tcp: 80, expect: blocked", FILTERED, whole=False)
    assert blind.status.value == "unknown"
    assert blind.why == f"inconclusive: a -> b: {row.why}"


@pytest.mark.parametrize(
    ("check", "whole", "status", "actual"),
    [
        ("to: b, trace: true", True, "ok", "open"),
        ("to: b, trace: true, via: r", True, "ok", "10.0.1.254 10.0.2.10"),
        ("to: b, trace: true, via: [10.0.1.254]", True, "ok", "10.0.1.254 10.0.2.10"),
        ("to: b, trace: true, via: c", True, "failed", "10.0.1.254 10.0.2.10"),
        ("to: b, trace: true", False, "failed", "*"),
        ("to: x, trace: true, expect: blocked", True, "ok", "filtered"),
    ],
)
def test_a_trace_passes_those_it_should(check: str, whole: bool, status: str, actual: str) -> None:
    row = judged(check, None, whole=whole)
    assert (row.status.value, row.actual) == (status, actual)


@pytest.mark.parametrize(
    ("check", "line"),
    [
        ("to: b, tcp: 80", "nc -nzv -w 3 10.0.2.10 80"),
        ("to: b, mtu: 1500", "ping -c 1 -M do -s 1472 10.0.2.10"),
        ("to: b, http: ':81/a?b=1&c'", "curl -i 'http://10.0.2.10:81/a?b=1&c'"),
        ("to: b, dns: b.lab", "dig @10.0.2.10 b.lab"),
        ("dns: b.lab", "getent ahosts b.lab"),
        ("sshd: {Port: 22}", "sudo sshd -T | grep -E '^(port) '"),
        ("exec: id", "id"),
    ],
)
def test_the_same_by_hand(check: str, line: str) -> None:
    assert by_hand(spec(check)) == line


def test_only_what_may_wait_and_is_not_as_expected_is_tried_again() -> None:
    of = lab(
        "name: one, from: a, to: b, tcp: 80, wait: 5s",
        "name: two, from: a, to: b, tcp: 81, wait: 5s",
        "name: three, from: a, to: b, tcp: 82",
    )
    specs = check_specs(of, "a")
    seen = capture({}, {"one": OPEN, "two": REFUSED, "three": REFUSED})
    assert [each.name for each in unmet(specs, seen)] == ["two"]


def test_values_are_data_for_a_real_shell() -> None:
    nasty = "echo \"a'b\" '$(touch /tmp/never)' ; echo `echo back`"
    of = lab(
        f"name: it, from: a, exec: {json.dumps(nasty)}, stdout: x", "name: it's $(id), from: a, exec: 'false'"
    )
    wanted = CollectSpec(checks=collect_spec(of, "a").checks)
    done = subprocess.run(
        [shutil.which("sh") or "sh", "-s"],
        input=collect_script(wanted, "mark"),
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    shown = read_capture({"spec": wanted, "mark": "mark", "stdout": done.stdout})
    assert shown.checks["it"] == CheckResult("wrong", "a'b $(touch /tmp/never) back", "x is not in it")
    assert shown.checks["it's $(id)"].actual == "exit 1"


def test_a_trace_check_has_its_pair_traced_in_a_large_lab_and_full_traces_all() -> None:
    hosts = "".join(f"  h{n}: {{networks: {{n2: 10.0.2.{100 + n}}}}}\n" for n in range(12))
    text = LAB.replace("groups:", f"{hosts}groups:") + "  - {name: it, from: a, to: h7, trace: true}\n"
    of = load_lab("-", stdin=io.StringIO(text))
    assert [each.to for each in collect_spec(of, "a").traces] == ["r", "b", "h7"]
    without = replace(of, checks=())
    assert [each.to for each in collect_spec(without, "a").traces] == ["r", "b"]
    assert len(collect_spec(of, "a", full=True).traces) == 15


EVIL = "\n" + "a" * 38 + "b"


@pytest.mark.parametrize(
    ("check", "seen", "why"),
    [
        ("exec: x, stdout: {regex: '^(a+)+$'}", "wrong", "nothing in it matches ^(a+)+$"),
        (
            "exec: x, expect: blocked, stdout: {regex: '^(a|aa)+$'}",
            "filtered",
            "nothing in it matches ^(a|aa)+$",
        ),
        (
            r"exec: x, stdout: {regex: '^(a+)+\1$'}",
            "error",
            r"searching for ^(a+)+\1$ did not finish within 1 s",
        ),
    ],
)
def test_no_pattern_takes_a_guest_at_its_word(check: str, seen: str, why: str) -> None:
    began = time.monotonic()
    with paced(Pace(began + 1)):
        tried = read_check(spec(check), Captured(EVIL, 0), Facts())
    assert (tried.seen, tried.why) == (seen, why)
    assert time.monotonic() - began < 30


def test_what_cannot_be_judged_in_time_is_unknown() -> None:
    row = judged("exec: x", CheckResult("error", "not judged", "searching did not end"))
    assert (row.status.value, row.why) == ("unknown", "a: searching did not end")


STRANGE = [
    "",
    "\n",
    "\0",
    "9" * 5000,
    "٣ ²",
    "[" * 100_000,
    "\n" * 100_000,
    "\n" + "x" * 1_000_000,
    "ffff " * 50_000,
    "f",
    "-1 -1",
]
EVERY = [
    "to: b, tcp: 80",
    "to: b, udp: 80",
    "to: b, ping: true",
    "to: b, mtu: 1500",
    "to: b, http: true",
    "to: b, http: true, body: {json: a}",
    "to: b, dns: b.lab",
    "dns: b.lab",
    "exec: x",
    "exec: x, stdout: {regex: x, contains: y}",
    "exec: x, stdout: {json: 'a[0]', equals: 1}",
    "sysctl: {net.ipv4.ip_forward: 1}",
    "sshd: {PasswordAuthentication: no}",
    "sshd: {LoginGraceTime: 1m}",
    "sshd: {MaxSessions: 4}",
]


@pytest.mark.parametrize("check", EVERY)
def test_a_tool_may_say_anything(check: str) -> None:
    began = time.process_time()
    for text in STRANGE:
        # How much it is and what the tool ended with have nothing to do with each other.
        for status in (0, 1, 6, 7, 28, 124, 127, 200, 201, 202, 255) if len(text) < 10_000 else (0,):
            for said in (Captured(text, status), Captured("", status, text), Captured(text, status, text)):
                try:
                    tried = read_check(spec(check), said, Facts())
                except UnreadableError:
                    continue  # the judge makes the check's row of it
                assert max(len(tried.actual), len(tried.why or "")) < 5000
    assert time.process_time() - began < 20


@pytest.mark.parametrize("kind", ["exec: echo 1", "sysctl: {kernel.ostype: Linux}"])
def test_noise_on_stderr_is_no_part_of_what_a_check_found(kind: str) -> None:
    more = ", stdout: {json: $, equals: 1}" if kind.startswith("exec") else ""
    specs = [spec(f"{kind}{more}")]
    probe = check_probe(specs, has_room=False)
    assert probe is not None
    noisy = probe.script.replace("try() {\n", "try() {\necho 'warning: [1' >&2\n")
    noisy = noisy.replace("try_exec() {\n", "try_exec() {\necho warning >&2\n")
    noisy = noisy.replace("try_sysctl() {\n", "try_sysctl() {\necho kernel.ostype is noise >&2\n")
    done = subprocess.run(
        ["sh", "-s"],
        input=gather_script([Probe(script=noisy)], "m"),
        capture_output=True,
        text=True,
        check=True,
    )
    facts = parse_facts(done.stdout, "m")
    said = facts.commands["check 0"]
    assert said.error != ""
    assert read_check(specs[0], said, facts).seen == "open"
