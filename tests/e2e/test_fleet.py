"""A fleet of two machines over SSH, on real containers: same rows, and a change begins once in each guest."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from labrun.runner.engine.fleet.model import FleetFolder
from labrun.runner.engine.fleet.processes import Detached
from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside, wait_until
from tests.e2e.test_shards import answer_of, await_words, rows_of, start
from tests.fleet_machines import FleetMachine, Site, fleet_machines
from tests.labs import Answer, RunningLab

pytestmark = pytest.mark.lxc

NAME = "e2e-fleet"
HOSTS = ("one", "two")
LAB = """\
name: e2e-fleet
hypervisor: lxc:///system
defaults: {memory: 128}
networks:
  left: {mode: isolated, cidr: 10.191.1.0/24}
hosts:
  one: {networks: {left: 10.191.1.11}}
  two: {networks: {left: 10.191.1.12}}
"""
# A command that stands outside of a rollback: it begins, says what it found, and waits until it may end.
CHANGE = """\
groups:
  both:
    hosts: [one, two]
    files:
      /srv/app:
        content: "TOKEN\\n"
        on_change: "sh -c 'cat /srv/app >>/srv/starts; while [ ! -e /srv/go ]; do sleep 0.1; done'"
"""
PORT = 14_900
ENGINE = ("--engine", f"dask://127.0.0.1:{PORT}")


@dataclass
class Fleet:
    """The lab, the machines, and what starts them again after a test has ended some of it."""

    lab: RunningLab
    machines: list[FleetMachine]

    def install(self, *words: str) -> Answer:
        return self.lab.json("fleet", "install", *words)

    @property
    def scheduler(self) -> Detached:
        return Detached(FleetFolder.of(self.lab.state).root, "scheduler")

    def change(self, token: str) -> None:
        """Let the lab file have a change that has not been applied yet, and the guests a closed gate."""
        for host in HOSTS:
            inside(f"{NAME}-{host}", "rm -f /srv/go /srv/starts")
        self.lab.path.write_text(LAB + CHANGE.replace("TOKEN", token), encoding="utf-8")

    def open(self) -> None:
        for host in HOSTS:
            inside(f"{NAME}-{host}", "touch /srv/go")


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("fleet"), LAB)
    made.env["LABRUN_SHARD_SIZE"] = "1"  # one host for each machine
    try:
        up = made.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        made.run("-y", "down")


@pytest.fixture(scope="module")
def fleet(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    daemon = daemon_pid("lxc:///system")
    assert daemon is not None
    info = subprocess.run(
        ["virsh", "-c", "lxc:///system", "net-info", f"{NAME}-left"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (bridge,) = [line.split()[1] for line in info.splitlines() if line.startswith("Bridge:")]
    site = Site(daemon, bridge, ("10.191.1.241", "10.191.1.242"))
    folder = tmp_path_factory.mktemp("machines")
    with fleet_machines(folder, 1, 2, hidden=lab.state, site=site) as machines:
        for machine in machines:
            machine.have_installed()
        names = [machine.name for machine in machines]
        files = ("--identity", str(machines[0].identity), "--known-hosts", str(machines[0].known_hosts))
        made = lab.json("fleet", "init", *names, "--port", str(PORT), *files)
        assert (made.exit_code, made.statuses()) == (0, {"changed"}), made.stderr
        again = lab.json("fleet", "init", *names, "--port", str(PORT), *files)
        assert (again.exit_code, again.statuses()) == (0, {"ok"})
        try:
            yield Fleet(lab, machines)
        finally:
            lab.run("fleet", "stop")


@pytest.fixture
def running(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet with everything running; the lab file is as it was afterwards."""
    installed = fleet.install("--lab-key")
    assert installed.exit_code == 0, installed.trouble()
    try:
        yield fleet
    finally:
        fleet.open()
        fleet.lab.path.write_text(LAB, encoding="utf-8")


def starts(host: str) -> int:
    """Return how often the change began, counted in the guest."""
    return len(inside(f"{NAME}-{host}", "cat /srv/starts 2>/dev/null || true").split())


def test_a_second_install_changes_nothing(running: Fleet) -> None:
    again = running.install("--lab-key")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.rows
    for machine in running.machines:
        (key,) = machine.base.glob("keys/*/id_ed25519")
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert key.read_bytes() == next(running.lab.state.glob(f"{NAME}-*/id_ed25519")).read_bytes()
    status = running.lab.json("fleet", "status")
    assert status.exit_code == 0, status.trouble()
    assert [row["name"] for row in status.rows] == ["scheduler", *(each.name for each in running.machines)]
    assert all(row["actual"].endswith(", 0 shards") for row in status.rows[1:])


