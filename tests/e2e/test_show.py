"""See before you do: a dry run that leaves no trace, commands typed by hand, values that stay data."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.tasks.guest.scripts import wrapped
from labrun.tasks.guest.shell import (
    Probe,
    apply_script,
    gather_script,
    install,
    marker,
    parse_facts,
    quote,
)
from tests.e2e.conftest import write_lab
from tests.hostile import HOSTILE
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

LAB = """\
name: scl-show
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 192}
networks:
  left: {mode: isolated, cidr: 10.63.24.0/24}
  right: {mode: isolated, cidr: 10.63.25.0/24, cidr6: "fd00:63:25::/64"}
hosts:
  gate:
    role: router
    networks: {left: 10.63.24.254, right: {ipv4: 10.63.25.254, ipv6: "fd00:63:25::fe"}}
    firewall: {input: drop, forward: drop, allow: [{from: left, to: right, port: [22, 80]}]}
    nat: {masquerade: [left], forward: [{on: right, port: 8080, to: "one:80"}]}
    hostname: door
    services: {remote-fs.target: disabled, systemd-time-wait-sync: enabled}
  one: {networks: {left: 10.63.24.11}}
  two: {networks: {right: dhcp}}
  six: {networks: {right: {ipv4: 10.63.25.12, ipv6: "fd00:63:25::12"}}}
"""
ONE = "one: {networks: {left: 10.63.24.11}}"
HOSTS = ("gate", "one", "two", "six")


@pytest.fixture(scope="module")
def fresh(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A router with a firewall, a static host, one with DHCP, one with both versions: never configured."""
    lab = write_lab(tmp_path_factory.mktemp("show"), LAB)
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        yield lab
    finally:
        lab.run("-y", "down")


@pytest.fixture(scope="module")
def lab(fresh: RunningLab) -> RunningLab:
    """The same lab, configured by hand with what `--explain` prints."""
    for host in HOSTS:
        typed = fresh.run("configure", "--explain", "--hosts", host)
        assert typed.exit_code == 0, typed.stderr
        # A person's shell stops at nothing; a command that fails must not go unseen.
        done = fresh.run("ssh", host, "sudo", "sh", "-e", "-s", stdin=typed.stdout)
        assert done.exit_code == 0, (host, typed.stdout, done.stdout, done.stderr)
    return fresh


def with_one(lab: RunningLab, line: str) -> RunningLab:
    """Return the lab with another description of host ``one``."""
    path = lab.path.with_name("other.yaml")
    path.write_text(LAB.replace(ONE, f"one: {line}"), encoding="utf-8")
    return RunningLab(path, lab.state)


# Everything but logs, login records, and what NetworkManager and systemd note for themselves now and then.
# /run is a file system of its own.
_EVERYTHING = r"""
notes='-path /var/log -o -path /run -o -path /var/lib/NetworkManager -o -path /var/lib/systemd'
find / -xdev '(' $notes ')' -prune -o -printf '%p %y %m %U:%G %s %T@ %l\n' | sort
find / -xdev '(' $notes ')' -prune -o -type f -exec cksum {} + | sort -k 3
find /run/NetworkManager/system-connections /run/sshd* /run/labrun* -printf '%p %y %m %s\n' 2>/dev/null | sort
nmcli -t -f uuid,name,type,device,filename,active connection show
sysctl -a 2>/dev/null | grep ^net | grep -v -e 'conntrack_count' -e 'dentry' -e 'nf_conntrack'
"""


def everything(lab: RunningLab, host: str) -> list[str]:
    done = lab.run("ssh", host, "sudo", "sh", "-s", stdin=_EVERYTHING)
    assert done.exit_code == 0, done.stderr
    return done.stdout.splitlines()


def test_a_dry_run_writes_nothing(fresh: RunningLab) -> None:
    before = everything(fresh, "gate")
    assert len(before) > 5000
    answer = fresh.json("configure", "--dry-run", "--diff", "--hosts", "gate")
    assert (answer.exit_code, answer.statuses()) == (3, {"would-change"}), answer.trouble()
    after = everything(fresh, "gate")
    assert sorted(set(before) ^ set(after)) == []


