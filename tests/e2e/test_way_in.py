"""Changes meant to close the way in, all kinds of them: labrun gets in afterwards, also after a restart.

Each host is as declared afterwards, or as it was before: everything about it is compared, by other commands
than labrun's own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from tests.e2e.attacks import URI, Attacked, attacked, check, faults
from tests.e2e.conftest import write_lab
from tests.e2e.further_lockouts import FULL
from tests.e2e.guests import inside
from tests.e2e.lockouts import CASES as FIRST
from tests.e2e.lockouts import WHOLE
from tests.e2e.rarer_lockouts import RARER
from tests.e2e.stranger_lockouts import KINDS, STRANGER
from tests.e2e.test_existing_machines import Inside
from tests.labs import RunningLab

BATCH = 25
CASES = {**FIRST, **KINDS}
LONG = {**FULL, **{name: case for name, case in STRANGER.items() if name not in KINDS}, **RARER}


@pytest.fixture(scope="module")
def attack(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked(tmp_path_factory.mktemp("way-in"), "grd-way", "10.60.4", CASES) as seen:
        yield seen


@pytest.mark.lxc
@pytest.mark.parametrize("host", CASES)
def test_labrun_gets_in_and_the_host_is_as_it_was(attack: Attacked, host: str) -> None:
    check(attack, host)


@pytest.mark.lxc
def test_the_next_run_of_the_good_file_finds_nothing_to_do(attack: Attacked) -> None:
    stays = {host for host, case in attack.cases.items() if case.stays}
    assert attack.again.exit_code == 0, attack.again.trouble()
    assert {row["host"] for row in attack.again.rows if row["status"] == "changed"} <= stays


def test_no_member_takes_the_place_of_another() -> None:
    names = [*FIRST, *FULL, *STRANGER, *RARER]
    assert len(set(names)) == len(names)


@pytest.mark.lxc
@pytest.mark.full
@pytest.mark.parametrize("first", range(0, len(LONG), BATCH))
def test_further_members_of_each_kind(hypervisor: None, tmp_path: Path, first: int) -> None:
    cases = {name: LONG[name] for name in list(LONG)[first : first + BATCH]}
    number = first // BATCH
    with attacked(tmp_path, f"grd-way-{number}", f"10.60.{20 + number}", cases) as seen:
        assert faults(seen) == {}
        assert seen.again.exit_code == 0, seen.again.trouble()


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
        assert up.exit_code == 0, up.trouble()
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
    assert answer.statuses("nmcli") <= {"ok", "rolled-back"}, answer.trouble()
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
