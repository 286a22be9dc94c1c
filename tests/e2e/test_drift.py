"""Drift on real containers: what somebody changes by hand is found, named, and put right."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import Answer, RunningLab

pytestmark = pytest.mark.lxc

LAB = """\
name: dft-e2e
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 192}
networks:
  left: {mode: isolated, cidr: 10.65.10.0/24}
  right: {mode: isolated, cidr: 10.65.11.0/24}
hosts:
  gate: {role: router, networks: {left: 10.65.10.254, right: 10.65.11.254}}
  one:
    networks: {left: 10.65.10.11}
    services: {systemd-tmpfiles-clean.timer: running}
    firewall: {input: accept, allow: [{port: 80}]}
    packages: [eject]
    files: {/etc/motd: {content: "As the file says.\\n"}}
  two: {networks: {right: dhcp}}
"""
GATE = "  gate: {role: router, "
RUNS = 5
PROFILES = "/etc/NetworkManager/system-connections"
DROP_INS = "/etc/ssh/sshd_config.d"


def virsh(*words: str, stdin: str | None = None) -> str:
    """Do what a person does with virsh."""
    command = ["virsh", "-c", "lxc:///system", *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inside(host: str, script: str) -> None:
    """Do something in a container without a login."""
    virsh("lxc-enter-namespace", f"dft-e2e-{host}", "--noseclabel", "--", "/bin/sh", "-c", script)


def redefine_network(pattern: str, text: str) -> None:
    """Edit the definition of the network ``right``, as virsh net-edit does."""
    xml = virsh("net-dumpxml", "--inactive", "dft-e2e-right")
    assert re.search(pattern, xml), xml
    virsh("net-define", "/dev/stdin", stdin=re.sub(pattern, text, xml))


def remove_reservation() -> None:
    entry = re.search(r"<host mac=.*name='two'.*/>", virsh("net-dumpxml", "dft-e2e-right"))
    assert entry is not None
    virsh("net-update", "dft-e2e-right", "delete", "ip-dhcp-host", entry[0], "--live", "--config")


def unplug() -> None:
    xml = virsh("dumpxml", "dft-e2e-gate")
    macs = re.findall(r"<mac address='(\S+)'/>\s*<source network='dft-e2e-right'", xml)
    virsh("detach-interface", "dft-e2e-gate", "network", "--mac", macs[0], "--live")


@dataclass(frozen=True)
class Fault:
    """One change by hand: on a host by a shell script, else by ``act`` words for virsh or a function.

    ``rows`` are what drift must say: (host, section, name) and a text that stands in actual, why or
    diff. ``undo`` is for what ``--fix`` cannot put right: something else than labrun's own decides.
    """

    name: str
    rows: dict[tuple[str, str, str], str]
    host: str = ""
    script: str = ""
    act: object = None
    undo: str = ""
    out_of_band: bool = False
    status: str = "drifted"
    extra: tuple[str, ...] = field(default=())


RELOAD = "; systemctl reload ssh"
LATER = "/etc/sysctl.d/99-zz.conf"
RUNTIME = [
    Fault(
        "an extra address by ip",
        {("one", "nmcli", "left"): "-address 10.65.10.99/24", ("one", "address", "left"): "10.65.10.99"},
        "one",
        "ip address add 10.65.10.99/24 dev $nic",
    ),
    Fault(
        "forwarding switched off at runtime only",
        {
            ("gate", "sysctl", "net.ipv4.ip_forward"): "-running: net.ipv4.ip_forward = 0",
            ("one", "path", "one -> two"): "net.ipv4.ip_forward is 0",
        },
        "gate",
        "sysctl -q net.ipv4.ip_forward=0",
    ),
    Fault(
        "a route deleted",
        {
            ("two", "nmcli", "right"): "+route default via 10.65.11.254",
            ("two", "route", "default"): "no default route",
        },
        "two",
        "ip route delete default",
    ),
    Fault(
        "a unit stopped",
        {("one", "services", "systemd-tmpfiles-clean.timer"): "inactive"},
        "one",
        "systemctl stop systemd-tmpfiles-clean.timer",
    ),
    Fault(
        "/etc/hosts edited",
        {("two", "hosts", "/etc/hosts"): "10.9.9.9"},
        "two",
        "sed -i 's/^10.65.10.11 one/10.9.9.9 one/' /etc/hosts",
    ),
    Fault(
        "a line added to labrun's own file",
        {("gate", "sysctl", "net.ipv4.tcp_fin_timeout"): "-/etc/sysctl.d/90-labrun.conf"},
        "gate",
        "echo net.ipv4.tcp_fin_timeout = 30 >>/etc/sysctl.d/90-labrun.conf",
    ),
    Fault(
        "a firewall rule added",
        {("one", "firewall", "firewall"): "-input: tcp dport 23 accept"},
        "one",
        "nft add rule inet labrun input tcp dport 23 accept",
    ),
    Fault(
        "a file edited",
        {("one", "files", "/etc/motd"): "-As somebody says."},
        "one",
        "sed -i s/the.file/somebody/ /etc/motd",
    ),
]
FILES = [
    Fault("all tables flushed", {("one", "firewall", "firewall"): "absent"}, "one", "nft flush ruleset"),
    Fault(
        "a profile edited and not applied",
        {("one", "nmcli", "left"): "-ipv4.dns: 9.9.9.9"},
        "one",
        "nmcli connection modify labrun-left ipv4.dns 9.9.9.9",
    ),
    Fault(
        "applied and not saved",
        {("gate", "nmcli", "left"): "-address 10.65.10.77/24"},
        "gate",
        "nmcli device modify $nic +ipv4.addresses 10.65.10.77/24",
    ),
    Fault(
        "changed in memory only",
        {("two", "nmcli", "right"): "NetworkManager has not loaded the file"},
        "two",
        "nmcli connection modify --temporary labrun-right connection.metered yes",
    ),
    Fault(
        "one NIC of a router that does not forward",
        {("gate", "sysctl", "net.ipv4.ip_forward"): ".forwarding is 0"},
        "gate",
        "sysctl -qw net.ipv4.conf.$nic.forwarding=0",
    ),
    Fault(
        "a profile deleted",
        {("gate", "nmcli", "right"): "+connection.id: labrun-right"},
        "gate",
        "nmcli connection delete labrun-right",
    ),
    Fault(
        "a line of labrun's drop-in removed",
        {("one", "sshd", "x11forwarding"): "X11Forwarding no"},
        "one",
        f"sed -i '/^X11Forwarding/d' {DROP_INS}/00-labrun.conf{RELOAD}",
    ),
]
OTHERS = [
    Fault(
        "forwarding off in a later sysctl.d file only",
        {("gate", "sysctl", "net.ipv4.ip_forward"): f"{LATER} sets net.ipv4.ip_forward = 0"},
        "gate",
        f"echo net.ipv4.ip_forward = 0 >{LATER}",
        undo=f"rm {LATER}",
    ),
    Fault(
        "an sshd drop-in that sorts earlier",
        {
            (
                "one",
                "sshd",
                "passwordauthentication",
            ): f"{DROP_INS}/00-aaa.conf sets PasswordAuthentication too"
        },
        "one",
        f"echo PasswordAuthentication yes >{DROP_INS}/00-aaa.conf{RELOAD}",
        undo=f"rm {DROP_INS}/00-aaa.conf{RELOAD}",
    ),
    Fault(
        "PermitRootLogin in a Match block",
        {("gate", "sshd", "permitrootlogin"): "yes"},
        "gate",
        rf"printf 'Match User root\n PermitRootLogin yes\n' >>/etc/ssh/sshd_config{RELOAD}",
        undo=f"sed -i '/^Match User root/,$d' /etc/ssh/sshd_config{RELOAD}",
    ),
    Fault(
        "sshd started with another file",
        {("two", "sshd", "x11forwarding"): "the running sshd was started with -f /etc/ssh/other"},
        "two",
        "printf 'X11Forwarding yes\\nUsePAM yes\\n' >/etc/ssh/other; systemctl stop ssh; "
        "mkdir -p /run/sshd; /usr/sbin/sshd -f /etc/ssh/other",
        undo="kill $(cat /run/sshd.pid); rm /etc/ssh/other; systemctl start ssh",
        out_of_band=True,
    ),
    # Nothing can be installed again here without a mirror; dpkg only has to think so.
    Fault(
        "a package removed",
        {("one", "packages", "eject"): "not installed"},
        "one",
        "cp /var/lib/dpkg/status /root/status; dpkg --remove --force-depends eject",
        undo="mv /root/status /var/lib/dpkg/status",
    ),
]
LIBVIRT = [
    Fault(
        "a network's DHCP range edited",
        {("hypervisor", "network", "right"): "+ dhcp: "},
        act=lambda: redefine_network(r"<range start='[^']+'", "<range start='10.65.11.200'"),
    ),
    Fault("a reservation removed", {("hypervisor", "network", "right"): "/two"}, act=remove_reservation),
    Fault(
        "a network's autostart off",
        {("hypervisor", "network", "left"): "autostart no"},
        act=("net-autostart", "--disable", "dft-e2e-left"),
    ),
    Fault(
        "a machine's autostart on",
        {("two", "machine", "two"): "autostart only in libvirt"},
        act=("autostart", "dft-e2e-two"),
    ),
    Fault(
        "a running machine's memory changed",
        {("one", "machine", "one"): "memory 128"},
        act=("setmem", "dft-e2e-one", "131072", "--live"),
    ),
    Fault(
        "a definition's memory changed",
        {("two", "machine", "two"): "memory 96"},
        act=("setmaxmem", "dft-e2e-two", "98304", "--config"),
    ),
    Fault(
        "a NIC unplugged",
        {("gate", "machine", "gate"): "nics without", ("gate", "nmcli", "right"): "no NIC here has the MAC"},
        act=unplug,
    ),
]


@pytest.fixture(scope="module")
def unmade(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab of which there is only the file; taken down at the end."""
    lab = write_lab(tmp_path_factory.mktemp("drift"), LAB)
    try:
        yield lab
    finally:
        lab.run("-y", "down")


