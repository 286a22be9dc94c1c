"""Existing machines that only a router of the lab leads to: neither it nor they may be lost to a change.

They are known by their addresses alone; nothing that labrun makes stands between it and them.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from tests.e2e.attacks import URI, Attacked, at, attack, check, faults
from tests.e2e.conftest import write_lab
from tests.e2e.further_lockouts import FULL
from tests.e2e.guests import inside, wait_until
from tests.e2e.lockouts import CASES, SUBNET, Case
from tests.e2e.test_existing_machines import Inside

pytestmark = pytest.mark.lxc

MORE = (
    *("nft", "mask", "keys", "shell", "mac", "sshoff", "dpkg", "s0", "n7"),
    *("readonly", "sshstop", "sudoers", "match", "unmanaged", "sysctld", "rival", "dropin"),
)
FAR = f"{SUBNET}.11"
"""A host that is not attacked; what goes to it in place of a case's host finds another host key."""
NO_SELINUX = """\
mkdir -p /etc/selinux/default/policy; echo x >/etc/selinux/default/policy/policy.33
printf 'SELINUX=disabled\\nSELINUXTYPE=default\\n' >/etc/selinux/config; chmod 640 /etc/selinux/config
"""
AWAY = f"role: router, nat: {{forward: [{{on: right, port: 22, to: '{FAR}:22'}}]}}"
ALL = {
    **CASES,
    "nataway": Case(AWAY),
    "natwith": Case(f"{AWAY}, firewall: {{input: drop}}"),
    "nathides": Case("role: router, nat: {masquerade: [right]}", stays=True),
    "selinux": Case("selinux: permissive", before=NO_SELINUX, stays=True),
    "selshut": Case("selinux: enforcing, firewall: {input: drop, ssh: false}", before=NO_SELINUX),
    "selnobody": Case("selinux: permissive, sshd: {AllowUsers: 'lab@192.0.2.9'}", before=NO_SELINUX),
    **{name: FULL[name] for name in MORE},
    "naming": Case("hostname: elsewhere, sshd: {ListenAddress: ip6-localhost}"),
}
FEW = {
    "allow": CASES["allow"],
    "nmstop": FULL["nmstop"],
    "nataway": ALL["nataway"],
    "selshut": ALL["selshut"],
}
SLOW = r"""printf '#!/bin/sh\nsleep 3\nexec /usr/bin/nmcli "$@"\n' >/usr/local/sbin/nmcli
chmod 755 /usr/local/sbin/nmcli"""
_SSHD = "systemctl is-active --quiet ssh"


@dataclass
class Fleet:
    """Two networks, a router between them, and the hosts behind it, one a case beside ``far``."""

    name: str
    left: str
    right: str
    cases: Mapping[str, Case]

    @property
    def hosts(self) -> dict[str, str]:
        """Return the addresses of the hosts behind the router."""
        return {host: f"{self.right}.{number}" for number, host in enumerate(("far", *self.cases), start=11)}

    def base(self) -> str:
        """Return the lab that makes the machines, and does no more than that."""
        far = (f"  {host}: {{networks: {{right: {address}}}}}" for host, address in self.hosts.items())
        return "\n".join(
            [
                f"name: {self.name}",
                f"hypervisor: {URI}",
                "defaults: {image: debian-12, memory: 128}",
                "networks:",
                f"  left: {{mode: isolated, cidr: {self.left}.0/24}}",
                f"  right: {{mode: very-isolated, cidr: {self.right}.0/24}}",
                "hosts:",
                f"  gate: {{role: router, networks: {{left: {self.left}.254, right: {self.right}.254}}}}",
                f"  near: {{networks: {{left: {self.left}.11}}}}",
                *far,
            ]
        )

    def existing(self, state: Path, *, gate: str = "hosts_file: false", bad: bool = False) -> str:
        """Return the file that knows them as existing machines; ``gate`` is what it says of the router."""
        ssh = {
            "user": "lab",
            "identity": str(state / "id_ed25519"),
            "known_hosts": str(state / "known_hosts"),
        }
        lines = [
            f"name: {self.name}-known",
            f"networks: {{left: {{cidr: {self.left}.0/24}}, right: {{cidr: {self.right}.0/24}}}}",
            f"defaults: {{ssh: {json.dumps(ssh)}}}",
            "hosts:",
            f"  gate: {{address: {self.left}.254, role: router, {gate},",
            f"    networks: {{left: {self.left}.254, right: {self.right}.254}}}}",
            f"  near: {{address: {self.left}.11, networks: {{left: {self.left}.11}}}}",
        ]
        for host, address in self.hosts.items():
            case = self.cases.get(host) if bad else None
            nmcli, more = at(self.right, case) if case else ("", "")
            nic = f"{{ipv4: {address}, nmcli: {{{nmcli}}}}}"
            lines.append(
                f"  {host}: {{address: {address}, networks: {{right: {nic}}},"
                f" gateway: {self.right}.254{more}}}"
            )
        return "\n".join(lines) + "\n"


@dataclass
class Behind:
    """A fleet that is up and as its good file says."""

    fleet: Fleet
    keys: Path
    good: Inside

    def other(self, directory: Path, *, gate: str = "hosts_file: false", bad: bool = False) -> Inside:
        """Return the fleet with a worse file."""
        made = write_lab(directory, self.fleet.existing(self.keys, gate=gate, bad=bad))
        return Inside(made.path, self.good.state, pid=self.good.pid)

    def come_up(self) -> None:
        """Wait until the hosts of the cases are there and know their way out."""
        for host in self.fleet.cases:
            wait_until(f"{self.fleet.name}-{host}", f'{_SSHD} && [ -n "$(ip route show default)" ]')

    def attacked(self, directory: Path) -> Attacked:
        """Have every host behind the router change in its own bad way."""
        bad = self.other(directory, bad=True)
        return attack(self.good, bad, self.fleet.name, self.fleet.cases, self.come_up)


