"""Changes meant to close the way in, all kinds of them: labrun gets in afterwards, also after a restart.

Each host is as declared afterwards, or as it was before: everything about it is compared, by other commands
than labrun's own.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside, wait_until
from tests.e2e.lockouts import CASES, FULL, WHOLE, Case
from tests.e2e.test_w_existing import Inside
from tests.labs import Answer, RunningLab

URI = "lxc:///system"
ENDINGS = {"changed", "rolled-back", "failed"}


def lab_text(name: str, subnet: str, cases: dict[str, Case], *, bad: bool) -> str:
    """Return a lab with a host a case, as it is or as the case would have it."""
    lines = [
        f"name: {name}",
        f"hypervisor: {URI}",
        "defaults: {image: debian-12, memory: 128}",
        f"networks: {{left: {{mode: isolated, cidr: {subnet}.0/24}}}}",
        "hosts:",
        f"  gate: {{role: router, networks: {{left: {subnet}.254}}}}",
    ]
    for number, (host, case) in enumerate(cases.items(), start=11):
        nic = f"{{ipv4: {subnet}.{number}, nmcli: {{{case.nmcli if bad else ''}}}}}"
        keys = case.text if bad else ""
        lines.append(f"  {host}: {{networks: {{left: {nic}}}, gateway: {subnet}.254{keys}}}")
    return "\n".join(lines) + "\n"


@dataclass
class Attacked:
    """The bad run over all hosts, and how each was before, after, and after a restart."""

    cases: dict[str, Case]
    answer: Answer
    before: dict[str, str]
    after: dict[str, str]
    reached: dict[str, bool]
    booted: dict[str, bool]
    again: Answer


def each_of(hosts: dict[str, Case], work: Callable[[str], str]) -> dict[str, str]:
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(hosts, pool.map(work, hosts), strict=True))


def attacked(directory: Path, name: str, subnet: str, cases: dict[str, Case]) -> Iterator[Attacked]:
    """Bring a lab up, make every host's bad change, look, restart all of them and look again."""
    lab = write_lab(directory, lab_text(name, subnet, cases, bad=False))
    path = directory / "bad.yaml"
    path.write_text(lab_text(name, subnet, cases, bad=True), encoding="utf-8")
    bad = RunningLab(path, lab.state)

    def on_all(script_of: Callable[[Case], str]) -> dict[str, str]:
        def run(host: str) -> str:
            script = script_of(cases[host])
            return inside(f"{name}-{host}", script) if script else ""

        return each_of(cases, run)

    def logins() -> dict[str, bool]:
        said = each_of(cases, lambda host: str(lab.run("--timeout", "30", "ssh", host, "true").exit_code))
        return {host: code == "0" for host, code in said.items()}

    try:
        up = lab.json("up", "--configure")
        assert up.exit_code == 0, up.bad() or up.stderr
        on_all(lambda case: case.before)
        before = on_all(lambda _: WHOLE)
        answer = bad.json("configure", "--confirm-timeout", "15")
        for host in cases:
            wait_until(f"{name}-{host}", "[ ! -e /var/lib/labrun/guard ]")
        reached = logins()
        after = on_all(lambda _: WHOLE)
        on_all(lambda case: case.after)
        for action in ("destroy", "start"):
            each_of(
                cases,
                lambda host, action=action: (
                    subprocess.run(  # type: ignore[misc]
                        ["virsh", "-q", "-c", URI, action, f"{name}-{host}"],
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout
                ),
            )
        lab.json("up")
        booted = logins()
        yield Attacked(cases, answer, before, after, reached, booted, lab.json("configure"))
    finally:
        lab.run("-y", "down")


@pytest.fixture(scope="module")
def attack(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    yield from attacked(tmp_path_factory.mktemp("way-in"), "grd-way", "10.60.4", CASES)


def check(attack: Attacked, host: str, *, may_stay: bool = False) -> None:
    rows = [row for row in attack.answer.rows if row["host"] == host and row["status"] != "ok"]
    assert attack.reached[host], rows
    assert attack.booted[host], rows
    assert {row["status"] for row in rows} <= ENDINGS, rows
    changed = {row["status"] for row in rows} == {"changed"}
    assert may_stay or changed is attack.cases[host].stays, rows
    if not changed:
        assert not any("not as before" in str(row["why"]) for row in rows), rows
        assert attack.after[host] == attack.before[host]


@pytest.mark.lxc
@pytest.mark.parametrize("host", CASES)
def test_labrun_gets_in_and_the_host_is_as_it_was(attack: Attacked, host: str) -> None:
    check(attack, host)


@pytest.mark.lxc
def test_the_next_run_of_the_good_file_finds_nothing_to_do(attack: Attacked) -> None:
    stays = {host for host, case in attack.cases.items() if case.stays}
    assert attack.again.exit_code == 0, attack.again.bad()
    assert {row["host"] for row in attack.again.rows if row["status"] == "changed"} <= stays


@pytest.mark.lxc
@pytest.mark.full
def test_further_members_of_each_kind(hypervisor: None, tmp_path: Path) -> None:
    names = list(FULL)
    faults = {}
    for first in range(0, len(names), 25):
        cases = {name: FULL[name] for name in names[first : first + 25]}
        for attack in attacked(tmp_path / str(first), "grd-way-full", "10.60.5", cases):
            for host in cases:
                try:
                    check(attack, host, may_stay=True)
                except AssertionError as error:
                    faults[host] = str(error)
            assert attack.again.exit_code == 0, attack.again.bad()
    assert faults == {}


BASE = """\
name: grd-behind
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 128}
networks:
  left: {mode: isolated, cidr: 10.60.6.0/24}
  right: {mode: very-isolated, cidr: 10.60.7.0/24}
hosts:
  gate: {role: router, networks: {left: 10.60.6.254, right: 10.60.7.254}}
  far: {networks: {right: 10.60.7.11}}
  near: {networks: {left: 10.60.6.11}}
"""


def fleet(state: Path, gate: str) -> str:
    ssh = json.dumps(
        {"user": "lab", "identity": str(state / "id_ed25519"), "known_hosts": str(state / "known_hosts")}
    )
    return f"""\
name: grd-fleet
networks: {{left: {{cidr: 10.60.6.0/24}}, right: {{cidr: 10.60.7.0/24}}}}
defaults: {{ssh: {ssh}}}
hosts:
  gate:
    address: 10.60.6.254
    role: router
    networks: {{left: 10.60.6.254, right: 10.60.7.254}}
    {gate}
  far: {{address: 10.60.7.11, networks: {{right: 10.60.7.11}}}}
  near: {{address: 10.60.6.11, networks: {{left: 10.60.6.11}}}}
"""


@pytest.fixture(scope="module")
def behind(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningLab, int]]:
    """A router and a host that only it leads to, known by their addresses alone."""
    base = write_lab(tmp_path_factory.mktemp("behind"), BASE)
    pid = daemon_pid(URI)
    assert pid is not None
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]
    try:
        base.run("up", "--no-wait")
        for host in ("gate", "far", "near"):
            wait_until(
                f"grd-behind-{host}",
                "systemctl is-active --quiet ssh && ! systemctl is-active --quiet cloud-final",
            )
        inside("grd-behind-gate", "sysctl -w net.ipv4.ip_forward=1")
        inside("grd-behind-far", "ip route replace default via 10.60.7.254")
        subprocess.run([*enter, "ip", "route", "replace", "10.60.7.0/24", "via", "10.60.6.254"], check=True)
        yield base, pid
    finally:
        subprocess.run([*enter, "ip", "route", "del", "10.60.7.0/24"], check=False)
        base.run("-y", "down")


