"""Drift by a timer, on a machine with a systemd: labrun inside a container looks at that container."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import write_lab
from tests.inside import LABRUN, PYTHON_FITS, put_labrun_into
from tests.labs import RunningLab

pytestmark = [
    pytest.mark.lxc,
    pytest.mark.skipif(
        not PYTHON_FITS, reason="labrun's packages here are for another Python than the guest's"
    ),
]
OUTSIDE = """\
name: sch-timer
hypervisor: lxc:///system
networks:
  wire: {mode: isolated, cidr: 10.66.1.0/24}
hosts:
  box: {networks: {wire: 10.66.1.11}, memory: 512}
"""
# As the same machine knows itself.
INSIDE = """\
name: self
networks:
  wire: {cidr: 10.66.1.0/24}
hosts:
  box:
    address: 127.0.0.1
    ssh: {user: lab, identity: /root/key, known_hosts: /root/known_hosts}
    networks: {wire: 10.66.1.11}
    sshd: false
    sysctl: {net.ipv4.tcp_syncookies: 1}
schedule: {every: 5s}
"""
PREPARE = """\
set -eu
umask 077
mkdir -p /srv/lab /var/lib/metrics
ssh-keygen -q -t ed25519 -N '' -f /root/key
cat /root/key.pub >>~lab/.ssh/authorized_keys
ssh-keyscan -t ed25519 127.0.0.1 >/root/known_hosts 2>/dev/null
"""
UNIT = "labrun-drift-self"
SECONDS = 120


class Inside:
    """The container, and labrun in it."""

    def __init__(self, lab: RunningLab) -> None:
        self.lab = lab

    def shell(self, script: str) -> str:
        """Run a script as root; returns its output."""
        answer = self.lab.run("ssh", "box", "sudo sh -s", stdin=script)
        assert answer.exit_code == 0, answer.stderr + answer.stdout
        return answer.stdout

    def labrun(self, *words: str, code: int = 0, root: bool = True) -> dict[str, Any]:
        """Run labrun there with --json, as root or as the login user; returns the document."""
        lab = "/srv/lab/lab.yaml" if root else "/home/lab/lab.yaml"
        line = shlex.join([LABRUN, "--lab", lab, "--json", *words])
        answer = self.lab.run("ssh", "box", "sudo sh -s" if root else "sh -s", stdin=f"cd /; {line}\n")
        document: dict[str, Any] = json.loads(answer.stdout)
        assert document["exit_code"] == code, answer.stdout + answer.stderr
        return document

    def until(self, what: Callable[[], Any]) -> Any:
        """Ask again and again until there is an answer that counts; fails after a while."""
        deadline = time.monotonic() + SECONDS
        while not (found := what()):
            if time.monotonic() > deadline:
                pytest.fail(self.shell(f"systemctl status {UNIT}.timer {UNIT}.service || true"))
        return found

    def ended(self, code: int, *, root: bool = True) -> dict[str, Any]:
        """Wait until a run has ended with this code and none is under way; returns the status."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.labrun("schedule", "status", root=root)["schedule"]
            return found if found["last_exit_code"] == code else None

        found: dict[str, Any] = self.until(look)
        return found


