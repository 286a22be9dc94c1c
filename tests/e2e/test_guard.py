"""Changes that would cut the way in, all at once and each on a host of its own: every host goes back.

What the hosts hold is compared in full before and after, by other commands than labrun's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import write_lab
from tests.e2e.guests import STATE
from tests.labs import Answer, RunningLab

pytestmark = pytest.mark.lxc

PROFILES = "/etc/NetworkManager/system-connections"
SSHD = "/etc/ssh/sshd_config.d"
TTL = "sysctl: {net.ipv4.ip_default_ttl: 61}"
FULL = f"""\
cp -a {PROFILES} /root/copy
mount -t tmpfs -o size=4k,mode=755 full {PROFILES}
cp -a /root/copy/. {PROFILES}
"""
VAR_FULL = """\
mkdir -p /var/lib/labrun /root/copy; cp -a /var/lib/labrun/. /root/copy
mount -t tmpfs -o size=16k,mode=755 full /var/lib/labrun; cp -a /root/copy/. /var/lib/labrun; rm -r /root/copy
dd if=/dev/zero of=/var/lib/labrun/filler bs=1k 2>/dev/null || :
"""
READ_ONLY = "mount --bind {0} {0}; mount -o remount,ro,bind {0}"
# Once the change is made, something goes wrong until the host has gone back.
MEANWHILE = """\
systemd-run --quiet --collect sh -c \
'until [ -e /var/lib/labrun/guard/changed ]; do sleep 0.02; done
{0}; while [ -e /var/lib/labrun/guard ]; do sleep 0.1; done; {1}'
"""
SUDOERS = "/etc/sudoers.d/90-cloud-init-users"
NM = "org.freedesktop.NetworkManager /org/freedesktop/NetworkManager org.freedesktop.NetworkManager"


@dataclass(frozen=True)
class Case:
    """One host: what its bad description adds, what is done to it before, and its rows in the end.

    ``nmcli`` and ``more`` are text in the lab file; ``why`` is a regular expression for the rows of
    ``section`` with this ``status``.
    """

    status: str
    why: str
    section: str = "nmcli"
    nmcli: str = ""
    more: str = ""
    before: str = ""
    after: str = ""


# A login that comes in while the address is on its way out ends in the middle.
NO_LOGIN = "(no new login .*|the new login was lost: .*); the host rolled back"
REFUSED = "no new login after the change: .* port 22 refused the connection; the host rolled back"
CASES = {
    # On a slow host the new login may come before the NIC has lost its address.
    "address": Case(
        "rolled-back",
        "(no new login .*|the new login was lost: .*|it was set but did not .*); the host rolled back",
        nmcli="ipv4.addresses: 10.99.0.5/24",
    ),
    "prefix": Case("rolled-back", NO_LOGIN, nmcli="ipv4.addresses: 10.60.1.12/32", more="gateway: none"),
    "device": Case(
        "rolled-back",
        "(eth0 did not come up.*|no new login .*|the new login was lost: .*); the host rolled back",
        nmcli="802-1x.eap: md5, 802-1x.identity: x, 802-1x.password: x",
    ),
    "lockout": Case(
        "rolled-back",
        "no new login after the change: .* accepts none of the keys for lab: .*; the host rolled back",
        "sshd",
        more="sshd: {AllowUsers: lab@192.0.2.1}",
    ),
    "listen": Case("rolled-back", REFUSED, "sshd", more="sshd: {ListenAddress: ip6-localhost}"),
    "banana": Case(
        "rolled-back",
        "the kernel refuses the value 'banana'; the host rolled back",
        "sysctl",
        more="sysctl: {net.ipv4.ip_default_ttl: banana}",
    ),
    "full": Case(
        "failed",
        "nothing was changed: the guard cannot be armed: .*No space left on device",
        nmcli="ipv4.dns-search: x.example",
        before=FULL,
        after=f"umount {PROFILES}; nmcli connection reload",
    ),
    "varfull": Case(
        "failed",
        "nothing was changed: the guard cannot be armed: its files cannot be written: no space is left .*",
        "sshd",
        more="sshd: {MaxSessions: 7}",
        before=VAR_FULL,
        after="umount /var/lib/labrun",
    ),
    "rootro": Case(
        "failed",
        "nothing was changed: the guard cannot be armed: .*Read-only file system",
        "sshd",
        more="sshd: {MaxSessions: 7}",
        before="mount -o remount,ro /",
        after="mount -o remount,rw /",
    ),
    "immutable": Case(
        "rolled-back",
        ".*Operation not permitted; the host rolled back",
        "sshd",
        more="sshd: {MaxSessions: 7}",
        before=f"chattr +i {SSHD}/00-labrun.conf",
        after=f"chattr -i {SSHD}/00-labrun.conf",
    ),
    "gateway": Case(
        "rolled-back",
        "the gateway 10.60.1.250 does not answer; the host rolled back",
        more="gateway: 10.60.1.250",
    ),
    "nmlost": Case(
        "rolled-back",
        "NetworkManager cannot be queried: .*; the host rolled back",
        nmcli="ipv4.dns-search: x.example",
        before=MEANWHILE.format("systemctl stop NetworkManager", "true"),
    ),
    "nmstopped": Case(
        "failed",
        "NetworkManager cannot be queried: .*",
        nmcli="ipv4.dns-search: x.example",
        before="systemctl stop NetworkManager",
        after="systemctl start NetworkManager",
    ),
    "nosudo": Case(
        "rolled-back",
        "the new login was lost: sudo does not work for lab without a password: .*; the host rolled back",
        "sshd",
        more="sshd: {MaxSessions: 7}",
        before=MEANWHILE.format(f"mv {SUDOERS} /root/sudoers", f"mv /root/sudoers {SUDOERS}"),
    ),
    "checkpoint": Case(
        "failed",
        "nothing was changed: another tool holds a checkpoint of NetworkManager for [0-9]+ s more",
        nmcli="ipv4.dns-search: x.example",
        before=f"busctl call {NM} CheckpointCreate aouu 0 600 0",
        after=f"for each in $(busctl get-property {NM} Checkpoints | grep -o '/org[^\"]*'); do\n"
        f"busctl call {NM} CheckpointDestroy o $each; done",
    ),
    "rubbish": Case(
        "failed",
        "sshd rejects its own configuration: .*",
        "sshd",
        more="sshd: {MaxSessions: 7}",
        before="echo rubbish >>/etc/ssh/sshd_config",
        after="sed -i '$d' /etc/ssh/sshd_config",
    ),
    "unknown": Case(
        "failed",
        "this kernel has no net.ipv4.nonsense here",
        "sysctl",
        more="sysctl: {net.ipv4.nonsense: 1}",
    ),
    "firewall": Case(
        "rolled-back",
        "no new login .*; the host rolled back",
        "firewall",
        more="firewall: {input: drop, ssh: false}",
    ),
    "readonly": Case(
        "failed",
        "nothing was changed: the guard cannot be armed: .*Read-only file system",
        "sysctl",
        more="sysctl: {net.ipv4.ip_default_ttl: 61}",
        before=READ_ONLY.format("/etc/systemd/system"),
        after="umount /etc/systemd/system",
    ),
}


def lab_text(*, bad: bool) -> str:
    """Return the lab with every host as it is, or as its case would have it."""
    lines = [
        "name: grd-cases",
        "hypervisor: lxc:///system",
        "defaults: {image: debian-12, memory: 128}",
        "networks: {left: {mode: isolated, cidr: 10.60.1.0/24}}",
        "hosts:",
        "  gate: {role: router, networks: {left: 10.60.1.254}}",
    ]
    for number, (host, case) in enumerate(CASES.items(), start=11):
        nic = f"{{ipv4: 10.60.1.{number}, nmcli: {{{case.nmcli if bad else ''}}}}}"
        more = f", {case.more}" if bad and case.more else ""
        default = "" if "gateway" in case.more and bad else ", gateway: 10.60.1.254"
        lines.append(f"  {host}: {{networks: {{left: {nic}}}{default}{more}}}")
    return "\n".join(lines) + "\n"


def on_all(lab: RunningLab, script_of: Callable[[Case], str]) -> dict[str, str]:
    """Run a script as root on every host whose case has one, at the same time; what they printed."""

    def run(host: str) -> str:
        script = script_of(CASES[host])
        if not script:
            return ""
        answer = lab.run("ssh", host, "sudo sh", stdin=script)
        assert answer.exit_code == 0, f"{host}: {answer.stderr}"
        return answer.stdout

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(CASES, pool.map(run, CASES), strict=True))


@dataclass(frozen=True)
class Attempt:
    """One bad run over all hosts, and how each of them was before and is after."""

    answer: Answer
    before: dict[str, str]
    after: dict[str, str]
    again: Answer


@pytest.fixture(scope="module")
def attempt(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attempt]:
    directory = tmp_path_factory.mktemp("guard")
    good = write_lab(directory, lab_text(bad=False))
    path = directory / "bad.yaml"
    path.write_text(lab_text(bad=True), encoding="utf-8")
    bad = RunningLab(path, good.state)
    try:
        up = good.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        on_all(good, lambda case: case.before)
        before = on_all(good, lambda _: STATE)
        answer = bad.json("configure", "--confirm-timeout", "5")
        after = on_all(good, lambda _: STATE)
        on_all(good, lambda case: case.after)
        yield Attempt(answer, before, after, good.json("configure"))
    finally:
        good.run("-y", "down")


@pytest.mark.parametrize("host", CASES)
def test_the_host_goes_back_and_the_row_says_why(attempt: Attempt, host: str) -> None:
    case = CASES[host]
    rows = attempt.answer.of(case.section, host)
    found = [row for row in rows if row["status"] == case.status]
    assert found, rows
    assert all(re.fullmatch(case.why, row["why"], re.DOTALL) for row in found), [row["why"] for row in found]
    wanted = {"ok", case.status}
    assert {row["status"] for row in attempt.answer.rows if row["host"] == host} <= wanted


@pytest.mark.parametrize("host", CASES)
def test_everything_on_the_host_is_as_it_was(attempt: Attempt, host: str) -> None:
    assert attempt.after[host] == attempt.before[host]


def test_the_next_run_finds_nothing_to_do(attempt: Attempt) -> None:
    assert attempt.answer.exit_code == 1
    assert (attempt.again.exit_code, attempt.again.statuses()) == (0, {"ok"}), attempt.again.trouble()