@pytest.mark.full
def test_the_rows_are_those_of_threads(running: Fleet) -> None:
    lab = running.lab
    for command in (("verify",), ("drift",), ("configure",), ("exec", "hostname; exit 3")):
        apart, here = lab.json(*ENGINE, *command), lab.json(*command)
        assert rows_of(apart) == rows_of(here), (command, apart.stderr)
        assert apart.exit_code == here.exit_code
    # It is the machines that log in.
    seen = lab.json(*ENGINE, "exec", "echo $SSH_CONNECTION").rows
    assert sorted(row["actual"].split()[0] for row in seen) == ["10.191.1.241", "10.191.1.242"]


def lose(fleet: Fleet, token: str, act: Callable[[], object], losing: set[str]) -> None:
    """Let something happen in the middle of a change on both hosts; some of them lose their worker."""
    fleet.change(token)
    running = start(fleet.lab, *ENGINE, "configure", "--confirm-timeout", "15")
    for host in HOSTS:
        wait_until(f"{NAME}-{host}", "[ -s /srv/starts ]")
    act()
    fleet.open()
    answer = answer_of(running)
    files = {row["host"]: row for row in answer.of("files", name="/srv/app")}
    unknown = {host for host, row in files.items() if row["status"] == "unknown"}
    assert (answer.exit_code, len(unknown)) == (4, len(losing)), (files, answer.stderr)
    assert all(files[host]["why"].startswith("the worker was lost; ") for host in unknown), files
    assert {row["status"] for host, row in files.items() if host not in unknown} <= {"changed"}
    for host in HOSTS:
        wait_until(f"{NAME}-{host}", "[ ! -e /var/lib/labrun/guard ]")
    assert [starts(host) for host in HOSTS] == [1, 1]


@pytest.mark.full
def test_a_worker_that_is_killed_leaves_its_host_unknown(running: Fleet) -> None:
    killed = running.machines[0]
    lose(running, "killed", killed.kill_worker, {"one of them"})
    status = running.lab.json("fleet", "status")
    assert {row["name"]: row["status"] for row in status.rows}[killed.name] == "failed"
    assert status.exit_code == 1
    # What was not confirmed was undone: it is made now, over the worker that is left, and only once more.
    done = running.lab.json(*ENGINE, "configure")
    assert done.exit_code == 0, done.trouble()
    assert running.lab.json(*ENGINE, "configure").statuses("files") == {"ok"}


@pytest.mark.full
def test_a_scheduler_that_is_killed_leaves_all_hosts_unknown(running: Fleet) -> None:
    def kill() -> None:
        pid = int((FleetFolder.of(running.lab.state).root / "scheduler.process").read_text().split()[1])
        os.kill(pid, signal.SIGKILL)

    lose(running, "headless", kill, set(HOSTS))
    refused = running.lab.json(*ENGINE, "verify")
    assert refused.exit_code == 5
    assert f"no scheduler answers at 127.0.0.1:{PORT}: " in refused.document["error"]


@pytest.mark.full
def test_an_ssh_that_is_killed_takes_its_worker_along(running: Fleet) -> None:
    cut = running.machines[0]

    def cut_off() -> None:
        record = FleetFolder.of(running.lab.state).root / f"ssh-{cut.name}.process"
        os.kill(int(record.read_text().split()[1]), signal.SIGKILL)

    lose(running, "cut", cut_off, {"one of them"})
    until = time.monotonic() + 60
    while cut.pids():
        assert time.monotonic() < until, cut.pids()
        time.sleep(0.1)


@pytest.mark.full
def test_ctrl_c_ends_reading_and_leaves_the_fleet(running: Fleet) -> None:
    workers = [machine.worker() for machine in running.machines]
    for host in HOSTS:
        inside(f"{NAME}-{host}", "rm -f /tmp/begun")
    process = start(running.lab, *ENGINE, "exec", "touch /tmp/begun; exec sleep 600")
    for host in HOSTS:
        wait_until(f"{NAME}-{host}", "[ -e /tmp/begun ]")
    process.send_signal(signal.SIGINT)
    stopped = answer_of(process)
    assert stopped.exit_code == 130
    assert {row["host"]: (row["status"], row["why"]) for row in stopped.rows} == dict.fromkeys(
        HOSTS, ("unknown", "interrupted")
    )
    assert [machine.worker() for machine in running.machines] == workers
    # The flag was that of one run.
    assert running.lab.json(*ENGINE, "exec", "true").exit_code == 0


