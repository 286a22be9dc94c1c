"""`configure` on real containers: what it changes, that it then leaves it, and what it puts right."""

from __future__ import annotations

import fcntl
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import Answer, RunningLab

pytestmark = pytest.mark.lxc

LAB = """\
name: e2e-conf
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  left: {mode: isolated, cidr: 10.125.0.0/24}
  right: {mode: isolated, cidr: 10.126.0.0/24}
hosts:
  gate: {role: router, networks: {left: 10.125.0.254, right: 10.126.0.254}}
  one: {networks: {left: 10.125.0.11}}
  two: {networks: {right: dhcp}}
"""
ONE = "  one: {networks: {left: 10.125.0.11}}\n"
PROFILES = "/etc/NetworkManager/system-connections"
DROP_IN = "/etc/ssh/sshd_config.d/00-labrun.conf"


@pytest.fixture(scope="module")
def fresh(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab that is up and was never configured.

    labrun's own lock lies in the state directory, and every run of the tests has one of its own: two
    runs on one machine would damage and mend the same hosts, so they take turns here.
    """
    lab = write_lab(tmp_path_factory.mktemp("configure"), LAB)
    with (Path(tempfile.gettempdir()) / "labrun-e2e-conf.lock").open("w", encoding="ascii") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            up = lab.json("up")
            assert up.exit_code == 0, up.trouble()
            yield lab
        finally:
            lab.run("-y", "down")


@pytest.fixture(scope="module")
def lab(fresh: RunningLab) -> RunningLab:
    """The same lab, configured; every test leaves it so."""
    done = fresh.json("configure")
    assert done.exit_code == 0, done.trouble()
    return fresh


def with_one(lab: RunningLab, line: str) -> RunningLab:
    """Return the lab with another description of host ``one``."""
    path = lab.path.with_name("other.yaml")
    path.write_text(LAB.replace(ONE, f"  one: {line}\n"), encoding="utf-8")
    return RunningLab(path, lab.state)


def changed(lab: RunningLab, *hosts: str) -> set[tuple[str, str, str]]:
    """Configure, demand that all went well and that a second run changes nothing; what changed."""
    first = lab.json("configure", *(["--hosts", ",".join(hosts)] if hosts else []))
    assert first.exit_code == 0, first.trouble()
    assert_settled(lab)
    return {(row["host"], row["section"], row["name"]) for row in first.rows if row["status"] == "changed"}


def talking(lab: RunningLab, *words: str) -> subprocess.Popen[str]:
    """Start a command whose input and output the test holds."""
    return subprocess.Popen(
        lab.arguments(*words),
        env=lab.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_settled(lab: RunningLab) -> None:
    again = lab.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()


def row(answer: Answer, section: str, name: str, host: str = "one") -> dict[str, str]:
    (found,) = answer.of(section, host, name)
    return found


def listing(lab: RunningLab, host: str) -> str:
    """Return every file that configure may write, with content and time."""
    folders = f"{PROFILES} /etc/sysctl.d /etc/ssh"
    return lab.guest(host, f"find {folders} -type f -printf '%p %T@ %m\\n' -exec cksum {{}} +")


def test_a_fresh_host_is_brought_there_without_cutting_a_session_and_then_left_alone(
    fresh: RunningLab,
) -> None:
    before = {host: listing(fresh, host) for host in ("gate", "two")}
    dry = fresh.json("configure", "--dry-run")
    assert dry.exit_code == 3
    assert dry.statuses() == {"would-change"}
    assert {host: listing(fresh, host) for host in before} == before

    with talking(fresh, "ssh", "one", "cat") as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("before\n")
        session.stdin.flush()
        assert session.stdout.readline() == "before\n"
        first = fresh.json("configure")
        assert first.exit_code == 0, first.trouble()
        assert first.statuses() == {"changed"}
        session.stdin.write("after\n")
        session.stdin.flush()
        assert session.stdout.readline() == "after\n"
        session.stdin.close()
        session.wait(60)

    assert {row["name"] for row in first.of("sysctl", "gate")} >= {"net.ipv4.ip_forward"}
    assert row(first, "nmcli", "left")["actual"] == "10.125.0.11/24 via 10.125.0.254"
    after = {host: listing(fresh, host) for host in before}
    assert_settled(fresh)
    assert {host: listing(fresh, host) for host in before} == after
    for host, profiles in (("gate", "left right"), ("one", "left"), ("two", "right")):
        names = [f"labrun-{network}.nmconnection" for network in profiles.split()]
        assert fresh.guest(host, f"ls {PROFILES}").split() == names
    assert fresh.guest("one", f"stat -c '%a %U' {PROFILES}/labrun-left.nmconnection").split() == [
        "600",
        "root",
    ]
    # The point of it all: one side reaches the other through the router.
    address = fresh.guest("two", "ip -j -4 address show eth0", sudo=False)
    target = json.loads(address)[0]["addr_info"][0]["local"]
    fresh.guest("one", f"ping -c 1 -W 2 {target}", sudo=False)


@pytest.mark.full
def test_a_dry_run_of_one_section_shows_its_difference_only(lab: RunningLab) -> None:
    lab.guest("gate", "echo 0 >/proc/sys/net/ipv4/ip_forward; ip address add 10.125.0.99/24 dev eth0")
    answer = lab.json("configure", "--dry-run", "--only", "sysctl", "--hosts", "gate")
    assert answer.exit_code == 3
    assert {row["section"] for row in answer.rows} == {"sysctl"}
    found = row(answer, "sysctl", "net.ipv4.ip_forward", "gate")
    assert (found["status"], found["expected"], found["actual"]) == ("would-change", "1", "0")
    assert found["diff"] == "-running: net.ipv4.ip_forward = 0\n+running: net.ipv4.ip_forward = 1"
    assert lab.guest("gate", "cat /proc/sys/net/ipv4/ip_forward", sudo=False) == "0\n"
    assert changed(lab) == {("gate", "sysctl", "net.ipv4.ip_forward"), ("gate", "nmcli", "left")}


UP_MINE = (
    "nmcli connection add type ethernet con-name mine ifname eth0 ipv4.method manual "
    "ipv4.addresses 10.125.0.11/24 >/dev/null; nmcli connection up mine >/dev/null"
)


@pytest.mark.parametrize(
    "damage",
    [
        {
            "gate": "ip address add 10.125.0.99/24 dev eth0",
            "one": "ip route del default",
            "two": "ip route add 10.77.0.0/16 via 10.126.0.254",
        },
        pytest.param(
            {
                "gate": "nmcli connection modify labrun-left ipv4.dns 10.125.0.9",
                "one": "nmcli connection modify labrun-left connection.zone nowhere ipv4.routes 10.78.0.0/16",
                "two": f"rm {PROFILES}/labrun-right.nmconnection",
            },
            # test_nmcli.py changes profiles by hand, too.
            marks=pytest.mark.full,
        ),
        pytest.param(
            {
                "gate": "nmcli device modify eth0 ipv4.dns 10.125.0.9 >/dev/null",
                "one": UP_MINE,
                "two": f"chmod 644 {PROFILES}/labrun-right.nmconnection",
            },
            marks=pytest.mark.full,
        ),
    ],
    ids=["by ip", "by nmcli con modify", "otherwise"],
)
def test_what_somebody_did_to_a_nic_is_put_right(lab: RunningLab, damage: dict[str, str]) -> None:
    for host, script in damage.items():
        # In a unit of its own, because some of it takes the address away for a moment.
        lab.guest(host, f"systemd-run --quiet --collect --wait sh -c '{script}'")
    assert changed(lab) == {("gate", "nmcli", "left"), ("one", "nmcli", "left"), ("two", "nmcli", "right")}
    lab.guest("one", "nmcli --terse connection delete mine 2>/dev/null || true")


@pytest.mark.full
def test_a_profile_of_a_former_network_goes(lab: RunningLab) -> None:
    old, new = f"{PROFILES}/labrun-left.nmconnection", f"{PROFILES}/labrun-old.nmconnection"
    lab.guest("one", f"sed -e /uuid/d -e s/labrun-left/labrun-old/ {old} >/root/profile")
    lab.guest("one", f"install -m 600 /root/profile {new}; nmcli connection load {new}")
    assert changed(lab) == {("one", "nmcli", "old")}
    assert "labrun-old" not in lab.guest("one", "nmcli --terse connection show")


def test_a_dhcp_host_keeps_its_lease_and_gets_its_route_back(lab: RunningLab) -> None:
    lab.guest("two", "ip route del default")
    assert changed(lab) == {("two", "nmcli", "right")}
    assert "via 10.126.0.254" in lab.guest("two", "ip route show default", sudo=False)
    assert '"dynamic":true' in lab.guest("two", "ip -j -4 address show eth0", sudo=False)


PROPERTIES = 'ipv4.dns-search: "SEARCH", 802-3-ethernet.mtu: "1400", ipv6.method: disabled'


@pytest.mark.full
def test_properties_of_the_lab_file_reach_the_profile_and_leave_it_again(lab: RunningLab) -> None:
    line = f"{{networks: {{left: {{ipv4: 10.125.0.11, nmcli: {{{PROPERTIES}}}}}}}}}"
    with_one(lab, line.replace("SEARCH", "$(touch /tmp/was-run)")).json("configure", "--hosts", "one")
    assert "was-run" not in lab.guest("one", "ls /tmp")
    other = with_one(lab, line.replace("SEARCH", "x.example"))
    assert changed(other, "one") == {("one", "nmcli", "left")}
    assert "mtu 1400" in lab.guest("one", "ip link show eth0", sudo=False)
    assert "search x.example" in lab.guest("one", "cat /etc/resolv.conf", sudo=False)
    assert changed(lab, "one") == {("one", "nmcli", "left")}
    assert "mtu 1500" in lab.guest("one", "ip link show eth0", sudo=False)


@pytest.mark.full
def test_a_property_that_nmcli_does_not_know_is_refused_in_its_own_words(lab: RunningLab) -> None:
    before = listing(lab, "one")
    other = with_one(lab, '{networks: {left: {ipv4: 10.125.0.11, nmcli: {ipv4.nonsense: "1"}}}}')
    answer = other.json("configure", "--hosts", "one")
    assert answer.exit_code == 1
    why = row(answer, "nmcli", "left")["why"]
    assert why.startswith("nmcli refuses the properties: Error: invalid property 'nonsense'"), why
    assert listing(lab, "one") == before


def test_forwarding_is_true_again_after_a_restart(lab: RunningLab) -> None:
    assert lab.run("restart", "--hosts", "gate").exit_code == 0
    assert lab.guest("gate", "cat /proc/sys/net/ipv4/ip_forward", sudo=False) == "1\n"
    assert_settled(lab)


@pytest.mark.full
def test_a_later_file_that_wins_is_named_by_its_path(lab: RunningLab) -> None:
    rival = "/etc/sysctl.d/95-rival.conf"
    lab.guest("gate", f"echo net.ipv4.ip_forward=0 >{rival}; echo 0 >/proc/sys/net/ipv4/ip_forward")
    why = f"{rival} sets net.ipv4.ip_forward = 0 and is read after /etc/sysctl.d/90-labrun.conf"
    for _ in range(2):
        answer = lab.json("configure", "--hosts", "gate")
        found = row(answer, "sysctl", "net.ipv4.ip_forward", "gate")
        assert (answer.exit_code, found["status"], found["why"]) == (1, "failed", why)
        assert lab.guest("gate", "cat /proc/sys/net/ipv4/ip_forward", sudo=False) == "1\n"
    lab.guest("gate", f"rm {rival}")
    assert_settled(lab)


@pytest.mark.full
def test_a_key_that_is_the_machine_s_is_skipped_and_the_others_are_set(lab: RunningLab) -> None:
    line = (
        "{networks: {left: 10.125.0.11}, sysctl: "
        "{kernel.pid_max: 1000, net.ipv4.tcp_syncookies: 2, net.ipv4.ip_forward: VALUE}}"
    )
    pid_max = "kernel.pid_max cannot be written here: it belongs to the machine, not the container"
    answer = with_one(lab, line.replace("VALUE", "banana")).json("configure", "--hosts", "one")
    assert answer.exit_code == 1
    assert {r["name"]: (r["status"], r["why"]) for r in answer.of("sysctl", "one")} == {
        "kernel.pid_max": ("skipped", pid_max),
        "net.ipv4.tcp_syncookies": (
            "rolled-back",
            "sysctl net.ipv4.ip_forward did not take effect; the host rolled back",
        ),
        "net.ipv4.ip_forward": (
            "rolled-back",
            "the kernel refuses the value 'banana'; the host rolled back",
        ),
    }
    answer = with_one(lab, line.replace("VALUE", "0")).json("configure", "--hosts", "one")
    assert answer.exit_code == 0
    assert {r["name"]: (r["status"], r["why"]) for r in answer.of("sysctl", "one")} == {
        "kernel.pid_max": ("skipped", pid_max),
        "net.ipv4.tcp_syncookies": ("changed", None),
        "net.ipv4.ip_forward": ("changed", None),
    }
    assert sorted(lab.guest("one", "grep -v '^#' /etc/sysctl.d/90-labrun.conf").splitlines()) == [
        "net.ipv4.ip_forward = 0",
        "net.ipv4.tcp_syncookies = 2",
    ]
    assert changed(lab) == {
        ("one", "sysctl", "net.ipv4.tcp_syncookies"),
        ("one", "sysctl", "net.ipv4.ip_forward"),
    }


def offered(lab: RunningLab, host: str) -> str:
    """Return the methods that sshd offers to somebody without a key."""
    line = "ssh -o BatchMode=yes -o PubkeyAuthentication=no -o StrictHostKeyChecking=no {} true 2>&1 || true"
    return lab.guest("gate", line.format(host), sudo=False)


@pytest.mark.full
def test_a_password_is_not_even_asked_for_whatever_cloud_init_says(lab: RunningLab) -> None:
    lab.guest(
        "one",
        "echo PasswordAuthentication yes >/etc/ssh/sshd_config.d/50-cloud-init.conf; systemctl reload ssh",
    )
    assert "(publickey)" in offered(lab, "10.125.0.11")
    assert_settled(lab)
    lab.guest("one", "rm /etc/ssh/sshd_config.d/50-cloud-init.conf")


@pytest.mark.parametrize(
    "damage",
    ["!!! rubbish", *(pytest.param(each, marks=pytest.mark.full) for each in ("Foo bar", "MaxAuthTries 20"))],
)
def test_a_drop_in_that_somebody_edited_is_written_anew(lab: RunningLab, damage: str) -> None:
    lab.guest("one", f"echo '{damage}' >>{DROP_IN}")
    assert {section for _, section, _ in changed(lab)} == {"sshd"}
    lab.guest("one", "sshd -t")


def test_an_unknown_keyword_is_refused_in_sshd_s_words_and_nothing_else_of_sshd_changes(
    lab: RunningLab,
) -> None:
    before = listing(lab, "one")
    other = with_one(
        lab, "{networks: {left: 10.125.0.11}, sshd: {PerSourcePenalties: authfail:5, MaxAuthTries: 3}}"
    )
    answer = other.json("configure", "--hosts", "one")
    assert answer.exit_code == 1
    found = {r["name"]: r["why"] for r in answer.of("sshd", "one") if r["status"] == "failed"}
    assert found == {
        "persourcepenalties": "sshd -t: Bad configuration option: persourcepenalties",
        "maxauthtries": "sshd was not changed, because of persourcepenalties",
    }
    assert listing(lab, "one") == before


def test_settings_that_would_lock_labrun_out_are_put_back(lab: RunningLab) -> None:
    other = with_one(lab, "{networks: {left: 10.125.0.11}, sshd: {AllowUsers: lab@192.0.2.1}}")
    answer = other.json("configure", "--hosts", "one")
    found = row(answer, "sshd", "allowusers")
    assert found["status"] == "rolled-back"
    assert found["why"].startswith("no new login after the change: ")
    assert found["why"].endswith("; the host rolled back")
    assert_settled(lab)


@pytest.mark.full
def test_lists_and_values_in_sshd_s_own_spelling_settle(lab: RunningLab) -> None:
    line = "sshd: {AcceptEnv: [LANG, FOO BAR], Ciphers: +aes128-cbc, MaxStartups: 20, LoginGraceTime: 1m}"
    other = with_one(lab, f"{{networks: {{left: 10.125.0.11}}, {line}}}")
    names = {"acceptenv", "ciphers", "maxstartups", "logingracetime"}
    assert changed(other, "one") == {("one", "sshd", name) for name in names}
    assert changed(lab) == {("one", "sshd", name) for name in names}


@pytest.mark.full
def test_sshd_false_leaves_sshd_alone(lab: RunningLab) -> None:
    lab.guest("one", f"echo MaxAuthTries 20 >>{DROP_IN}")
    other = with_one(lab, "{networks: {left: 10.125.0.11}, sshd: false}")
    answer = other.json("configure", "--hosts", "one")
    assert (answer.exit_code, answer.of("sshd", "one"), answer.statuses()) == (0, [], {"ok"})
    assert {section for _, section, _ in changed(lab)} == {"sshd"}


def test_killed_in_the_middle_the_next_run_finishes_it(lab: RunningLab) -> None:
    lab.guest("gate", f"rm {PROFILES}/labrun-* {DROP_IN} /etc/sysctl.d/90-labrun.conf; sync")
    with talking(lab, "configure", "--hosts", "gate") as run:
        assert run.stderr is not None
        until = time.monotonic() + 60
        for line in run.stderr:
            if "apply" in line or time.monotonic() > until:
                break
        run.kill()
    first = lab.json("configure")
    assert first.exit_code == 0, first.trouble()
    assert_settled(lab)


def test_explain_prints_commands_and_needs_no_host(lab: RunningLab) -> None:
    answer = lab.run("configure", "--explain", "--hosts", "gate", "--only", "nmcli")
    assert answer.exit_code == 0
    assert "nmcli connection add type ethernet ifname '*' con-name labrun-left" in answer.stdout
    assert "sysctl" not in answer.stdout
