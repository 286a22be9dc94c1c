"""SIGKILL at any moment of a command that changes something; then the same command again, and all is well."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside, wait_until
from tests.e2e.test_up import leftovers
from tests.labs import Answer, RunningLab

pytestmark = pytest.mark.lxc

NAME = "kil-lab"
HOSTS = ("one", "two")
LAB = """\
name: kil-lab
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 128}
networks:
  left: {mode: isolated, cidr: 10.64.24.0/24}
hosts:
  one: {networks: {left: 10.64.24.11}, sysctl: {net.ipv4.ip_default_ttl: 64}, sshd: {LoginGraceTime: 60}}
  two: {networks: {left: 10.64.24.12}, sysctl: {net.ipv4.ip_default_ttl: 64}, sshd: {LoginGraceTime: 60}}
"""
GUARD = "/var/lib/labrun/guard"
CONFIGURE = ("configure", "--confirm-timeout", "10")
ALL = [pytest.param(number, marks=pytest.mark.full, id=f"moment{number}") for number in range(30)]
# The first of each is for CI, the others for `make test-full`.
MOMENTS = [pytest.param(0, id="moment0"), *ALL[1:]]


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("kills"), LAB)
    try:
        yield made
    finally:
        made.run("-y", "down")


@pytest.fixture
def up(lab: RunningLab) -> RunningLab:
    """The lab, up and configured as its file says, whatever the test before did."""
    lab.path.write_text(LAB, encoding="utf-8")
    answer = lab.json("up", "--configure")
    assert answer.exit_code == 0, answer.trouble()
    return lab


def other_values(lab: RunningLab, dice: random.Random) -> None:
    """Have the file ask for something else on both hosts."""
    text = LAB.replace("ttl: 64", f"ttl: {dice.randint(65, 128)}").replace(
        "Time: 60", f"Time: {dice.randint(61, 99)}"
    )
    lab.path.write_text(text, encoding="utf-8")


def seconds_of(lab: RunningLab, *words: str) -> float:
    """Run a command to its end; returns how long that took."""
    began = time.monotonic()
    answer = lab.json(*words)
    assert answer.exit_code == 0, answer.trouble()
    return time.monotonic() - began


def tell(line: str) -> None:
    """Say what the dice came to; pytest shows it where the test fails."""
    sys.stdout.write(f"{line}\n")


def kill(lab: RunningLab, dice: random.Random, longest: float, *words: str) -> None:
    """Run the command and kill it at some moment; one that is quicker has simply run."""
    moment = dice.uniform(0.2, longest)
    with lab.start(*words) as process:
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
    tell(f"{' '.join(words)}: killed after {moment:.3f} of {longest:.1f} s, exit code {process.returncode}")


def dice_of(command: str, number: int) -> random.Random:
    seed = f"{command} {number}"
    tell(f"seed {seed!r}")
    return random.Random(seed)


def no_parts_of_files(lab: RunningLab) -> list[str]:
    """Return what a killed run has left of files that it was writing."""
    return sorted(path.name for path in lab.state.glob("*/.*"))


def assert_let_in(lab: RunningLab) -> None:
    answer = lab.json("exec", "true")
    assert answer.exit_code == 0, answer.trouble()


def assert_whole(lab: RunningLab) -> None:
    """Assert that a second `up` finds nothing to do, and that the hosts let labrun in."""
    again = lab.json("up")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.rows
    assert_let_in(lab)


def assert_no_borrowed_time(lab: RunningLab, said: Answer) -> None:
    """Assert that what `said` claims still holds when no guard of a killed run stands any more."""
    for host in HOSTS:
        wait_until(f"{NAME}-{host}", f"[ ! -e {GUARD} ]")
    after = lab.json(*CONFIGURE)
    assert after.exit_code == 0, after.trouble()
    if said.exit_code == 0:
        assert after.statuses() == {"ok"}, (said.rows, after.rows)
    again = lab.json(*CONFIGURE)
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.rows


_TIMES: dict[str, float] = {}
_USUAL = {"up": 4.0, "recreate": 4.0, "configure": 2.3, "drift": 5.0, "down": 1.5}


def longest(command: str, number: int, measure: Callable[[], float]) -> float:
    """Return how long the command takes when nobody kills it; measured once, where many are killed."""
    if number == 0:
        return _USUAL[command]
    if command not in _TIMES:
        _TIMES[command] = measure()
    return _TIMES[command]


@pytest.mark.parametrize("number", MOMENTS)
def test_up(lab: RunningLab, number: int) -> None:
    dice = dice_of("up", number)
    lab.path.write_text(LAB, encoding="utf-8")

    def measure() -> float:
        took = seconds_of(lab, "up")
        assert lab.run("-y", "down").exit_code == 0
        return took

    assert lab.run("-y", "down").exit_code == 0
    kill(lab, dice, longest("up", number, measure), "up")
    answer = lab.json("up")
    assert answer.exit_code == 0, answer.trouble()
    assert_whole(lab)
    assert no_parts_of_files(lab) == []


# In CI this and `down` are killed at chosen moments: below.
@pytest.mark.parametrize("number", ALL)
def test_up_recreate(up: RunningLab, number: int) -> None:
    dice = dice_of("up --recreate", number)
    words = ("-y", "up", "--recreate", "--hosts", "one")
    kill(up, dice, longest("recreate", number, lambda: seconds_of(up, *words)), *words)
    # Without --recreate too: what was killed is finished, or has not begun.
    answer = up.json(*(words if number % 2 else ("up",)))
    assert answer.exit_code == 0, answer.trouble()
    assert_whole(up)


@pytest.mark.parametrize("number", MOMENTS)
def test_configure(up: RunningLab, number: int) -> None:
    dice = dice_of("configure", number)

    def measure() -> float:
        other_values(up, random.Random(0))
        return seconds_of(up, *CONFIGURE)

    most = longest("configure", number, measure)
    other_values(up, dice)
    kill(up, dice, most, *CONFIGURE)
    assert_no_borrowed_time(up, up.json(*CONFIGURE))


@pytest.mark.parametrize("number", MOMENTS)
def test_drift_fix(up: RunningLab, number: int) -> None:
    dice = dice_of("drift --fix", number)

    def disturb() -> None:
        for host in HOSTS:
            inside(
                f"{NAME}-{host}",
                f"sysctl -qw net.ipv4.ip_default_ttl={dice.randint(130, 200)};"
                " rm /etc/ssh/sshd_config.d/00-labrun.conf",
            )

    def measure() -> float:
        disturb()
        return seconds_of(up, "drift", "--fix")

    most = longest("drift", number, measure)
    disturb()
    kill(up, dice, most, "drift", "--fix")
    answer = up.json("drift", "--fix")
    for host in HOSTS:
        wait_until(f"{NAME}-{host}", f"[ ! -e {GUARD} ]")
    if answer.exit_code == 0:
        looked = up.json("drift")
        assert looked.exit_code == 0, looked.trouble()
    again = up.json("drift", "--fix")
    assert again.exit_code == 0, again.trouble()
    looked = up.json("drift")
    assert looked.exit_code == 0, looked.trouble()


@pytest.mark.parametrize("number", ALL)
def test_down(up: RunningLab, number: int) -> None:
    dice = dice_of("down", number)

    def measure() -> float:
        took = seconds_of(up, "-y", "down")
        assert up.json("up").exit_code == 0
        return took

    kill(up, dice, longest("down", number, measure), "-y", "down")
    answer = up.json("-y", "down")
    assert answer.exit_code == 0, answer.trouble()
    assert_nothing_left(up)


def assert_nothing_left(lab: RunningLab) -> None:
    assert leftovers(NAME) == []
    known = ("id_ed25519", "id_ed25519.pub", "known_hosts")
    assert [path.name for path in lab.state.glob("*/*") if path.name in known] == []
    assert no_parts_of_files(lab) == []
    listed = lab.json("list")
    assert NAME not in listed.stdout


# --- at chosen moments: the words are what has just happened, or is about to ------------------------------

_DIES = """
import os, sys
from labrun.runner.main import main
from labrun.state import LabState
from labrun.tasks.provision import overlay
from labrun.tasks.provision.lxc import LxcDriver
from labrun.runner.commands import down
owners = {{"LxcDriver": LxcDriver, "LabState": LabState, "Overlay": overlay.Overlay}}
owners |= {{"shutil": overlay.shutil, "down": down}}
owner = owners[{owner!r}]
real = getattr(owner, {name!r})
def dying(*words, **settings):
    if {before!r}:
        os.kill(os.getpid(), 9)
    real(*words, **settings)
    os.kill(os.getpid(), 9)