def test_the_diff_of_a_file_is_a_unified_one(fresh: RunningLab) -> None:
    answer = fresh.run("configure", "--dry-run", "--diff", "--hosts", "gate", "--only", "sysctl")
    header = "# Written by labrun configure; changes made here are undone by its next run."
    assert (
        "-running: net.ipv6.conf.all.forwarding = 0\n"
        "+running: net.ipv6.conf.all.forwarding = 1\n"
        "--- /dev/null\n"
        "+++ /etc/sysctl.d/90-labrun.conf\n"
        "@@ -0,0 +1,5 @@\n"
        f"+{header}\n"
        "+net.ipv4.ip_forward = 1\n"
        "+net.ipv6.conf.all.forwarding = 1\n"
        "+net.ipv4.conf.all.rp_filter = 2\n"
        "+net.ipv4.conf.default.rp_filter = 2\n"
    ) in answer.stdout
    assert answer.stdout.count(header) == 1


def test_after_the_commands_by_hand_configure_finds_nothing_to_do(lab: RunningLab) -> None:
    answer = lab.json("configure")
    assert (answer.exit_code, answer.statuses()) == (0, {"ok"}), answer.bad() or [
        row for row in answer.rows if row["status"] != "ok"
    ]
    left = lab.run("configure", "--explain", "--hosts", "one", "--only", "sysctl")
    assert left.stdout == "# on one, as root\n"


def test_explain_of_a_dry_run_has_only_what_differs(lab: RunningLab) -> None:
    before = lab.run("configure", "--dry-run", "--explain")
    assert (before.exit_code, before.stdout) == (0, "# nothing differs\n"), before.stderr
    drop_in = "/etc/ssh/sshd_config.d/00-labrun.conf"
    lab.guest("gate", "sysctl -q net.ipv4.ip_forward=0; nft delete table inet labrun")
    lab.guest("one", f"nmcli connection modify labrun-left ipv4.dns-search x.example; rm {drop_in}")
    typed = lab.run("configure", "--dry-run", "--explain")
    assert typed.exit_code == 3, typed.stderr
    assert lab.run("configure", "--dry-run", "--explain").stdout == typed.stdout, "nothing was changed"
    gate, one = typed.stdout.split("\n\n# on one, as root\n")
    assert gate.startswith("# on gate, as root\n")
    assert "net.ipv4.ip_forward" in gate
    assert "nft" in gate
    assert "nmcli" not in gate
    assert "nmcli" in one
    assert drop_in in one
    assert "nft" not in one
    for host, lines in (("gate", gate), ("one", one)):
        done = lab.run("ssh", host, "sudo", "sh", "-e", "-s", stdin=lines)
        assert done.exit_code == 0, (host, lines, done.stdout, done.stderr)
    after = lab.json("configure")
    assert (after.exit_code, after.statuses()) == (0, {"ok"}), after.rows


@pytest.mark.full
def test_explain_of_a_dry_run_says_what_no_command_mends(lab: RunningLab) -> None:
    other = with_one(lab, "{networks: {left: 10.63.24.11}, sysctl: {net.ipv4.no_such_key: 1}}")
    answer = other.run("configure", "--dry-run", "--explain", "--only", "sysctl")
    assert answer.exit_code == 1
    assert answer.stdout == "# on one, as root\n# failed: this kernel has no net.ipv4.no_such_key here\n"
    assert lab.run("--hosts", "six", "stop").exit_code == 0
    try:
        silent = lab.run("configure", "--dry-run", "--explain", "--hosts", "six")
        assert silent.exit_code == 4
        assert silent.stdout.startswith("# on six, as root\n# unreachable: ")
    finally:
        assert lab.run("up").exit_code == 0


PASSWORD = "s3cret; it's $(really) \\ one"
_EAP = "802-1x.eap: peap, 802-1x.identity: me, 802-1x.phase2-auth: mschapv2"