@pytest.fixture(scope="module")
def lab(unmade: RunningLab) -> RunningLab:
    """The same lab, up and configured; every test leaves it so."""
    up = unmade.json("up", "--configure")
    assert up.exit_code == 0, up.trouble()
    return unmade


def other_file(lab: RunningLab) -> RunningLab:
    """Return the lab with a file that asks for more memory, another address and one more setting."""
    path = lab.path.with_name("other.yaml")
    text = LAB.replace("  one:\n", "  one:\n    memory: 208\n")
    path.write_text(text.replace(GATE, f"{GATE}sysctl: {{net.ipv4.tcp_fin_timeout: 30}}, "), encoding="utf-8")
    return RunningLab(path, lab.state)


def plant(lab: RunningLab, faults: Sequence[Fault]) -> None:
    """Change what the faults say, as somebody would."""
    for fault in faults:
        if callable(fault.act):
            fault.act()
        elif isinstance(fault.act, tuple):
            virsh(*fault.act)
        else:
            on_host(lab, fault, fault.script)


def on_host(lab: RunningLab, fault: Fault, script: str) -> None:
    """Run it as root; ``$nic`` is the host's NIC on its first network."""
    third = 11 if fault.host == "two" else 10
    script = f"nic=$(ip -o route get 10.65.{third}.253 | sed 's/.* dev \\([^ ]*\\).*/\\1/'); {script}"
    if fault.out_of_band:
        inside(fault.host, script)
        return
    answer = lab.run("ssh", fault.host, f"sudo sh -c {shlex.quote(script)}")
    assert answer.exit_code == 0, f"{fault.name}: {answer.stderr}{answer.stdout}"