setattr(owner, {name!r}, dying)
sys.argv = ["labrun", *sys.argv[1:]]
main()
"""


def killed_at(lab: RunningLab, point: tuple[str, str, bool], *words: str) -> None:
    owner, name, before = point
    script = _DIES.format(owner=owner, name=name, before=before)
    arguments = [sys.executable, "-c", script, *lab.arguments(*words)[3:]]
    done = subprocess.run(
        arguments, env=lab.environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -9, (point, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("owner", "name", "before"),
    [
        pytest.param("LxcDriver", "retire", True, marks=pytest.mark.full),
        pytest.param("LxcDriver", "retire", False, marks=pytest.mark.full),
        ("LabState", "remember_host_keys", False),
        pytest.param("shutil", "rmtree", True, marks=pytest.mark.full),
        pytest.param("Overlay", "make", False, marks=pytest.mark.full),
        pytest.param("LxcDriver", "create", False, marks=pytest.mark.full),
        pytest.param("LxcDriver", "start", False, marks=pytest.mark.full),
    ],
)
def test_up_recreate_killed_between_its_steps(up: RunningLab, owner: str, name: str, before: bool) -> None:
    killed_at(up, (owner, name, before), "-y", "up", "--recreate", "--hosts", "one")
    answer = up.json("up")
    assert answer.exit_code == 0, answer.trouble()
    assert_whole(up)


@pytest.mark.parametrize(
    "hypervisor_of", [pytest.param("lxc:///system", marks=pytest.mark.full, id="lxc"), "auto"]
)
@pytest.mark.parametrize(
    ("owner", "name", "before"),
    [
        pytest.param("LxcDriver", "remove", False, marks=pytest.mark.full),
        pytest.param("down", "remove_objects", False, marks=pytest.mark.full),
        ("LxcDriver", "remove_lab", True),
        pytest.param("LxcDriver", "remove_lab", False, marks=pytest.mark.full),
        pytest.param("LabState", "remove", True, marks=pytest.mark.full),
    ],
)
def test_down_killed_between_its_steps(
    up: RunningLab, hypervisor_of: str, owner: str, name: str, before: bool
) -> None:
    up.path.write_text(LAB.replace("lxc:///system", hypervisor_of), encoding="utf-8")
    killed_at(up, (owner, name, before), "-y", "down")
    answer = up.json("-y", "down")
    assert answer.exit_code == 0, answer.trouble()
    assert_nothing_left(up)


@pytest.mark.full
def test_a_machine_that_is_destroyed_in_the_middle_ends_its_host_at_once(up: RunningLab) -> None:
    slow = "files: {/etc/labrun-slow: {content: x, on_change: sleep 100}}"
    up.path.write_text(LAB.replace("sysctl:", f"{slow}, sysctl:", 1), encoding="utf-8")
    with up.start("--json", *CONFIGURE) as process:
        wait_until(f"{NAME}-one", f"[ -e {GUARD}/changed ] || [ -e {GUARD}/armed ]")
        subprocess.run(["virsh", "-q", "-c", "lxc:///system", "destroy", f"{NAME}-one"], check=True)
        began = time.monotonic()
        process.wait(timeout=90)
    # It took the time limit of the host and of its rollback, some 400 s.
    assert time.monotonic() - began < 60
    assert process.returncode == 4
    # What it had begun is taken back by its next boot.
    up.path.write_text(LAB, encoding="utf-8")
    again = up.json("up", "--configure")
    assert again.exit_code == 0, again.trouble()
