"""Declared checks on real containers: each kind with its listener there, gone, and with the source broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.labs import RunningLab

from .conftest import write_lab

LAB = """\
name: w4-q-checks
hypervisor: lxc:///system
networks:
  left: {cidr: 10.202.1.0/24, cidr6: "fd00:202:1::/64", dns: {web.test: 10.202.2.10}}
  right: {cidr: 10.202.2.0/24, cidr6: "fd00:202:2::/64"}
hosts:
  r:
    role: router
    networks:
      left: {ipv4: 10.202.1.254, ipv6: "fd00:202:1::254"}
      right: {ipv4: 10.202.2.254, ipv6: "fd00:202:2::254"}
  a: {networks: {left: {ipv4: 10.202.1.10, ipv6: "fd00:202:1::10"}}}
  b: {networks: {right: {ipv4: 10.202.2.10, ipv6: "fd00:202:2::10"}}}
"""
HOLDS = """\
  - {name: ping, from: left, to: "@host", ping: true}
  - {name: ping six, from: a, to: "fd00:202:2::10", ping: true}
  - {name: way, from: a, to: b, trace: true, via: r}
  - {name: way of all, from: left, to: b, trace: true, via: r}
  - {name: way by address, from: left, to: b, trace: true, via: 10.202.1.254}
  - {name: packages, from: a, exec: "dpkg-query -W -f '${Package} ${Description}'", stdout: openssh-server}
  - {name: size, from: a, to: b, mtu: 1500}
  - {name: ssh, from: a, to: b, tcp: 22}
  - {name: no telnet, from: a, to: b, tcp: 23, expect: blocked}
  - {name: dns, from: a, to: 10.202.1.1, dns: web.test, answer: 10.202.2.10}
  - {name: no dns, from: a, to: 10.202.1.1, dns: none.test, expect: refused}
  - {name: command, from: a, exec: "id -un; echo \\"it's\\"", stdout: {regex: "^lab$", contains: "it's"}}
  - {name: json, from: a, exec: ip -j route show default, stdout: {json: "[0].gateway", equals: 10.202.1.254}}
  - {name: no command, from: a, exec: test -e /nowhere, expect: blocked}
  - {name: forwards, from: r, sysctl: {net.ipv4.ip_forward: 1, net.ipv6.conf.all.forwarding: 1}}
  - {name: keys only, from: b, sshd: {PasswordAuthentication: no}}
"""
LISTENERS = """\
  - {name: web, from: a, to: b, http: ":8080/", body: {contains: a web page}}
  - {name: port, from: a, to: b, tcp: 8080, wait: 20s}
  - {name: echo, from: a, to: b, udp: 7007}
  - {name: quiet, from: a, to: b, udp: 7008}
"""
BLOCKED = """\
  - {name: not web, from: a, to: b, http: 8080, expect: refused}
  - {name: not port, from: a, to: b, tcp: 8080, expect: blocked}
  - {name: not echo, from: a, to: b, udp: 7007, expect: blocked}
  - {name: not filtered, from: a, to: b, tcp: 8080, expect: filtered}
"""
SERVE = """\
mkdir -p /srv/w4 && echo a web page >/srv/w4/index.html
cat >/srv/echo.py <<'PY'
import select, socket
echo, quiet = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
echo.bind(("", 7007)), quiet.bind(("", 7008))
while True:
    for ready in select.select([echo, quiet], [], [])[0]:
        said, who = ready.recvfrom(99)
        ready is echo and said.startswith(b"labrun") and echo.sendto(said, who)
PY
systemd-run -q --unit w4-web --working-directory=/srv/w4 python3 -m http.server 8080
systemd-run -q --unit w4-echo python3 /srv/echo.py
"""
STOP = "systemctl stop w4-web w4-echo"

With = Callable[[str], RunningLab]


@pytest.fixture(scope="module")
def checked(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[With]:
    """Two networks, dual-stack, up and configured; the result gives the lab with these checks in its file."""
    directory = tmp_path_factory.mktemp("w4-q")
    lab = write_lab(directory, LAB)

    def with_checks(checks: str) -> RunningLab:
        path = directory / "checks.yaml"
        Path(path).write_text(f"{LAB}checks:\n{checks}", encoding="utf-8")
        return RunningLab(path, lab.state)

    try:
        up = lab.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        yield with_checks
    finally:
        lab.run("-y", "down")


def rows(lab: RunningLab, *words: str) -> dict[str, dict[str, Any]]:
    answer = lab.json("verify", *words)
    return {row["name"]: row for row in answer.of("check")}


def short(found: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {name: (row["status"], row["actual"]) for name, row in found.items()}


def test_what_holds_is_ok_also_over_ipv6(checked: With) -> None:
    answer = checked(HOLDS).json("verify")
    assert answer.exit_code == 0, answer.trouble()
    found = {row["name"]: row for row in answer.of("check")}
    pings = {f"ping: {pair}" for pair in ("r -> a", "r -> b", "a -> b")}
    pairs = pings | {f"{name}: {source} -> b" for name in ("way of all", "way by address") for source in "ra"}
    names = {line.split(": ", 2)[1].split(",")[0] for line in HOLDS.splitlines()}
    assert set(found) == (names - {"ping", "way of all", "way by address"}) | pairs
    assert found["way"]["actual"] == "10.202.1.254 10.202.2.10"
    assert found["no telnet"]["actual"] == "refused"
    assert found["no dns"]["actual"] == "REFUSED"
    assert found["size"]["actual"] == "1500"
    assert found["json"]["actual"] == "10.202.1.254"
    paths = {row["name"]: row["actual"] for row in answer.of("path")}
    assert paths["a -> b (IPv6)"] == "fd00:202:1::254 fd00:202:2::10"
    pair = checked(HOLDS).run("verify", "--pair", "a:b")
    assert pair.exit_code == 0, pair.stderr
    assert "seen: default via 10.202.1.254 on left" in pair.stdout
    assert "fd00:202:2::/64 out of right; answers as fd00:202:1::254" in pair.stdout


@pytest.mark.full
def test_listeners_are_seen_when_they_are_there_and_missed_when_not(checked: With) -> None:
    lab = checked(LISTENERS)
    # A port that opens while verify waits for it.
    late = "systemd-run -q --on-active=4 --timer-property=AccuracySec=100ms --unit w4-web"
    lab.guest("b", f"mkdir -p /srv/w4; {late} --working-directory=/srv/w4 python3 -m http.server 8080")
    assert short(rows(checked(LISTENERS.splitlines()[1])))["port"] == ("ok", "open")
    lab.guest("b", "systemctl stop w4-web.service")
    served = lab.run("ssh", "b", "sudo sh -s", stdin=SERVE)
    assert served.exit_code == 0, served.stderr
    assert short(rows(checked(LISTENERS + BLOCKED))) == {
        "web": ("ok", "a web page"),
        "port": ("ok", "open"),
        "echo": ("ok", "open"),
        "quiet": ("ok", "open"),
        "not web": ("failed", "open"),
        "not port": ("failed", "open"),
        "not echo": ("failed", "open"),
        "not filtered": ("failed", "open"),
    }
    lab.guest("b", STOP)
    gone = rows(checked(LISTENERS.replace("wait: 20s", "level: warning") + BLOCKED))
    assert short(gone) == {
        "web": ("failed", "refused"),
        "port": ("warning", "refused"),
        "echo": ("failed", "refused"),
        "quiet": ("failed", "refused"),
        "not web": ("ok", "refused"),
        "not port": ("ok", "refused"),
        "not echo": ("ok", "refused"),
        "not filtered": ("failed", "refused"),
    }
    assert gone["port"]["why"] == "nothing listens on tcp/8080 on b"


def test_a_source_that_cannot_try_proves_nothing(checked: With) -> None:
    lab = checked(BLOCKED + HOLDS)
    lab.guest("a", "ip route del default; mv /usr/bin/nc.openbsd /usr/bin/nc.gone")
    try:
        found = rows(lab)
    finally:
        lab.guest("a", "mv /usr/bin/nc.gone /usr/bin/nc.openbsd; ip route add default via 10.202.1.254")
    assert found["not web"]["status"] == "unknown"
    assert found["not web"]["why"] == "a: no route to 10.202.2.10"
    assert (found["not port"]["status"], found["not port"]["why"]) == ("unknown", "a: nc is not installed")
    assert found["dns"]["status"] == "unknown"
    assert {found[name]["status"] for name in ("ping: a -> b", "way", "size", "no telnet")} == {"unknown"}
    assert {found[name]["status"] for name in ("ping six", "command", "no command", "forwards")} == {"ok"}


def test_what_is_dropped_is_filtered(checked: With) -> None:
    lab = checked(BLOCKED)
    rules = "nft add table inet w4; nft 'add chain inet w4 in { type filter hook input priority 0; }'; "
    lab.guest("b", rules + "nft add rule inet w4 in tcp dport 8080 drop")
    try:
        found = short(rows(lab))
    finally:
        lab.guest("b", "nft delete table inet w4")
    assert found["not filtered"] == found["not port"] == ("ok", "filtered")
    assert found["not web"] == ("failed", "filtered")


@pytest.mark.full
def test_what_is_blocked_counts_only_where_the_pair_can_meet(checked: With) -> None:
    lab = checked(BLOCKED)
    lab.guest("r", "sysctl -qw net.ipv4.ip_forward=0")
    try:
        blind = rows(lab)
    finally:
        lab.guest("r", "sysctl -qw net.ipv4.ip_forward=1")
    assert {row["status"] for row in blind.values()} == {"unknown"}
    assert blind["not filtered"]["actual"] == "filtered"
    assert blind["not filtered"]["why"] == "inconclusive: a -> b: r: net.ipv4.ip_forward is 0"