def found(answer: Answer, faults: Sequence[Fault]) -> None:
    """Demand that each fault is found with its verdict, and that what it says names it."""
    for fault in faults:
        for (host, section, name), text in fault.rows.items():
            rows = answer.of(section, host, name)
            assert len(rows) == 1, f"{fault.name}: {brief(answer)}"
            assert rows[0]["status"] == fault.status, f"{fault.name}: {rows[0]}"
            said = "\n".join(str(rows[0][key]) for key in ("actual", "why", "diff"))
            assert text in said, f"{fault.name}: {rows[0]}"
    assert answer.exit_code == 3, brief(answer)
    assert answer.statuses() <= {"ok", "skipped", "drifted"}


def brief(answer: Answer) -> str:
    """Return the rows that are not ok, one a line."""
    keys = ("host", "section", "name", "status", "actual", "why")
    return "\n".join(" | ".join(str(row[key]) for key in keys) for row in answer.bad())


def untouched(lab: RunningLab) -> None:
    answer = lab.json("drift")
    assert (answer.exit_code, brief(answer)) == (0, "")


def one_row(answer: Answer, host: str, section: str, name: str) -> dict[str, str]:
    (row,) = answer.of(section, host, name)
    return row


@pytest.mark.full
def test_what_is_in_the_file_only_is_pending(unmade: RunningLab) -> None:
    nothing = unmade.json("drift")
    assert (nothing.exit_code, nothing.statuses()) == (3, {"pending"}), brief(nothing)
    assert {row["host"] for row in nothing.rows} == {"hypervisor", "gate", "one", "two"}
    up = unmade.json("up")
    assert up.exit_code == 0, up.trouble()
    fresh = unmade.json("drift")
    assert (fresh.exit_code, fresh.statuses()) == (3, {"ok", "pending"}), brief(fresh)
    assert fresh.statuses("network", "machine") == {"ok"}
    assert one_row(fresh, "one", "nmcli", "left")["why"] == "nothing has been applied to this host yet"


