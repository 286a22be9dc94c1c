"""Hosts that are cut off, each in another way: it is looked at out of band, and its cause is named."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.labs import RunningLab

from .conftest import write_lab
from .guests import inside

LAB = "e2e-cut-off"
NET = "10.232.1"
DENY = "table inet shut { chain %s { type filter hook %s priority 0; policy %s; %s }; }"

# A second NIC, both of whose ends are in the host.
SIDEWAYS = "ip link add d0 type veth peer name d1; ip link set d1 up; ip link set d0 up; sleep 1"
WRONG = "br-wrong"


def nft(hook: str, rule: str = "", policy: str = "accept") -> str:
    text = DENY % (hook, hook, policy, rule)
    return f"echo '{text}' | nft -f -"


def sshd(line: str) -> str:
    return f"echo '{line}' >/etc/ssh/sshd_config.d/00-a.conf; systemctl reload ssh || systemctl restart ssh"


@dataclass(frozen=True)
class Cut:
    """What cuts a host off, inside or by commands beside libvirtd, and what its reason must contain.

    ``{own}`` is the host's address, ``{domain}`` its name in libvirt, ``{tap}`` the hypervisor's end of its
    NIC.
    """

    named: str
    inside: str = ""
    beside: str = ""


CUTS = {
    # The NIC and its address.
    "flush": Cut("eth0 has no address (profile labrun-left is up without it)", "ip addr flush dev eth0"),
    "other": Cut(
        f"eth0 has {NET}.199/24, not {{own}}", f"ip addr flush dev eth0; ip addr add {NET}.199/24 dev eth0"
    ),
    "stolen": Cut("{own} is answered by thief", "ip addr flush dev eth0"),
    "tolo": Cut("{own} is on lo, not on eth0", "ip addr flush dev eth0; ip addr add {own}/32 dev lo"),
    "prefix": Cut(
        "eth0 has {own}/32, not /24: no route back",
        "ip addr flush dev eth0; ip addr add {own}/32 dev eth0; ip route flush table main",
    ),
    "down": Cut("eth0 is down", "ip link set eth0 down"),
    "noprof": Cut("eth0 has no address (no profile is active on it)", "nmcli device disconnect eth0"),
    "unmanaged": Cut(
        "eth0 has no address (NetworkManager does not manage it",
        "nmcli device set eth0 managed no; ip addr flush dev eth0",
    ),
    "nmmasked": Cut(
        "eth0 has no address (NetworkManager is masked)",
        "systemctl mask --now NetworkManager; ip addr flush dev eth0",
    ),
    "bridge": Cut("eth0 is a port of br9", "ip link add br9 type bridge; ip link set eth0 master br9"),
    "noarp": Cut("ARP is switched off on eth0", "ip link set eth0 arp off"),
    "arpignore": Cut("arp_ignore is 8", "sysctl -qw net.ipv4.conf.all.arp_ignore=8"),
    # The way back.
    "blackhole": Cut("a blackhole route to", f"ip route add blackhole {NET}.1/32"),
    "noroute": Cut(f"no route back to {NET}.1", "ip route flush table main"),
    "rule": Cut("ip rule 10: from all", "ip rule add pref 10 blackhole"),
    "elsewhere": Cut(
        f"the route back to {NET}.1 leads out of d0",
        f"{SIDEWAYS}; ip route add {NET}.1/32 dev d0",
    ),
    "rpfilter": Cut(
        "rp_filter 1 drops what comes from",
        f"{SIDEWAYS}; sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1; "
        f"ip route add {NET}.1/32 dev d0",
    ),
    "nolocal": Cut("no local route to its own address", "ip route del table local local {own} dev eth0"),
    "neighbour": Cut(
        "to be at 02:00:00:00:00:01",
        f"ip neigh replace {NET}.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent",
    ),
    # Filters.
    "nftport": Cut(
        "nftables drops port 22: inet shut, chain input: tcp dport 22", nft("input", "tcp dport 22 drop;")
    ),
    "nftpolicy": Cut(
        "nftables drops port 22: inet shut, chain input: policy drop", nft("input", policy="drop")
    ),
    "nftreject": Cut("tcp dport 22 reject", nft("input", "tcp dport 22 reject with tcp reset;")),
    "nftanswers": Cut("nftables drops the answers of port 22", nft("output", "tcp sport 22 drop;")),
    "nftarp": Cut(
        "nftables drops ARP",
        "echo 'table arp shut { chain input { type filter hook input priority 0; drop; }; }' | nft -f -; "
        "ip neigh flush all",
    ),
    # sshd.
    "sshstop": Cut("sshd is not running: ssh.service is inactive", "systemctl stop ssh"),
    "sshmask": Cut("sshd is not running: ssh.service is masked", "systemctl mask --now ssh"),
    "sshbad": Cut("Rubbish", "echo 'Rubbish yes' >/etc/ssh/sshd_config.d/00-a.conf; systemctl restart ssh"),
    "sshport": Cut("sshd listens on port 2222, not on 22", sshd("Port 2222")),
    "sshlisten": Cut("sshd listens on 127.0.0.1 only", sshd("ListenAddress 127.0.0.1")),
    "sshfrozen": Cut("sshd is stopped by a signal", "kill -STOP $(cat /run/sshd.pid)"),
    "sshrival": Cut(
        "port 22 is held by nc, not by sshd",
        "systemctl stop ssh; systemd-run --quiet nc -lk 22; sleep 0.5",
    ),
    # Who is let in.
    "allowusers": Cut("AllowUsers nobody leaves out lab", sshd("AllowUsers nobody")),
    "denyusers": Cut("DenyUsers lab names lab", sshd("DenyUsers lab")),
    "allowgroups": Cut("AllowGroups wheel leaves out lab", sshd("AllowGroups wheel")),
    "nokeys": Cut("PubkeyAuthentication is no", sshd("PubkeyAuthentication no")),
    "keysfile": Cut("AuthorizedKeysFile none", sshd("AuthorizedKeysFile none")),
    "keysgone": Cut("/home/lab/.ssh/authorized_keys is gone", "rm /home/lab/.ssh/authorized_keys"),
    "keysother": Cut(
        "labrun's key is not in /home/lab/.ssh/authorized_keys", "echo x >/home/lab/.ssh/authorized_keys"
    ),
    "homemode": Cut(
        "sshd does not trust /home/lab: others may write to it (mode 777)", "chmod 777 /home/lab"
    ),
    "keysowner": Cut("sshd does not trust /home/lab/.ssh: it is nobody's", "chown nobody /home/lab/.ssh"),
    "shell": Cut("the shell of lab is /usr/sbin/nologin", "usermod -s /usr/sbin/nologin lab"),
    "noshell": Cut("the shell of lab, /bin/zsh, does not exist", "usermod -s /bin/zsh lab"),
    "expired": Cut("the account lab has expired", "chage -E 0 lab"),
    "nologin": Cut("/etc/nologin exists", "echo closed >/etc/nologin"),
    "noaccount": Cut("there is no account lab", "sed -i /^lab:/d /etc/passwd"),
    "hostsdeny": Cut("/etc/hosts.deny refuses it: sshd: ALL", "echo 'sshd: ALL' >/etc/hosts.deny"),
    "hostkey": Cut(
        "its host key was changed",
        "cd /etc/ssh; rm ssh_host_*; ssh-keygen -qt ed25519 -N '' -f ssh_host_ed25519_key; "
        "systemctl restart ssh",
    ),
    # The hypervisor's side.
    "tapdown": Cut("the hypervisor's end of eth0, is down", beside="ip link set {tap} down"),
    "tapout": Cut("the hypervisor's end of eth0, is in no bridge", beside="ip link set {tap} nomaster"),
    "tapwrong": Cut(
        "is in br-wrong, not in virbr",
        beside=f"ip link add {WRONG} type bridge; ip link set {WRONG} up; ip link set {{tap}} master {WRONG}",
    ),
    "tapstate": Cut("is disabled as a port of", beside="bridge link set dev {tap} state 0"),
    "paused": Cut("paused: -", beside="virsh -c lxc:///system suspend {domain}"),
}
HOSTS = {name: f"{NET}.{11 + number}" for number, name in enumerate(CUTS)}
# One of each kind, for every run of the suite.
OFTEN = (
    *("flush", "stolen", "noroute", "nftport", "sshstop"),
    *("allowusers", "keysother", "hostkey", "tapout", "paused"),
)
SELDOM = tuple(name for name in CUTS if name not in OFTEN)
# Only a NIC that may use others' addresses can take one away.
TEXT = f"""\
name: {LAB}
hypervisor: lxc:///system
networks:
  left: {{mode: isolated, cidr: {NET}.0/24, dhcp: false}}