@pytest.mark.lxc
@pytest.mark.parametrize(
    ("gate", "only_gate"),
    [
        ("firewall: {forward: drop}", True),
        ("sysctl: {net.ipv4.ip_forward: 0}", False),
        ('files: {/etc/labrun-test.conf: {content: x, on_change: "ip link set eth1 down"}}', True),
    ],
)
def test_a_router_that_cuts_others_off_goes_back_and_says_whom(
    behind: tuple[RunningLab, int], tmp_path: Path, gate: str, only_gate: bool
) -> None:
    base, pid = behind
    (state,) = base.state.glob("*-*")
    good = write_lab(tmp_path / "good", fleet(state, "hosts_file: false"))
    bad = write_lab(tmp_path / "bad", fleet(state, gate))
    fine = Inside(good.path, good.state, pid=pid).json("configure")
    assert fine.exit_code == 0, fine.bad() or fine.stderr
    words = ("--hosts", "gate") if only_gate else ()
    answer = Inside(bad.path, good.state, pid=pid).json(*words, "configure", "--confirm-timeout", "20")
    rows = [row for row in answer.rows if row["host"] == "gate" and row["status"] != "ok"]
    assert {row["status"] for row in rows} == {"rolled-back"}, rows
    assert all(re.search("reached through this host, far no longer answers", row["why"]) for row in rows)
    again = Inside(good.path, good.state, pid=pid).json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.bad()