def test_an_untouched_lab_has_no_drift_however_often_one_looks(lab: RunningLab) -> None:
    before = {
        host: lab.guest(host, "find /etc /var/lib/labrun -xdev -newer /etc/hostname -type f | xargs cksum")
        for host in ("gate", "one")
    }
    for _ in range(RUNS):
        untouched(lab)
    for host, listing in before.items():
        assert (
            lab.guest(host, "find /etc /var/lib/labrun -xdev -newer /etc/hostname -type f | xargs cksum")
            == listing
        )


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(RUNTIME, id="runtime"),
        pytest.param(FILES, id="files", marks=pytest.mark.full),
        pytest.param(LIBVIRT, id="libvirt", marks=pytest.mark.full),
    ],
)
def test_what_somebody_changed_is_found_named_and_put_right(lab: RunningLab, faults: list[Fault]) -> None:
    plant(lab, faults)
    answer = lab.json("drift")
    found(answer, faults)
    fixed = lab.json("drift", "--fix")
    assert fixed.exit_code == 0, brief(fixed)
    changed = {(row["host"], row["section"], row["name"]) for row in fixed.rows if row["status"] == "changed"}
    drifted = {
        (row["host"], row["section"], row["name"]) for row in answer.rows if row["status"] == "drifted"
    }
    follows = ("address", "route", "path", "check")
    assert changed == {key for key in drifted if key[1] not in follows}
    untouched(lab)


@pytest.mark.full
def test_what_others_decide_is_found_and_named_and_left_to_them(lab: RunningLab) -> None:
    plant(lab, OTHERS)
    answer = lab.json("drift")
    found(answer, OTHERS)
    for fault in OTHERS:
        on_host(lab, fault, fault.undo)
    untouched(lab)


@pytest.mark.full
def test_what_was_stopped_is_found_and_started_again(lab: RunningLab) -> None:
    virsh("net-destroy", "dft-e2e-left")
    virsh("destroy", "dft-e2e-two")
    answer = lab.json("drift")
    assert answer.exit_code == 4
    assert "failed" not in answer.statuses()
    assert one_row(answer, "hypervisor", "network", "left")["actual"] == "active no"
    two = one_row(answer, "two", "machine", "two")
    assert (two["status"], two["actual"]) == ("drifted", "shut off")
    assert one_row(answer, "two", "nmcli", "right")["status"] == "unreachable"
    one = one_row(answer, "one", "machine", "one")
    assert (one["status"], one["actual"][:12]) == ("drifted", "nics without")
    fixed = lab.json("drift", "--fix")
    assert fixed.exit_code == 0, brief(fixed)
    untouched(lab)