hosts:
  thief: {{networks: {{left: {{ipv4: {NET}.9, spoofing: allow}}}}}}
"""


def beside(script: str) -> None:
    done = subprocess.run(
        ["scripts/hypervisor", "enter", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{script}: {done.stderr}"


def tap(domain: str) -> str:
    listed = subprocess.run(
        ["virsh", "-c", "lxc:///system", "domiflist", domain], capture_output=True, text=True, check=True
    )
    return listed.stdout.split("\n")[2].split()[0]


def reasons_of(names: tuple[str, ...], directory: Path) -> dict[str, str]:
    """Make a host for each of the cuts, cut it off, and return its state and why it is not reached."""
    text = TEXT + "".join(f"  {name}: {{networks: {{left: {HOSTS[name]}}}}}\n" for name in names)
    made = write_lab(directory, text)
    try:
        up = made.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        for name in names:
            cut, domain = CUTS[name], f"{LAB}-{name}"
            if cut.inside:
                inside(domain, cut.inside.replace("{own}", HOSTS[name]))
            if cut.beside:
                beside(cut.beside.replace("{tap}", tap(domain)).replace("{domain}", domain))
        # No neighbour that was found before, so that what answers no more is not reached.
        beside("ip neigh flush all")
        if "stolen" in names:
            inside(f"{LAB}-thief", f"ip addr add {HOSTS['stolen']}/24 dev eth0")
        answer = made.json("status")
    finally:
        made.run("-y", "down")
        subprocess.run(
            ["scripts/hypervisor", "enter", "ip", "link", "del", WRONG], capture_output=True, check=False
        )
    return {host["name"]: f"{host['state']}: {host['ssh']}" for host in answer.document["hosts"]}


OTHER = """\
name: e2e-inside
hypervisor: lxc:///system
networks:
  near: {mode: isolated, cidr: 10.232.2.0/24}
  far: {mode: isolated, cidr: 10.232.3.0/24}
  quiet: {mode: very-isolated, cidr: 10.232.4.0/24}