def begin(fleet: Fleet, token: str, *limits: str) -> subprocess.Popen[bytes]:
    """Return a labrun in the middle of a change on both hosts."""
    fleet.change(token)
    process = start(fleet.lab, *ENGINE, "configure", *limits)
    try:
        for host in HOSTS:
            wait_until(f"{NAME}-{host}", "[ -s /srv/starts ]")
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process


def await_logouts(fleet: Fleet) -> None:
    """Wait until no worker has a connection to a host."""
    until = time.monotonic() + 120
    look = ("ss", "-Htn", "dst", "10.191.1.0/24")
    for machine in fleet.machines:
        command = ["ip", "netns", "exec", machine.namespace, *look]
        while left := subprocess.run(command, capture_output=True, text=True, check=True).stdout:
            assert time.monotonic() < until, left
            time.sleep(0.1)


def goes_on(fleet: Fleet, first: str, in_all: int) -> None:
    """Check that the next run finds files ``first`` and leaves them alone after that."""
    for host in HOSTS:
        wait_until(f"{NAME}-{host}", "[ ! -e /var/lib/labrun/guard ]")
    assert [starts(host) for host in HOSTS] == [1, 1]
    done = fleet.lab.json(*ENGINE, "configure")
    assert (done.exit_code, done.statuses("files")) == (0, {first}), done.trouble()
    again = fleet.lab.json(*ENGINE, "configure")
    assert (again.exit_code, again.statuses("files")) == (0, {"ok"}), again.trouble()
    assert [starts(host) for host in HOSTS] == [in_all, in_all]


@pytest.mark.full
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_a_change_waits_for_its_end(running: Fleet, number: int, code: int) -> None:
    process = begin(running, f"signal{int(number)}")
    process.send_signal(number)
    await_words(process, b"waiting until ")
    running.open()
    stopped = answer_of(process)
    assert (stopped.exit_code, stopped.statuses("files")) == (code, {"changed"}), stopped.trouble()
    goes_on(running, "ok", 1)


@pytest.mark.full
def test_a_second_ctrl_c_leaves_a_change_to_the_guard(running: Fleet) -> None:
    process = begin(running, "abandoned", "--confirm-timeout", "15")
    process.send_signal(signal.SIGINT)
    await_words(process, b"waiting until ")
    process.send_signal(signal.SIGINT)
    stopped = answer_of(process)
    assert (stopped.exit_code, stopped.statuses()) == (130, {"unknown"}), stopped.trouble()
    await_logouts(running)
    running.open()
    goes_on(running, "changed", 2)


@pytest.mark.full
def test_the_workers_of_a_labrun_that_is_killed_bring_a_change_to_its_end(running: Fleet) -> None:
    process = begin(running, "orphaned")
    process.kill()
    process.communicate()
    running.open()
    await_logouts(running)
    goes_on(running, "ok", 1)


def test_stop_leaves_nothing(running: Fleet) -> None:
    stopped = running.lab.json("fleet", "stop")
    assert (stopped.exit_code, stopped.statuses()) == (0, {"changed"}), stopped.rows
    assert [machine.pids() for machine in running.machines] == [[], []]
    assert [sorted(path.name for path in machine.base.glob("keys/*")) for machine in running.machines] == [
        [],
        [],
    ]
    root = FleetFolder.of(running.lab.state).root
    assert sorted(path.name for path in root.iterdir()) == ["fleet.json", "lock"]
    again = running.lab.json("fleet", "stop")
    assert (again.exit_code, again.statuses()) == (0, {"ok"})
    status = running.lab.json("fleet", "status")
    assert (status.exit_code, status.statuses()) == (1, {"failed"})
    assert not running.scheduler.is_running


@pytest.mark.full
def test_what_is_removed_is_gone(running: Fleet, tmp_path: Path) -> None:
    removed = running.lab.json("-y", "fleet", "stop", "--remove")
    assert (removed.exit_code, removed.statuses()) == (0, {"changed"}), removed.rows
    assert [machine.base.exists() for machine in running.machines] == [False, False]
    none = running.lab.json("fleet", "status")
    assert (none.exit_code, none.document["error"]) == (2, "there is no fleet")