@contextmanager
def fleet_of(directory: Path, fleet: Fleet) -> Iterator[Behind]:
    base = write_lab(directory / "base", fleet.base())
    pid = daemon_pid(URI)
    assert pid is not None
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net", "--", "ip", "route"]
    try:
        base.run("up", "--no-wait")
        for host in ("gate", "near", *fleet.hosts):
            wait_until(f"{fleet.name}-{host}", f"{_SSHD} && ! systemctl is-active --quiet cloud-final")
        inside(f"{fleet.name}-gate", "sysctl -w net.ipv4.ip_forward=1")
        for host in fleet.hosts:
            inside(f"{fleet.name}-{host}", f"ip route replace default via {fleet.right}.254")
        subprocess.run([*enter, "replace", f"{fleet.right}.0/24", "via", f"{fleet.left}.254"], check=True)
        (state,) = base.state.glob("*-*")
        known = write_lab(directory / "good", fleet.existing(state))
        good = Inside(known.path, known.state, pid=pid)
        fine = good.json("configure")
        assert fine.exit_code == 0, fine.trouble()
        yield Behind(fleet, state, good)
    finally:
        subprocess.run([*enter, "del", f"{fleet.right}.0/24"], check=False)
        base.run("-y", "down")


@contextmanager
def slow(domain: str) -> Iterator[None]:
    """Have a machine take three seconds longer to be read than its router takes to be changed."""
    inside(domain, SLOW)
    try:
        yield
    finally:
        inside(domain, "rm /usr/local/sbin/nmcli")


@pytest.fixture(scope="module")
def behind(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """A router and a few hosts that only it leads to."""
    fleet = Fleet("grd-behind", "10.60.6", "10.60.7", FEW)
    with fleet_of(tmp_path_factory.mktemp("behind"), fleet) as made:
        yield made


@pytest.mark.parametrize(
    ("gate", "only_gate"),
    [
        ("firewall: {forward: drop}", True),
        pytest.param("sysctl: {net.ipv4.ip_forward: 0}", False, marks=pytest.mark.full),
        ('files: {/etc/labrun-test.conf: {content: x, on_change: "ip link set eth1 down"}}', True),
    ],
)
def test_a_router_that_cuts_others_off_goes_back_and_says_whom(
    behind: Behind, tmp_path: Path, gate: str, only_gate: bool
) -> None:
    words = ("--hosts", "gate") if only_gate else ()
    answer = behind.other(tmp_path, gate=gate).json(*words, "configure", "--confirm-timeout", "20")
    rows = [row for row in answer.rows if row["host"] == "gate" and row["status"] != "ok"]
    assert {row["status"] for row in rows} == {"rolled-back"}, [(row["status"], row["why"]) for row in rows]
    names = ", ".join(behind.fleet.hosts)
    assert all(re.search(f"reached through this host, {names} no longer answer", row["why"]) for row in rows)
    again = behind.good.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


@pytest.mark.full
def test_a_router_that_sends_its_own_logins_elsewhere_goes_back(behind: Behind, tmp_path: Path) -> None:
    gate = "nat: {forward: [{on: left, port: 22, to: 'far:22'}]}"
    answer = behind.other(tmp_path, gate=gate).json("configure", "--confirm-timeout", "20")
    rows = [row for row in answer.rows if row["host"] == "gate" and row["status"] != "ok"]
    assert {row["status"] for row in rows} == {"rolled-back"}, [(row["status"], row["why"]) for row in rows]
    assert all("no new login after the change" in row["why"] for row in rows), rows
    again = behind.good.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def test_a_router_that_translates_for_others_lets_labrun_in(behind: Behind, tmp_path: Path) -> None:
    hiding = behind.other(tmp_path, gate="nat: {masquerade: [left]}")
    # The connections through the router are in use while it begins to translate them, and while it stops.
    with slow(f"{behind.fleet.name}-far"):
        answer = hiding.json("configure")
        assert answer.exit_code == 0, answer.trouble()
        assert {row["status"] for row in answer.of("nat", "gate")} == {"changed"}
        again = hiding.json("configure")
        assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
        back = behind.good.json("configure")
        assert back.exit_code == 0, [(row["host"], row["status"], row["why"]) for row in back.bad()]
    assert "labrun" not in inside(f"{behind.fleet.name}-gate", "nft list tables")


@pytest.mark.full
def test_hosts_behind_a_router_go_back_and_let_labrun_in(behind: Behind, tmp_path: Path) -> None:
    seen = behind.attacked(tmp_path)
    for host in seen.cases:
        check(seen, host)
    assert seen.again.exit_code == 0, seen.again.trouble()


@pytest.mark.full
def test_every_kind_of_change_on_hosts_behind_a_router(hypervisor: None, tmp_path: Path) -> None:
    with fleet_of(tmp_path, Fleet("grd-behind-all", "10.60.10", "10.60.11", ALL)) as behind:
        seen = behind.attacked(tmp_path)
        assert faults(seen) == {}
        assert seen.again.exit_code == 0, seen.again.trouble()