hosts:
  middle: {role: router, networks: {near: 10.232.2.254, far: 10.232.3.254}}
  left: {networks: {near: 10.232.2.11}}
  right: {networks: {far: 10.232.3.11}}
  apart: {networks: {quiet: 10.232.4.11}}
checks:
  - {name: web, from: left, to: right, tcp: 22}
"""


@pytest.fixture(scope="module")
def four(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("inside"), OTHER)
    try:
        up = made.json("up")
        assert up.exit_code == 0, up.trouble()
        # No login leads to it: it is ready by what it shows inside, and its row says so.
        (apart,) = up.of("ready", "apart")
        assert apart["status"] == "ok"
        no_way = "the hypervisor has no way to apart: only on quiet, where the hypervisor has no address"
        assert apart["why"] == f"{no_way}: seen out of band"
        configured = made.json("--hosts", "middle,left,right", "configure")
        assert configured.exit_code == 0, configured.trouble()
        yield made
    finally:
        made.run("-y", "down")


def test_the_rows_of_a_host_without_sshd_are_judged_by_what_is_inside(four: RunningLab) -> None:
    inside("e2e-inside-left", "systemctl stop ssh")
    try:
        answer = four.json("--hosts", "left,right", "verify")
        assert answer.exit_code == 4
        (ready,) = answer.of("ready")
        why = "sshd is not running: ssh.service is inactive; seen out of band, over SSH: 10.232.2.11 port 22"
        assert (ready["host"], ready["status"]) == ("left", "unreachable")
        assert ready["why"].startswith(why)
        own = [row for row in answer.rows if row["host"] == "left" and row["section"] != "ready"]
        assert {row["status"] for row in own} <= {"ok", "skipped"}
        assert {row["section"] for row in own} == {"address", "route", "path", "sshd", "check"}
        assert all("seen out of band" in row["why"] for row in own if row["status"] == "ok")
        assert not [
            row for row in answer.rows if row["host"] == "right" and "out of band" in (row["why"] or "")
        ]
        drift = four.json("--hosts", "left,right", "drift")
        assert drift.exit_code == 4
        assert [row["host"] for row in drift.of("ready")] == ["left"]
        assert drift.of("nmcli", "left")[0]["status"] == "ok"
        for command in (["configure"], ["configure", "--dry-run"]):
            rows = four.json("--hosts", "left", *command)
            assert rows.exit_code == 4
            assert all(row["why"].startswith(why) for row in rows.rows)
    finally:
        inside("e2e-inside-left", "systemctl start ssh")
    after = four.json("--hosts", "left,right", "verify")
    assert (after.exit_code, after.of("ready")) == (0, [])


@pytest.mark.full
def test_an_address_that_is_gone_is_a_failure_and_the_cause_of_the_others(four: RunningLab) -> None:
    inside("e2e-inside-left", "ip addr flush dev eth0")
    try:
        answer = four.json("--hosts", "left,right,middle", "verify")
        assert answer.exit_code == 1
        (address,) = answer.of("address", "left")
        assert (address["status"], address["actual"]) == ("failed", "none")
        assert address["why"] == "eth0 does not have it; seen out of band"
        (ready,) = answer.of("ready")
        assert ready["why"].startswith("eth0 has no address (profile labrun-near is up without it)")
        assert "left: 10.232.2.11 is missing on near" in answer.of("path", "right", "right -> left")[0]["why"]
        drift = four.json("--hosts", "left", "drift")
        assert (drift.exit_code, drift.of("address", "left")[0]["status"]) == (4, "drifted")
        # No login leads in, but what `configure` would set can be set without one.
        up = four.json("--hosts", "left", "up")
        assert up.exit_code == 0, up.trouble()
        (row,) = up.of("ready")
        assert (row["status"], row["why"]) == ("ok", "its address had moved: near set without a login")
        again = four.json("--hosts", "left", "up")
        assert (again.exit_code, again.of("ready")[0]["why"]) == (0, None)
    finally:
        inside("e2e-inside-left", "nmcli connection up labrun-near")
    assert four.json("--hosts", "left,right", "verify").exit_code == 0


@pytest.mark.full
def test_what_waiting_does_not_mend_ends_the_wait(four: RunningLab) -> None:
    inside("e2e-inside-left", "systemctl mask --now ssh")
    try:
        up = four.json("--hosts", "left", "up")
        assert up.exit_code == 4
        (row,) = up.of("ready")
        why = "sshd is not running: ssh.service is masked; seen out of band, over SSH: "
        assert row["why"].startswith(why)
        # Long before the time limit of two minutes.
        assert row["seconds"] < 90
    finally:
        inside("e2e-inside-left", "systemctl unmask ssh; systemctl start ssh")


def test_commands_without_ssh(four: RunningLab) -> None:
    inside("e2e-inside-left", "systemctl stop ssh; ip link set eth0 down")
    try:
        for via in ("agent", "console"):
            ran = four.json("--hosts", "left,apart", "exec", "--via", via, "id -un; hostname; exit 3")
            assert ran.exit_code == 1
            assert [(row["host"], row["actual"], row["why"]) for row in ran.rows] == [
                ("left", "root\nleft", "exit status 3"),
                ("apart", "root\napart", "exit status 3"),
            ]
    finally:
        inside("e2e-inside-left", "ip link set eth0 up; systemctl start ssh; nmcli connection up labrun-near")


def _until(terminal: int, text: bytes, seconds: float = 60.0) -> bytes:
    shown, until = b"", time.monotonic() + seconds
    while text not in shown:
        assert time.monotonic() < until, shown
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 4096)
    return shown


@pytest.mark.parametrize("host", ["left", pytest.param("apart", marks=pytest.mark.full)])
def test_a_console_is_logged_in_by_itself_and_ends_with_its_key(four: RunningLab, host: str) -> None:
    if host == "left":
        inside("e2e-inside-left", "echo lab:another | chpasswd")
    ours, theirs = os.openpty()
    words = four.arguments("console", host)
    process = subprocess.Popen(words, env=four.environment(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        _until(ours, b"Ctrl-] ends")
        os.write(ours, b"echo $((6 * 7)); id -un; hostname\r")
        _until(ours, b"42\r\nlab\r\n" + host.encode())
        os.write(ours, b"\x1d")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_console_needs_a_running_machine_and_no_document(four: RunningLab) -> None:
    json = four.json("console", "left")
    assert (json.exit_code, json.document["error"]) == (2, "console: a console has no JSON output")
    inside_of_none = four.run("console", "nobody")
    assert inside_of_none.exit_code == 2
    assert four.run("exec", "--via", "telnet", "true").exit_code == 2


@pytest.fixture(scope="module")
def often(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return reasons_of(OFTEN, tmp_path_factory.mktemp("cut-off"))


@pytest.fixture(scope="module")
def seldom(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return reasons_of(SELDOM, tmp_path_factory.mktemp("cut-off"))


@pytest.mark.parametrize("name", OFTEN)
def test_the_cause_is_named(often: dict[str, str], name: str) -> None:
    assert CUTS[name].named.replace("{own}", HOSTS[name]) in often[name]


@pytest.mark.full
@pytest.mark.parametrize("name", SELDOM)
def test_the_cause_of_others_of_its_kind_is_named(seldom: dict[str, str], name: str) -> None:
    assert CUTS[name].named.replace("{own}", HOSTS[name]) in seldom[name]


VM = """\
name: e2e-vm-inside
hypervisor: qemu:///system
networks:
  left: {mode: isolated, cidr: 10.232.5.0/24}
