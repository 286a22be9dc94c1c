"""The guard's scripts, run by a real shell in a directory of their own: arm, confirm, go back, once each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pytest

from labrun.ports import Completed, Transport
from labrun.tasks.configure import guard
from labrun.tasks.configure.guard import Guard as Confirming
from labrun.tasks.configure.guard import confirming_seconds
from labrun.tasks.configure.guard_script import GuardToken, arm, confirm, nothing_more, trigger
from labrun.tasks.configure.plan import HostPlan, SectionPlan, Seen
from labrun.tasks.guest.deadline import Pace, paced
from labrun.tasks.guest.facts.guard import GUARD as DIRECTORY
from labrun.tasks.guest.facts.guard import (
    PROBE,
    RECORDS,
    RolledBack,
    controller,
    refusal,
    rolled_back,
    standing,
)
from labrun.tasks.guest.shell import Captured, Facts, apply_script, gather_script, parse_facts, quote
from labrun.tasks.state.item import Item

MARK = "labrun-test"
TICKET = GuardToken("2026-11-25T23:32:20Z-26c2", "labrun (pid 1 of ann on laptop)", 60, 180)
STUB = '#!/bin/sh\necho "$(basename "$0") $*" >>"$CALLS"\n'
# What waits for the decision really does, in a session of its own.
START = """\
while case $1 in --*) true ;; *) false ;; esac; do shift; done
STARTED=/dev/null setsid "$@" >>"$CALLS.watch" 2>&1 </dev/null &
"""
CREATED = """case $* in *CheckpointCreate*) echo 'o "/org/checkpoint/7"' ;; esac\n"""


# What every script begins with: the functions that frame its output.
PRELUDE = apply_script([], MARK).removesuffix("frame end\n")


class Silent:
    """A session over which nothing is asked."""

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        raise AssertionError(f"asked: {script}")


def nobody() -> Transport:
    raise AssertionError("nobody logs in here")


@dataclass
class Guest:
    """A root directory, with stand-ins for systemd and NetworkManager that write down what they were told."""

    root: Path

    @classmethod
    def made(cls, root: Path) -> Guest:
        for folder in ("etc/systemd/system", "etc/nm", "var/lib", "bin"):
            (root / folder).mkdir(parents=True)
        more = {"busctl": CREATED, "systemd-run": START}
        # Nothing here may touch the network of the machine that tests run on.
        for name in ("systemctl", "systemd-run", "busctl", "dbus-send", "sync", "ip", "nft", "nmcli"):
            path = root / "bin" / name
            path.write_text(STUB + more.get(name, ""))
            path.chmod(0o755)
        return cls(root)

    def here(self, text: str) -> str:
        """Return the text with the guest's paths below the root."""
        text = text.replace("/var/lib/labrun", f"{self.root}/var/lib/labrun")
        text = text.replace("/run/labrun-", f"{self.root}/run-labrun-")
        return text.replace("/etc/systemd", f"{self.root}/etc/systemd")

    def run(self, script: str, *words: str) -> Facts:
        done = subprocess.run(
            ["sh", "-s", *words],
            input=self.here(script),
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin", "CALLS": f"{self.root}/calls"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return parse_facts(done.stdout, MARK)

    def configure(self, plan: HostPlan, ticket: GuardToken = TICKET, during: str = "") -> Facts:
        parts = [(part.section, part.apply) for part in plan.sections]
        return self.run(
            apply_script(parts, MARK, first=arm(ticket, plan), last=during + nothing_more(ticket, plan))
        )

    @property
    def directory(self) -> Path:
        return self.root / DIRECTORY.lstrip("/")

    def undo(self, *words: str) -> int:
        done = subprocess.run(
            ["sh", str(self.directory / "undo"), *words],
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin", "CALLS": f"{self.root}/calls"},
            check=False,
        )
        return done.returncode

    def ends(self) -> None:
        """Wait until the guard is no more."""
        until = time.monotonic() + 20
        while self.directory.exists():
            assert time.monotonic() < until, (self.root / "calls.watch").read_text()
            time.sleep(0.05)

    def loses_power(self) -> None:
        """End whatever waits, and empty what a boot empties."""
        self.kills_the_watch()
        shutil.rmtree(self.root / "run-labrun-guard")

    def watcher(self) -> int:
        """Return the process that waits, as soon as it has said who it is."""
        path = self.root / "run-labrun-guard" / "pid"
        until = time.monotonic() + 20
        while not path.exists() or not path.read_text().endswith("\n"):
            assert time.monotonic() < until
            time.sleep(0.02)
        return int(path.read_text().split()[0])

    def kills_the_watch(self) -> None:
        """Kill whatever waits."""
        pid = self.watcher()
        until = time.monotonic() + 20
        os.killpg(pid, signal.SIGKILL)
        with suppress(FileNotFoundError):
            while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
                assert time.monotonic() < until
                time.sleep(0.02)

    def gathered(self) -> Facts:
        facts = self.run(gather_script([PROBE], MARK))
        files = {path.removeprefix(str(self.root)): text for path, text in facts.files.items()}
        return Facts(MappingProxyType(files), facts.commands, facts.words)

    @property
    def calls(self) -> str:
        path = self.root / "calls"
        return path.read_text() if path.exists() else ""

    @property
    def profile(self) -> Path:
        return self.root / "etc/nm/a $(touch x)'s profile"

    def plan(self, *, section: str = "nmcli") -> HostPlan:
        path = quote(str(self.profile))
        undo = f'restore {path}\n[ "$on" = live ] || exit 0\nroll_back\n'
        apply = f"echo new >{path}"
        part = SectionPlan(
            section, (), apply, undo, (), saves=(str(self.profile),), checkpoint=section == "nmcli"
        )
        return HostPlan("a", (part,))


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    made = Guest.made(tmp_path)
    made.profile.write_text("old\n")
    yield made
    if made.directory.exists():
        # What still waits sees that there is nothing left to wait for.
        shutil.rmtree(made.directory)


def everything(guest: Guest) -> set[str]:
    kept = {"bin", "calls", "calls.watch"}
    return {str(p.relative_to(guest.root)) for p in guest.root.rglob("*") if not kept & set(p.parts)}


@pytest.mark.parametrize(
    ("dbus_send", "busctl"),
    [("echo '   /org/checkpoint/7'", ""), ("exit 1", CREATED), ("exit 127", CREATED)],
    ids=["dbus-send", "another checkpoint or an old dbus-send", "no dbus-send"],
)
def test_the_checkpoint_is_known_by_its_path_whoever_made_it(
    guest: Guest, dbus_send: str, busctl: str
) -> None:
    made = f"case $* in *CheckpointCreate*) {dbus_send} ;; esac\n"
    (guest.root / "bin/dbus-send").write_text(STUB + made)
    (guest.root / "bin/busctl").write_text(STUB + busctl)
    assert refusal(guest.configure(guest.plan())) is None
    assert (guest.directory / "checkpoint").read_text() == "/org/checkpoint/7\n"
    assert ("busctl --auto-start=no call" in guest.calls) is bool(busctl)


def test_a_checkpoint_that_cannot_be_made_leaves_everything_as_it_was(guest: Guest) -> None:
    for name in ("dbus-send", "busctl"):
        failing = f"case $* in *CheckpointCreate*) echo {name} failed >&2; exit 1 ;; esac\n"
        (guest.root / "bin" / name).write_text(STUB + failing)
    before = everything(guest)
    assert refusal(guest.configure(guest.plan())) == "the guard cannot be armed: busctl failed"
    assert everything(guest) - before <= {"var/lib/labrun", "etc/systemd/system/sysinit.target.wants"}
    assert guest.profile.read_text() == "old\n"


SENT = [
    ("", b"HOME=/\0SSH_CONNECTION=10.0.0.1 50000 10.0.0.9 22\0TERM=linux\0", "10.0.0.1 50000 10.0.0.9 22"),
    (
        "",
        b"A=first\nline\0SSH_CONNECTION=fe80::1%eth0 5 fe80::2%eth0 2222\0_=x",
        "fe80::1%eth0 5 fe80::2%eth0 2222",
    ),
    ("", b"SSH_CONNECTION=10.0.0.1 50000 10.0.0.9 22", "10.0.0.1 50000 10.0.0.9 22"),
    ("10.0.0.1 1 10.0.0.2 22", b"SSH_CONNECTION=10.9.9.9 1 10.9.9.9 9\0", "10.0.0.1 1 10.0.0.2 22"),
    ("", b"HOME=/\0GLOB=* * * *\0", ""),
]


@pytest.mark.parametrize(("own", "parent", "way"), SENT)
def test_the_way_in_is_found_although_sudo_hides_it(
    guest: Guest, tmp_path: Path, own: str, parent: bytes, way: str
) -> None:
    environ = tmp_path / "environ"
    environ.write_bytes(parent)
    script = f"SSH_CONNECTION={quote(own)}\n{arm(TICKET, guest.plan())}"
    guest.run(f"{script.replace('/proc/$PPID/environ', str(environ))}frame end\n".join([PRELUDE, ""]))
    assert (guest.directory / "way").read_text().split() == way.split()


def test_what_is_confirmed_stays_and_the_guard_leaves_nothing_behind(guest: Guest) -> None:
    before = everything(guest)
    said = guest.configure(guest.plan())
    assert refusal(said) is None
    assert guest.profile.read_text() == "new\n"
    assert f"--unit=labrun-guard-{TICKET.run} --slice=-.slice" in guest.calls
    assert "CheckpointCreate aouu 0 180 6" in guest.calls
    here = standing(guest.gathered())
    assert here is not None
    assert (here.run, here.owner, here.is_left_over) == (TICKET.run, TICKET.owner, False)
    assert here.remaining is not None
    assert 55 < here.remaining < 63

    done = guest.run(apply_script([], MARK, first=confirm(TICKET.run, "echo recorded")))
    assert (done.commands["confirm"].status, done.commands["record"].text) == (0, "recorded\n")
    assert "CheckpointDestroy objpath:/org/checkpoint/7" in guest.calls
    assert everything(guest) == before | {"var/lib/labrun", "etc/systemd/system/sysinit.target.wants"}
    assert guest.profile.read_text() == "new\n"
    assert standing(guest.gathered()) is None


TOOLS = "awk cat chmod cmp cp cut find getent grep head ln mkdir mv rm rmdir sed sleep sort stat touch tr"
NOTE = 'echo "${0##*/}" >>"${STARTED:-$CALLS.started}"\n'


def started(guest: Guest, script: str) -> list[str]:
    """Run a script on the guest and return the programs that it starts, in their order."""
    log = guest.root / "calls.started"
    log.unlink(missing_ok=True)
    for name in TOOLS.split():
        path = guest.root / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {shutil.which(name)} "$@"\n')
        path.chmod(0o755)
    for path in (guest.root / "bin").iterdir():
        head, text = path.read_text().replace(NOTE, "").split("\n", 1)
        path.write_text(f"{head}\n{NOTE}{text}")
    guest.run(script)
    return log.read_text().split()


def test_arming_and_confirming_start_few_programs(guest: Guest) -> None:
    """On many guests of one machine, this is what a guard costs."""
    files = [guest.root / "etc" / name for name in ("nm/a", "nm/b", "nm/absent", "one/a", "two/absent")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        if file.name != "absent":
            file.write_text("x\n")
    saves = tuple(map(str, files))
    part = SectionPlan("nmcli", (), "true", "restore x\n", (), saves=saves, checkpoint=True)
    plan = HostPlan("a", (part,))
    arming = apply_script([], MARK, first=arm(TICKET, plan), last=nothing_more(TICKET, plan))
    (guest.root / "bin/dbus-send").write_text(f"{STUB}echo '   /org/checkpoint/7'\n")
    assert started(guest, arming) == [
        *("mkdir", "mv"),  # all folders, and the lock
        *("cp", "cp"),  # the copies, a folder at a time
        *("ip", "ip"),
        *("dbus-send", "ln", "systemd-run", "sync"),
        "ip",  # nothing more follows
    ]
    for file in files:
        kept = file.parent / ".labrun-kept" / file.name
        assert kept.exists() is (file.name != "absent")
    assert started(guest, apply_script([], MARK, first=confirm(TICKET.run, ""))) == [
        *("mv", "sync"),
        *("dbus-send", "rm"),
    ]


@pytest.mark.parametrize("occasion", ["now", "timer", "boot", "again"])
def test_what_nobody_confirms_goes_back_and_says_so(guest: Guest, occasion: str) -> None:
    guest.configure(guest.plan())
    if occasion == "boot":
        # systemd may start the unit before there was a boot, when somebody reloads it.
        guest.undo("boot")
        assert guest.profile.read_text() == "new\n"
        guest.loses_power()
        guest.undo("boot")
    elif occasion == "timer":
        (guest.directory / "until").write_text("0\n")
    else:
        # systemd would not start a second one of its name.
        guest.watcher()
        assert guest.undo(occasion, TICKET.run) == 0
    guest.ends()
    assert guest.profile.read_text() == "old\n"
    assert ("CheckpointRollback o /org/checkpoint/7" in guest.calls) is (occasion != "boot")
    facts = guest.gathered()
    assert standing(facts) is None
    assert rolled_back(facts, TICKET.run) == RolledBack(occasion)
    assert rolled_back(facts, "another") is None


def test_a_change_whose_maker_is_killed_goes_back_at_once(guest: Guest) -> None:
    (part,) = guest.plan().sections
    plan = HostPlan("a", (replace(part, apply=f"{part.apply}\nkill -KILL $$"),))
    with pytest.raises(AssertionError):
        guest.configure(plan)
    guest.ends()
    assert guest.profile.read_text() == "old\n"
    facts = guest.gathered()
    assert rolled_back(facts, TICKET.run) == RolledBack("cut")
    made = Confirming(TICKET, Silent(), nobody, nobody)
    assert (
        made.demands(Seen(plan, Facts()), Seen(plan, facts))
        == "the run was stopped before the change was made"
    )


def test_what_a_killed_change_has_not_put_in_place_is_removed(guest: Guest) -> None:
    (part,) = guest.plan().sections
    beside = guest.profile.with_name(f".{guest.profile.name}.labrun")
    half = f"echo half >{quote(str(beside))}\nkill -KILL $$"
    with pytest.raises(AssertionError):
        guest.configure(HostPlan("a", (replace(part, apply=half),)))
    guest.ends()
    assert (guest.profile.read_text(), beside.exists()) == ("old\n", False)


def test_a_decision_for_which_there_was_no_memory_is_to_go_back(guest: Guest) -> None:
    """Where memory is full a file can be created that nothing can be written to."""
    sleep = guest.root / "bin" / "sleep"
    sleep.write_text("#!/bin/sh\nexec /bin/sleep 0.05\n")
    sleep.chmod(0o755)
    guest.configure(guest.plan())
    guest.watcher()
    (guest.root / "run-labrun-guard" / "decided").touch()
    guest.ends()
    assert guest.profile.read_text() == "old\n"


def test_what_cannot_be_put_back_is_tried_until_it_can(guest: Guest) -> None:
    plan = guest.plan()
    mended = guest.root / "mended"
    part = plan.sections[0]
    undo = f"echo 'it is full'; [ -e {quote(str(mended))} ]\n{part.undo}"
    guest.configure(HostPlan("a", (replace(part, undo=undo),)))
    guest.undo("now", TICKET.run)
    until = time.monotonic() + 20
    while rolled_back(guest.gathered(), TICKET.run) is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    said = rolled_back(guest.gathered(), TICKET.run)
    assert said == RolledBack("now", ("nmcli: it is full",), goes_on=True)
    assert standing(guest.gathered()) is not None
    mended.touch()
    guest.ends()
    assert guest.profile.read_text() == "old\n"
    assert rolled_back(guest.gathered(), TICKET.run) == RolledBack("now")


def test_a_watch_that_is_killed_can_be_started_again_and_goes_on(guest: Guest) -> None:
    guest.configure(guest.plan())
    guest.kills_the_watch()
    guest.undo("now", TICKET.run)
    guest.ends()
    assert guest.profile.read_text() == "old\n"


def test_a_signal_does_not_end_the_watch_for_good(guest: Guest) -> None:
    guest.configure(guest.plan())
    path = guest.root / "run-labrun-guard" / "pid"
    until = time.monotonic() + 20
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < until
        time.sleep(0.02)
    directory = guest.here(str(Path("/var/lib/labrun")))
    text = Path(directory, "guard", "undo").read_text()
    process = subprocess.Popen(
        ["sh", "-c", f"labrun_only=\n{text}"],
        env={"PATH": f"{guest.root}/bin:/usr/bin:/bin", "CALLS": f"{guest.root}/calls"},
    )
    while path.read_text().split()[0] != str(process.pid):
        assert time.monotonic() < until
        time.sleep(0.02)
    process.terminate()
    # What is no success has systemd start it again.
    assert process.wait(60) == 7


def test_a_signal_alone_decides_nothing(guest: Guest) -> None:
    guest.configure(guest.plan())
    watcher = guest.watcher()
    for _ in range(3):
        os.kill(watcher, signal.SIGUSR1)
        time.sleep(0.2)
    assert not (guest.root / "run-labrun-guard" / "decided").exists()
    assert (guest.profile.read_text(), guest.watcher()) == ("new\n", watcher)
    guest.undo("now", TICKET.run)
    guest.ends()
    assert guest.profile.read_text() == "old\n"


def test_what_is_left_of_a_confirmed_guard_after_a_power_cut_undoes_nothing(guest: Guest) -> None:
    """Whatever remains of the folder after each step of its removal."""
    guest.configure(guest.plan())
    rm = guest.root / "bin" / "rm"
    # The host dies at the first thing that is removed.
    rm.write_text(
        f'#!/bin/sh\n[ "$1" = -rf ] || exec {shutil.which("rm")} "$@"\nexec {shutil.which("rm")} -rf "$2"\n'
    )
    rm.chmod(0o755)
    done = guest.run(apply_script([], MARK, first=confirm(TICKET.run, "")))
    assert done.commands["confirm"].status == 0
    rm.unlink()
    assert {path.name for path in guest.directory.iterdir()} & {"armed", "changed", "confirmed"} == {
        "confirmed"
    }
    (guest.directory / "confirmed").unlink()
    guest.loses_power()
    assert guest.undo("boot") == 0
    assert guest.profile.read_text() == "new\n"
    assert not guest.directory.exists()


@pytest.mark.parametrize(
    ("asked", "reading", "expected"),
    [
        (60, 0.0, 60),
        (60, 7.5, 60),
        (60, 20.0, 160),
        (120, 20.01, 161),
        (60, 1000.0, 600),
        (3600, 1000.0, 3600),
        (59, 20.0, 59),
        (1, 20.0, 1),
    ],
)
def test_a_slow_host_has_more_time_to_confirm(
    guest: Guest, asked: int, reading: float, expected: int
) -> None:
    assert confirming_seconds(asked, reading) == expected
    plan = guest.plan()
    made = Confirming(replace(TICKET, seconds=asked), Silent(), nobody, nobody)
    share = Pace(deadline=time.monotonic() + 1)
    with paced(share):
        text = made.first(Seen(plan, Facts(), reading))
    assert made.patience == expected / 2
    assert f"\nseconds={expected}\n" in text
    assert f"\nseconds={expected}\n" in made.last(plan)
    assert share.remaining() > expected, "the run's deadline does not roll back what is good"


@pytest.mark.parametrize(("reading", "times"), [(0.1, 1.0), (1.0, 1.0), (2.5, 2.5), (500.0, 5.0)])
def test_a_slow_host_has_more_time_to_roll_back_and_restart(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, reading: float, times: float
) -> None:
    waited: list[float] = []

    def gone(look: object, login: object, run: str, longest: float) -> None:
        waited.append(longest)

    monkeypatch.setattr(guard, "_gone", gone)
    plan = guest.plan()
    made = Confirming(replace(TICKET, seconds=20, reboots=True), Silent(), nobody, nobody)
    made.first(Seen(plan, Facts(), reading))
    made.refusal(Facts(commands={"guard": Captured("", 0)}))
    monkeypatch.setattr(guard, "_tell", lambda *_: False)
    made.roll_back(lambda _: Seen(plan, Facts()), plan, None)
    assert waited == [20 + times * (30 + 120)]


def test_a_host_that_is_seen_rolling_back_is_waited_for(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("labrun.tasks.configure.guard.time.monotonic", lambda: now[0])
    monkeypatch.setattr(guard, "_FIRST_PAUSE", 0.0)
    plan = guest.plan()
    standing_guard = MappingProxyType({f"{DIRECTORY}/owner": f"{TICKET.run}\nann\nboot\n\n"})
    at_work = Facts(standing_guard, words=frozenset({"guard undoing", "guard-uptime 5", "guard-boot boot"}))
    waiting = Facts(standing_guard, words=frozenset({"guard changed", "guard-uptime 5", "guard-boot boot"}))

    def looked(until: float, while_at_it: Facts) -> tuple[bool, float]:
        """Return whether the end was seen, and when; a look takes 10 s."""
        now[0] = 0.0

        def look(_: Transport) -> Seen:
            now[0] += 10
            return Seen(plan, while_at_it if now[0] < until else _over())

        return guard._gone(look, Silent, TICKET.run, 20.0) is not None, now[0]

    assert looked(200, at_work) == (True, 200)
    assert looked(200, waiting)[0] is False
    seen, ended = looked(1000, at_work)
    assert (seen, 300 <= ended < 340) == (False, True), ended


def _over() -> Facts:
    return Facts(MappingProxyType({RECORDS[0]: f"{TICKET.run} now\n"}))


@pytest.mark.parametrize("last", [_over(), Facts()], ids=["rolled back", "confirmed after all"])
def test_a_look_that_began_before_the_host_had_finished_is_repeated(guest: Guest, last: Facts) -> None:
    half_undone = Item("net.ipv4.ip_forward", {"": "1"}, {"": "1"})
    before = Item("net.ipv4.ip_forward", {"": "1"}, {"": "0"})
    # The guard's files were there when the look began, and its folder was not when it ended.
    files = MappingProxyType({f"{DIRECTORY}/owner": f"{TICKET.run}\nann\nboot\n\n"})
    plans = [
        Seen(HostPlan("a", (SectionPlan("sysctl", (item,)),)), facts)
        for item, facts in ((half_undone, Facts(files)), (before, last))
    ]
    seen = guard._gone(lambda _: plans.pop(0), Silent, TICKET.run, 20.0)
    assert seen is not None
    assert seen.plan.items() == {("sysctl", "net.ipv4.ip_forward"): before}


@pytest.mark.parametrize("settles", [True, False])
def test_what_was_put_back_may_take_a_moment(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, settles: bool
) -> None:
    now = [0.0]

    def monotonic() -> float:
        now[0] += 1
        return now[0]

    monkeypatch.setattr("labrun.tasks.configure.guard.time.monotonic", monotonic)
    monkeypatch.setattr(guard, "_FIRST_PAUSE", 0.0)
    before, busy = (HostPlan("a", (SectionPlan("nmcli", (Item("left", have={"": text}),)),)) for text in "xy")
    looks = [Seen(busy, _over()), Seen(before if settles else busy, _over())]
    made = Confirming(TICKET, Silent(), nobody, Silent)
    monkeypatch.setattr(guard, "guarded", lambda plan: plan.sections)
    monkeypatch.setattr(guard, "_tell", lambda *_: True)
    back = made.roll_back(lambda _: looks.pop(0) if len(looks) > 1 else looks[0], before, None)
    assert back.seen is not None
    assert back.seen.plan == (before if settles else busy)
    assert now[0] < 60


def test_a_host_on_which_nothing_is_guarded_gets_no_more_time() -> None:
    share = Pace(deadline=time.monotonic() + 1)
    with paced(share):
        assert (
            Confirming(TICKET, Silent(), nobody, nobody).first(Seen(HostPlan("a", ()), Facts(), 20.0)) == ""
        )
    assert share.remaining() <= 1


def test_a_file_that_was_not_there_goes_away_again(guest: Guest) -> None:
    guest.profile.unlink()
    guest.configure(guest.plan())
    guest.undo("now", TICKET.run)
    guest.ends()
    assert not guest.profile.exists()


def test_going_back_comes_too_late_for_what_is_confirmed(guest: Guest) -> None:
    guest.configure(guest.plan())
    undo = guest.root / "late"
    undo.write_text((guest.directory / "undo").read_text())
    (guest.root / "run-labrun-guard" / "decided").write_text("keep\n")
    (guest.directory / "changed").rename(guest.directory / "confirmed")
    assert guest.undo("now", TICKET.run) == 0
    assert guest.profile.read_text() == "new\n"


def test_confirming_comes_too_late_for_what_has_gone_back(guest: Guest) -> None:
    guest.configure(guest.plan())
    guest.undo("now", TICKET.run)
    guest.ends()
    done = guest.run(apply_script([], MARK, first=confirm(TICKET.run, "echo recorded")))
    assert done.commands["confirm"].status != 0
    assert "record" not in done.commands


def test_what_was_interrupted_while_it_went_back_is_ended_at_the_next_boot(guest: Guest) -> None:
    guest.configure(guest.plan())
    guest.loses_power()
    (guest.directory / "changed").rename(guest.directory / "undoing")
    assert guest.undo("boot") == 0
    guest.ends()
    assert guest.profile.read_text() == "old\n"


def test_whoever_speaks_of_another_run_undoes_nothing(guest: Guest) -> None:
    guest.configure(guest.plan())
    assert guest.undo("now", "another run") == 0
    assert not (guest.root / "run-labrun-guard" / "decided").exists()
    assert guest.profile.read_text() == "new\n"


def test_a_second_labrun_changes_nothing_and_says_whose_the_host_is(guest: Guest) -> None:
    guest.configure(guest.plan())
    guest.profile.write_text("mine\n")
    second = GuardToken("2026-11-25T23:33:00Z-aaaa", "labrun (pid 2 of bob on desk)", 60, 180)
    why = refusal(guest.configure(guest.plan(), second))
    assert why is not None
    assert why.startswith("labrun (pid 1 of ann on laptop) is changing this host and has ")
    assert why.endswith(" s left to confirm that")
    assert guest.profile.read_text() == "mine\n"
    here = standing(guest.gathered())
    assert here is not None
    assert here.run == TICKET.run


@pytest.mark.parametrize("missing", ["systemd-run", "busctl", "sync"])
def test_where_the_guard_cannot_be_armed_nothing_is_changed_and_nothing_is_left(
    guest: Guest, missing: str
) -> None:
    (guest.root / "bin" / missing).write_text(STUB + "echo it is full >&2; exit 1\n")
    why = refusal(guest.configure(guest.plan()))
    assert why == "the guard cannot be armed: it is full"
    assert guest.profile.read_text() == "old\n"
    assert standing(guest.gathered()) is None
    assert "undo" not in {path.name for path in guest.root.rglob("*")}


def test_without_profiles_no_checkpoint_is_asked_for(guest: Guest) -> None:
    guest.configure(guest.plan(section="sshd"))
    assert "busctl" not in guest.calls
    guest.run(apply_script([], MARK, first=confirm(TICKET.run, "")))
    assert "busctl" not in guest.calls


def test_what_can_not_be_taken_back_needs_no_guard() -> None:
    plan = HostPlan("a", (SectionPlan("packages", (), "true"),))
    assert arm(TICKET, plan) == ""


@pytest.mark.parametrize("partial", [False, True])
def test_what_did_not_take_is_a_reason_to_go_back_unless_its_items_stand_each_for_itself(
    partial: bool,
) -> None:
    part = SectionPlan("services", (Item("x", {"": "1"}),), "true", "true", partial=partial)
    seen = Seen(HostPlan("a", (part,)), Facts())
    made = Confirming(TICKET, Silent(), nobody, nobody)
    assert made.demands(seen, seen) == (None if partial else "services x did not take effect")


def test_what_cannot_be_told_any_more_is_a_reason_to_go_back_whatever_changed() -> None:
    changing = SectionPlan("services", (Item("x", {"": "1"}),), "true", "true", partial=True)
    before = HostPlan("a", (SectionPlan("nmcli", (Item("left"),)), changing))
    lost = SectionPlan("nmcli", (Item("left", refused="NetworkManager cannot be queried"),))
    now = HostPlan("a", (lost, SectionPlan("services", (Item("x"),))))

    made = Confirming(TICKET, Silent(), nobody, nobody)
    assert made.demands(Seen(before, Facts()), Seen(now, Facts())) == "NetworkManager cannot be queried"


@pytest.mark.parametrize(
    ("section", "why"),
    [
        (
            SectionPlan("nmcli", (Item("left", {"": "1"}),), "true"),
            "nmcli left was as declared before this change",
        ),
        (SectionPlan("nmcli", (Item("right", {"": "1"}),), "true"), None),
        (SectionPlan("nmcli", (Item("left", {"": "1"}),), "true", harmless=True), None),
        (SectionPlan("nmcli", (Item("left", {"": "1"}),), "true", partial=True), None),
    ],
    ids=["held", "new", "a name", "by itself"],
)
def test_what_held_before_and_does_not_now_is_a_reason_to_go_back(
    section: SectionPlan, why: str | None
) -> None:
    changing = SectionPlan("files", (Item("/x", {"": "1"}),), "true", "true", partial=True)
    before = HostPlan("a", (SectionPlan("nmcli", (Item("left"),)), changing))
    failed = SectionPlan("files", (Item("/x", {"": "1"}, note="on_change: no"),), "true")
    now = HostPlan("a", (section, failed))
    made = Confirming(TICKET, Silent(), nobody, nobody)
    assert made.demands(Seen(before, Facts()), Seen(now, Facts())) == why


def test_an_sshd_that_the_next_boot_would_not_start_any_more_is_a_reason_to_go_back() -> None:
    changing = SectionPlan("files", (Item("/x", {"": "1"}),), "true", "true", partial=True)
    done = SectionPlan("files", (Item("/x"),))
    unit = SectionPlan("sshd", (Item("ssh.service", {"": "enabled"}, {"": "disabled"}, refused="it is off"),))
    made = Confirming(TICKET, Silent(), nobody, nobody)
    before = HostPlan("a", (SectionPlan("sshd", ()), changing))
    assert made.demands(Seen(before, Facts()), Seen(HostPlan("a", (unit, done)), Facts())) == "it is off"
    # What was so before is no news.
    known = HostPlan("a", (unit, changing))
    assert made.demands(Seen(known, Facts()), Seen(HostPlan("a", (unit, done)), Facts())) is None


def test_what_is_seen_while_the_host_goes_back_says_nothing_of_the_change() -> None:
    part = SectionPlan("files", (Item("/x", {"": "1"}),), "true", "true", partial=True)
    plan = HostPlan("a", (part,))
    facts = Facts(words=frozenset({"guard undoing"}))
    made = Confirming(TICKET, Silent(), nobody, nobody)
    why = made.demands(Seen(plan, Facts()), Seen(plan, facts))
    assert why == "no new login saw the change in place"


def test_a_guard_of_a_process_of_this_machine_that_has_died_is_left_over() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        boot, _, _ = controller().split()
        started = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()[19]
        files = {
            f"{DIRECTORY}/owner": f"{OWNER}{boot} {process.pid} {started}\n",
            f"{DIRECTORY}/until": "100",
        }
        words = frozenset({"guard-uptime 80", "guard-boot boot-1"})
        facts = Facts(MappingProxyType(files), MappingProxyType({}), words)
        here = standing(facts)
        assert here is not None
        assert not here.is_left_over
        process.kill()
    assert here.is_left_over


def test_a_directory_that_is_no_guard_is_removed(guest: Guest) -> None:
    (guest.root / DIRECTORY.lstrip("/")).mkdir(parents=True)
    here = standing(guest.gathered())
    assert here is not None
    assert here.is_left_over
    subprocess.run(["sh"], input=guest.here(trigger("again", here.run)), text=True, check=True)
    guest.ends()
    assert standing(guest.gathered()) is None


OWNER = f"{TICKET.run}\n{TICKET.owner}\nboot-1\n"


@pytest.mark.parametrize(
    ("until", "boot", "left_over"),
    [("100", "boot-1", False), ("40", "boot-1", True), ("100", "boot-2", True), ("", "boot-1", True)],
)
def test_a_guard_is_left_over_when_its_time_or_its_boot_is_over(
    until: str, boot: str, left_over: bool
) -> None:
    files = {f"{DIRECTORY}/owner": OWNER, f"{DIRECTORY}/until": until}
    words = frozenset({"guard-uptime 80", f"guard-boot {boot}"})
    here = standing(Facts(MappingProxyType(files), MappingProxyType({}), words))
    assert here is not None
    assert here.is_left_over is left_over


def test_a_checkpoint_of_somebody_else_is_told_with_its_time() -> None:
    held = {"Created": {"data": 990_676}, "RollbackTimeout": {"data": 60}}
    objects = {"/org/checkpoint/1": {"org.freedesktop.NetworkManager.Checkpoint": held}}
    commands = {
        "guard": Captured("Call failed: device 'lo' is already included in checkpoint\n", 1),
        "checkpoints": Captured(json.dumps({"data": [objects]}), 0),
    }
    said = Facts(MappingProxyType({}), MappingProxyType(commands), frozenset({"guard-uptime 1000", "end"}))
    assert refusal(said) == "another tool holds a checkpoint of NetworkManager for 51 s more"