@pytest.fixture(scope="module")
def inside(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A container in which labrun has configured that container, and the timer is installed."""
    lab = write_lab(tmp_path_factory.mktemp("timer"), OUTSIDE)
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        put_labrun_into(lab, "box")
        box = Inside(lab)
        box.shell(f"{PREPARE}cat >/srv/lab/lab.yaml <<'END'\n{INSIDE}END\n")
        box.labrun("configure")
        yield box
    finally:
        lab.run("-y", "down")


INSTALL = (
    "schedule",
    "install",
    "--jitter",
    "0",
    "--metrics",
    "/var/lib/metrics/lab.prom",
    "--on-change",
    'cat >"/var/lib/metrics/50% $LABRUN_NOT_SET.json"',
)


@pytest.fixture(scope="module")
def installed(inside: Inside) -> dict[str, Any]:
    """What the install said."""
    return inside.labrun(*INSTALL)


def test_the_timer_fires_and_finds_nothing(inside: Inside, installed: dict[str, Any]) -> None:
    assert [(row["name"], row["status"]) for row in installed["results"]] == [
        (f"{UNIT}.service", "changed"),
        (f"{UNIT}.timer", "changed"),
    ]
    assert (installed["schedule"]["enabled"], installed["schedule"]["active"]) == (True, True)
    found = inside.ended(0)
    assert (found["last_result"], found["running"]) == ("success", False)
    assert found["last"] < found["next"]
    assert 'labrun_run_success{lab="self"} 1.0\n' in inside.shell("cat /var/lib/metrics/lab.prom")


def test_a_second_install_changes_nothing(inside: Inside, installed: dict[str, Any]) -> None:
    again = inside.labrun(*INSTALL)
    assert {row["status"] for row in again["results"]} == {"ok"}
    assert "were not" not in json.dumps(again), "systemd-analyze could check the units"


def test_drift_is_found_told_and_remembered(inside: Inside, installed: dict[str, Any]) -> None:
    inside.ended(0)
    inside.shell("sysctl -qw net.ipv4.tcp_syncookies=0\n")
    try:
        assert inside.ended(3)["last_result"] == "success", "3 is no failure to systemd"
        # The file's name has what means something to systemd, and to the shell nothing any more.
        document = json.loads(inside.shell("cat '/var/lib/metrics/50% .json'"))
        key = {"host": "box", "section": "sysctl", "name": "net.ipv4.tcp_syncookies"}
        (change,) = document["changes"]
        assert change == {**key, "before": None, "after": "drifted"}
        metrics = inside.shell("cat /var/lib/metrics/lab.prom")
        assert 'labrun_drift_items{host="box",lab="self",section="sysctl"} 1.0\n' in metrics
        runs = inside.labrun("history")["runs"]
        (run,) = [each for each in runs if each["run"] == document["run"]]
        assert (run["command"], run["exit_code"]) == ("drift", 3)
        line = f"journalctl -o json LABRUN_RUN={document['run']}"
        entries = [json.loads(text) for text in inside.shell(line).splitlines()]
        assert {entry["_SYSTEMD_UNIT"] for entry in entries} == {f"{UNIT}.service"}
        assert [(entry.get("LABRUN_NAME"), entry["PRIORITY"]) for entry in entries] == [
            ("net.ipv4.tcp_syncookies", "4"),
            (None, "4"),
        ]
    finally:
        inside.shell("sysctl -qw net.ipv4.tcp_syncookies=1\n")


@pytest.mark.full
def test_a_lab_that_is_worked_on_is_left_alone(inside: Inside, installed: dict[str, Any]) -> None:
    inside.ended(0)
    inside.shell("systemd-run -q --unit=locker flock /run/labrun/locks/self-* sleep 600\n")
    inside.until(lambda: inside.shell("systemctl show locker -p TasksCurrent --value") == "2\n")
    try:
        # A person is told who holds it; the timer's run is left out, which is no failure.
        refused = inside.labrun("drift", code=1)
        assert refused["error"].startswith("another labrun (")
        skipped = 'labrun_run_skipped{lab="self"} 1.0\n'
        inside.until(lambda: skipped in inside.shell("cat /var/lib/metrics/lab.prom"))
        assert inside.ended(0)["last_result"] == "success"
    finally:
        inside.shell("systemctl stop locker\n")


def test_remove_leaves_nothing(inside: Inside, installed: dict[str, Any]) -> None:
    # A run that is under way is ended too.
    inside.shell(f"systemctl start --no-block {UNIT}.service\n")
    removed = inside.labrun("schedule", "remove")
    assert {row["status"] for row in removed["results"]} == {"changed"}
    left = inside.shell(
        "find /etc/systemd /run/systemd /var/lib/systemd -name '*labrun-drift*'; "
        "systemctl list-units --all --quiet 'labrun-drift*'"
    )
    assert left == ""
    assert {row["status"] for row in inside.labrun("schedule", "remove")["results"]} == {"skipped"}
    status = inside.labrun("schedule", "status")
    assert (status["schedule"]["installed"], status["results"][0]["status"]) == (False, "skipped")


@pytest.mark.full
def test_a_calendar_and_a_path_with_everything_in_it(inside: Inside) -> None:
    folder = '/srv/it\'s 100% "mine" $HOME \\ é'
    inside.shell(f"mkdir -p {shlex.quote(folder)} && cp /srv/lab/lab.yaml {shlex.quote(folder)}\n")
    lab = ("--lab", f"{folder}/lab.yaml", "--state-dir", f"{folder}/state")
    inside.labrun(*lab, "schedule", "install", "--calendar", "*-*-* *:*:0/2", "--jitter", "0")
    try:
        # One run follows the other so closely that between them nobody sees how the last one ended.
        inside.until(lambda: {0} == {run["exit_code"] for run in inside.labrun(*lab, "history")["runs"][1:]})
    finally:
        inside.labrun(*lab, "schedule", "remove")
    assert inside.shell("find /etc/systemd /run/systemd /var/lib/systemd -name '*labrun-drift*'") == ""


@pytest.mark.full  # pam waits half a minute for logind, which does not answer in this container
def test_a_user_without_rights_has_a_timer_too(inside: Inside) -> None:
    # logind, which would start this manager at a login, does not do so in this container.
    inside.shell(
        "cp /root/key ~lab/key && cp /root/known_hosts ~lab && cp /srv/lab/lab.yaml ~lab && "
        "sed -i s,/root/,/home/lab/,g ~lab/lab.yaml && chown lab: ~lab/key ~lab/known_hosts ~lab/lab.yaml && "
        "systemctl start user@1000\n"
    )
    installed = inside.labrun("schedule", "install", "--every", "1h", root=False)
    assert {row["status"] for row in installed["results"]} == {"changed"}
    assert installed["schedule"]["manager"] == "user"
    assert inside.ended(0, root=False)["last_result"] == "success"
    assert inside.shell("cd ~lab/.local/state/labrun/history && ls") == "self.sqlite\n"
    inside.labrun("schedule", "remove", root=False)
    assert inside.shell("find ~lab/.config/systemd -type f -o -type l") == ""