hosts:
  one: {networks: {left: 10.232.5.11}}
"""


# Without KVM it takes a processor for a minute to boot.
@pytest.mark.vm
@pytest.mark.full
def test_a_vm_is_looked_into_by_its_agent_and_without_one_by_its_console(
    make_lab: Callable[[str], RunningLab],
) -> None:
    lab = make_lab(VM)
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    named = "eth0 has no address (profile "

    def seen() -> str:
        return str(lab.json("status").document["hosts"][0]["ssh"])

    assert seen() == "ok"
    cut = lab.json("exec", "--via", "agent", "ip address flush dev eth0")
    assert cut.exit_code == 0, cut.rows
    assert named in seen()
    answer = lab.json("verify")
    assert answer.of("address", "one")[0]["why"] == "eth0 does not have it; seen out of band"
    # Nobody answers for the guest any more but its console.
    lab.json("exec", "--via", "agent", "systemd-run --on-active=1 systemctl stop qemu-guest-agent")
    until = time.monotonic() + 60
    while lab.json("exec", "--via", "agent", "true").exit_code != 4:
        assert time.monotonic() < until, "the agent still answers"
    assert named in seen()
    back = lab.json("exec", "--via", "console", "systemctl start qemu-guest-agent; nmcli device reapply eth0")
    assert back.exit_code == 0, back.rows