TWO = """\
name: grd-two
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 128}
networks:
  left: {mode: isolated, cidr: 10.60.8.0/24, cidr6: "fd00:60:8::/64"}
  right: {mode: isolated, cidr: 10.60.9.0/24}
hosts:
  pair:
    networks:
      left: {ipv4: 10.60.8.11, nmcli: {ipv4.gateway: 10.60.8.1 MTU}}
      right: {ipv4: 10.60.9.11, nmcli: {ipv4.gateway: 10.60.9.1}}
  six: {networks: {left: {ipv4: 10.60.8.12, ipv6: "fd00:60:8::12"}}}
"""
SIX = """\
name: grd-six
networks: {{left: {{cidr6: "fd00:60:8::/64"}}}}
hosts:
  six: {{address: "fd00:60:8::12", ssh: {ssh}, sysctl: {{{sysctl}}}}}
"""


@pytest.fixture(scope="module")
def two(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    lab = write_lab(tmp_path_factory.mktemp("two"), TWO.replace(" MTU", ""))
    try:
        up = lab.json("up", "--configure")
        assert up.exit_code == 0, up.bad() or up.stderr
        yield lab
    finally:
        lab.run("-y", "down")


@pytest.mark.lxc
def test_of_two_ways_out_the_same_is_taken_as_before(two: RunningLab) -> None:
    before = inside("grd-two-pair", WHOLE)
    path = two.path.with_name("mtu.yaml")
    path.write_text(TWO.replace(" MTU", ", ethernet.mtu: 68"), encoding="utf-8")
    answer = RunningLab(path, two.state).json("--hosts", "pair", "configure", "--confirm-timeout", "10")
    assert answer.exit_code == 1, answer.rows
    assert answer.statuses("nmcli") <= {"ok", "rolled-back"}, answer.bad()
    assert inside("grd-two-pair", WHOLE) == before


@pytest.mark.lxc
def test_a_host_reached_over_ipv6_alone_gets_its_addresses_back(two: RunningLab, tmp_path: Path) -> None:
    (state,) = two.state.glob("*-*")
    known = tmp_path / "known_hosts"
    lines = (state / "known_hosts").read_text(encoding="utf-8").splitlines()
    key = next(line.partition(" ")[2] for line in lines if "10.60.8.12" in line or "fd00:60:8::12" in line)
    known.write_text(f"fd00:60:8::12 {key}\n", encoding="utf-8")
    ssh = json.dumps({"user": "lab", "identity": str(state / "id_ed25519"), "known_hosts": str(known)})
    pid = daemon_pid(URI)
    assert pid is not None
    text = SIX.format(ssh=ssh, sysctl="net.ipv6.conf.all.disable_ipv6: 1")
    made = write_lab(tmp_path / "six", text)
    before = inside("grd-two-six", WHOLE)
    started = time.monotonic()
    answer = Inside(made.path, made.state, pid=pid).json("configure", "--confirm-timeout", "8")
    assert time.monotonic() - started < 90
    (row,) = answer.of("sysctl", "six")
    assert row["status"] == "rolled-back", row
    assert inside("grd-two-six", WHOLE) == before