@pytest.mark.full
def test_another_host_key_is_said_and_never_accepted(lab: RunningLab) -> None:
    known = (next(lab.state.rglob("known_hosts"))).read_text(encoding="utf-8")
    inside(
        "two",
        "mkdir /root/keys; cp -p /etc/ssh/ssh_host_* /root/keys; rm /etc/ssh/ssh_host_*; "
        f"ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key{RELOAD}",
    )
    for words in (["drift"], ["drift", "--fix"]):
        answer = lab.json(*words)
        assert answer.exit_code == 4
        row = one_row(answer, "two", "machine", "ssh-host-key")
        assert row["status"] == "drifted"
        assert " instead of SHA256:" in row["why"]
        assert row["why"].endswith("; nothing was read over this connection")
        nmcli = one_row(answer, "two", "nmcli", "right")
        assert (nmcli["status"], "seen out of band" in nmcli["why"]) == ("ok", True), nmcli
    assert next(lab.state.rglob("known_hosts")).read_text(encoding="utf-8") == known
    inside("two", f"cp -p /root/keys/* /etc/ssh; rm -r /root/keys{RELOAD}")
    untouched(lab)


def test_the_file_and_the_host_are_told_apart_and_only_what_is_allowed_is_applied(lab: RunningLab) -> None:
    other = other_file(lab)
    timeout, forward = (
        ("gate", "sysctl", "net.ipv4.tcp_fin_timeout"),
        ("gate", "sysctl", "net.ipv4.ip_forward"),
    )
    moved = other.json("drift")
    assert {(row["host"], row["section"], row["name"], row["status"]) for row in moved.bad()} == {
        ("one", "machine", "one", "pending"),
        (*timeout, "pending"),
    }
    plant(lab, [RUNTIME[1]])
    virsh("setmem", "dft-e2e-one", "131072", "--live")
    mixed = other.json("drift", "--fix")
    assert mixed.exit_code == 3
    assert one_row(mixed, "one", "machine", "one")["status"] == "conflict"
    assert one_row(mixed, *timeout)["status"] == "pending"
    left = one_row(mixed, *forward)
    assert left["status"] == "drifted"
    assert left["why"] == f"left alone: sysctl {timeout[2]} is pending too; --apply-pending applies both"
    bounded = other.run("drift", "--fix", "--apply-pending", "--max-changes", "2")
    assert bounded.exit_code == 3
    assert "nothing was corrected: 3 items would change, more than --max-changes 2\n" in bounded.stdout, (
        bounded.stdout
    )
    fixed = other.json("drift", "--fix", "--apply-pending", "--max-changes", "3")
    assert fixed.exit_code == 0, brief(fixed)
    assert one_row(fixed, *forward)["status"] == "changed"
    untouched(other)
    back = lab.json("drift", "--fix", "--apply-pending")
    assert back.exit_code == 0, brief(back)
    untouched(lab)


def test_what_the_host_logged_is_quoted_with_labruns_own_sessions_marked(lab: RunningLab) -> None:
    plant(lab, [RUNTIME[0]])
    answer = lab.json("drift", "--hosts", "one")
    assert {row["host"] for row in answer.rows} == {"hypervisor", "one"}
    (log,) = answer.document["logged"].values()
    lines = {line["text"].strip(): line["labrun"] for line in log["lines"]}
    (by_hand,) = [text for text in lines if "ip address add 10.65.10.99/24" in text]
    assert not lines[by_hand]
    assert {line["labrun"] for line in log["lines"]} == {True, False}
    seen = {(each["host"], each["section"], each["name"]) for each in answer.document["last_ok"]}
    assert ("one", "nmcli", "left") in seen
    shown = lab.run("drift", "-v")
    assert "one: last as declared at " in shown.stdout
    assert by_hand in shown.stdout
    screen = lab.run("drift").stdout
    assert "\n1 cause\n~ one: nmcli left " in screen
    assert "    last ok   " in screen
    assert lab.json("drift", "--fix").exit_code == 0


def test_options_that_mean_nothing_without_fix_are_refused(lab: RunningLab) -> None:
    answer = lab.run("drift", "--max-changes", "3")
    assert (answer.exit_code, answer.stderr.splitlines()[0]) == (2, "error: --max-changes needs --fix")