def test_a_password_in_a_profile_is_shown_nowhere(lab: RunningLab, tmp_path: Path) -> None:
    quoted = json.dumps(PASSWORD)
    other = with_one(
        lab,
        f"{{networks: {{left: {{ipv4: 10.63.24.11, nmcli: {{{_EAP}, 802-1x.password: {quoted}}}}}}}}}",
    )
    shown = []
    for words in (
        ("configure", "--dry-run", "--diff", "-vv"),
        ("--json", "configure", "--dry-run"),
        ("configure", "--explain"),
    ):
        answer = other.run(*words, "--hosts", "one")
        assert answer.exit_code in (0, 3), answer.stderr
        assert "<secret>" in answer.stdout
        shown.append(answer.stdout + answer.stderr)
    assert "+802-1x.password: <secret>" in shown[0]
    # nmcli repeats a value that it does not like.
    wrong = with_one(
        lab,
        f"{{networks: {{left: {{ipv4: 10.63.24.11, nmcli: {{802-1x.password-raw: {quoted}}}}}}}}}",
    )
    for words in (("configure", "-vv"), ("--json", "configure")):
        answer = wrong.run(*words, "--hosts", "one")
        assert answer.exit_code == 1
        assert "nmcli refuses the properties" in answer.stdout
        shown.append(answer.stdout + answer.stderr)
    for path in lab.state.rglob("*"):
        if path.is_file():
            shown.append(path.read_bytes().decode("utf-8", errors="replace"))
    for text in shown:
        for piece in (PASSWORD, quoted[1:-1], "s3cret", "(really)"):
            assert piece not in text


def test_hostile_texts_come_through_a_guest_s_shell_and_files_unchanged(lab: RunningLab) -> None:
    """All of them in one script by the way labrun's own scripts take, as root and through sudo."""
    mark = marker()
    folder = "/root/it's a $(folder)"
    files = "".join(install(f"{folder}/{n}.conf", text, "0600") for n, text in enumerate(HOSTILE))
    said = "".join(f"capture c{n} printf %s {quote(text)}\n" for n, text in enumerate(HOSTILE))
    probe = Probe((f"{quote(folder)}/*.conf",), said)
    script = apply_script([("files", files)], mark) + gather_script([probe], mark)
    done = subprocess.run(
        lab.arguments("ssh", "one", "sudo", "-n", "sh", "-s"),
        env=lab.environment(),
        input=wrapped(script).encode(),
        capture_output=True,
        check=True,
    )
    facts = parse_facts(done.stdout.decode(), mark)
    assert facts.commands["files"].status == 0, facts.commands["files"]
    for number, text in enumerate(HOSTILE):
        whole = text if text.endswith("\n") or not text else f"{text}\n"
        assert facts.files[f"{folder}/{number}.conf"] == whole
        assert facts.commands[f"c{number}"].text == text
    assert "was-run" not in lab.guest("one", "ls /tmp", sudo=False)


@pytest.mark.full
def test_whatever_a_value_says_it_runs_nothing_in_a_guest(lab: RunningLab) -> None:
    properties = {
        "connection.stable-id": "'; touch /tmp/was-run; ' \"$(touch /tmp/was-run)\" \\ `id` \u2603;",
        "ipv4.dhcp-client-id": "$(touch /tmp/was-run)",
        "ipv4.dns-search": "a.example",
    }
    sshd = {"Banner": "/etc/$(touch${IFS}/tmp/was-run)`touch${IFS}/tmp/was-run`;#"}
    nic = json.dumps({"left": {"ipv4": "10.63.24.11", "nmcli": properties}})
    other = with_one(lab, f"{{networks: {nic}, sshd: {json.dumps(sshd)}}}")
    first = other.json("configure", "--hosts", "one")
    assert first.exit_code == 0, first.document
    (changed,) = first.of("nmcli", "one", "left")
    assert changed["status"] == "changed"
    again = other.json("configure", "--hosts", "one")
    assert [row["status"] for row in again.of("nmcli")] == ["ok"], again.of("nmcli")
    assert {row["status"] for row in again.of("sshd")} == {"ok"}
    value = lab.guest(
        "one", "LC_ALL=C.UTF-8 nmcli -g connection.stable-id connection show labrun-left", sudo=False
    )
    assert value.replace("\\\\", "\\") == properties["connection.stable-id"] + "\n"
    value = json.dumps("$(touch /tmp/was-run)")
    wrong = with_one(lab, f"{{networks: {nic}, sysctl: {{net.ipv4.tcp_syncookies: {value}}}}}")
    refused = wrong.json("configure", "--hosts", "one", "--only", "sysctl")
    assert (refused.exit_code, len(refused.bad())) == (1, 1), refused.document
    assert "was-run" not in lab.guest("one", "ls /tmp /")
    back = lab.json("configure", "--hosts", "one")
    assert back.exit_code == 0, back.trouble()
