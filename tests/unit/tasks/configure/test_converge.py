"""One host's loop, on a guest that answers what real ones answered: fresh, then configured."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from labrun.errors import (
    AuthenticationError,
    CommandError,
    ConnectionLostError,
    TransportError,
    UnreachableError,
)
from labrun.outcome import Outcome, Status, exit_code
from labrun.ports import Completed, Transport
from labrun.tasks.configure import converge as loop
from labrun.tasks.configure.confirmation import NewLogin
from labrun.tasks.configure.converge import HostRun, converge
from labrun.tasks.guest.deadline import Pace, pace, paced
from labrun.tasks.guest.facts.applied import PATH
from tests.unit.tasks.configure.test_cases import MARK, gathered, spec_of

MARKER = re.compile(r"^m='?(\S+?)'?$", re.MULTILINE)
RECORD = re.compile(r"install_file \S+ '(\{[^']*\}\n)' 177")


@dataclass
class Guest:
    """A guest with two states; an apply script takes it from the first to the second.

    ``said`` is what the sections of the apply script answer: exit status and text by name.
    ``breaks`` is raised in the middle of the apply script, after it took effect.
    """

    before: str
    after: str
    said: dict[str, tuple[int, str]] = field(default_factory=dict)
    breaks: TransportError | None = None
    applied: list[str] = field(default_factory=list)
    recorded: list[str] = field(default_factory=list)
    gathers: int = 0

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        assert sudo
        assert timeout > 0
        found = MARKER.search(script)
        assert found is not None
        mark = found[1]
        if not script.startswith("trap"):
            self.gathers += 1
            return Completed(0, self.shown().replace(MARK, mark), "", 0.1)
        if "\nsection record\n" in script:
            self.recorded.append(script)
            return Completed(0, f"\n{mark} end\n", "", 0.1)
        self.applied.append(script)
        if self.breaks is not None:
            raise self.breaks
        frames = [
            f"\n{mark} out {name}\n{text}\n\n{mark} status {name} {status}\n"
            for name, (status, text) in self.said.items()
        ]
        return Completed(0, "".join(frames) + f"\n{mark} end\n", "", 0.1)

    def shown(self) -> str:
        """Return the answer to a gather: the recorded state, with the record that was written last."""
        text = gathered(self.after if self.applied else self.before)
        if not self.recorded:
            return text
        found = RECORD.search(self.recorded[-1])
        assert found is not None
        frame = f"\n{MARK} file {PATH}\n{found[1]}"
        return text.replace(f"\n{MARK} files\n", f"{frame}\n{MARK} files\n{PATH}\n")


def configured(
    guest: Guest,
    case: str,
    *,
    login: Callable[[], Transport] | None = None,
    dry_run: bool = False,
    only: tuple[str, ...] = (),
) -> list[Outcome]:
    run = HostRun("a", spec_of(case), only, dry_run)
    return converge(run, guest, NewLogin(guest, login or (lambda: guest)), login or (lambda: guest))


def statuses(rows: list[Outcome], section: str | None = None) -> set[Status]:
    return {row.status for row in rows if section in (None, row.section)}


def test_a_change_is_applied_once_and_confirmed_over_a_new_login() -> None:
    logins: list[Guest] = []
    guest = Guest("host-fresh", "host-configured")

    def login() -> Transport:
        logins.append(guest)
        return guest

    rows = configured(guest, "host-fresh", login=login)
    assert statuses(rows) == {Status.CHANGED}
    assert (len(guest.applied), len(logins), guest.gathers, len(guest.recorded)) == (1, 1, 2, 1)
    (nic,) = [row for row in rows if row.section == "nmcli"]
    assert (nic.name, nic.expected, nic.actual) == (
        "n1",
        "10.5.1.11/24 via 10.5.1.254",
        "10.5.1.11/24 via 10.5.1.254",
    )
    assert "-/etc/NetworkManager/system-connections/cloud-init-eth0.nmconnection" in (nic.diff or "")


def test_a_confirmation_that_has_begun_does_not_hear_the_wish_to_stop() -> None:
    share = Pace()

    class Interrupted(Guest):
        """A guest during whose change the signal comes."""

        def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
            done = super().run(script, timeout=timeout, sudo=sudo)
            if self.applied:
                share.stopping.set()
            return done

    guest = Interrupted("host-fresh", "host-configured")
    heard: list[bool] = []

    def login() -> Transport:
        heard.append(pace().stopping.is_set())
        return guest

    with paced(share):
        rows = configured(guest, "host-fresh", login=login)
    assert (statuses(rows), heard) == ({Status.CHANGED}, [False])
    assert share.stopping.is_set()


def test_a_second_run_reads_once_and_changes_nothing() -> None:
    guest = Guest("host-fresh", "host-configured")
    assert statuses(configured(guest, "host-fresh")) == {Status.CHANGED}
    before = (len(guest.applied), len(guest.recorded), guest.gathers)
    rows = configured(guest, "host-fresh")
    assert (statuses(rows), exit_code(rows)) == ({Status.OK}, 0)
    assert (len(guest.applied), len(guest.recorded), guest.gathers - 1) == before
    assert all(row.diff is None for row in rows)


def test_what_is_as_declared_and_not_on_record_is_recorded_once() -> None:
    guest = Guest("host-configured", "host-configured")
    for _ in range(2):
        assert statuses(configured(guest, "host-configured")) == {Status.OK}
        assert (guest.applied, len(guest.recorded)) == ([], 1)


def test_a_dry_run_tells_every_change_and_writes_nothing() -> None:
    guest = Guest("router-fresh", "router-configured")
    rows = configured(guest, "router-fresh", dry_run=True)
    assert statuses(rows) == {Status.WOULD_CHANGE}
    assert (guest.applied, guest.gathers, exit_code(rows)) == ([], 1, 3)
    assert all(row.diff for row in rows)


def test_only_the_sections_asked_for_have_rows() -> None:
    guest = Guest("router-fresh", "router-configured")
    rows = configured(guest, "router-fresh", only=("sysctl",))
    assert {row.section for row in rows} == {"sysctl"}
    assert "/etc/ssh" not in guest.applied[0]
    assert "system-connections" not in guest.applied[0]


def test_a_session_that_breaks_under_the_change_is_judged_by_the_new_login() -> None:
    guest = Guest("host-fresh", "host-configured", breaks=ConnectionLostError("the connection was closed"))
    assert statuses(configured(guest, "host-fresh")) == {Status.CHANGED}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_SETTLE", 0.3)


def test_what_did_not_take_is_failed_with_what_the_host_said(quick: None) -> None:
    said = {
        "nmcli": (1, "noise\nn1: eth0 did not come up\n"),
        "sshd": (1, "sshd -t: line 3: Bad configuration"),
    }
    guest = Guest("host-fresh", "host-fresh", said=said)
    rows = configured(guest, "host-fresh")
    assert statuses(rows) == {Status.FAILED}
    assert {row.why for row in rows if row.section == "nmcli"} == {"eth0 did not come up"}
    assert {row.why for row in rows if row.section == "sshd"} == {"sshd -t: line 3: Bad configuration"}
    # Both sections said that they failed: waiting for them would be in vain.
    assert guest.gathers == 2


def test_what_may_still_come_is_waited_for_within_bounds(quick: None) -> None:
    guest = Guest("host-fresh", "host-fresh", said={"nmcli": (0, ""), "sshd": (0, "")})
    rows = configured(guest, "host-fresh")
    assert statuses(rows) == {Status.FAILED}
    assert {row.why for row in rows} == {"it was set but did not take effect"}
    assert guest.gathers > 2


def refused() -> Transport:
    raise AuthenticationError("the guest accepts no key for lab", host="a")


def test_without_a_new_login_sshd_is_put_back_and_the_rest_is_unknown() -> None:
    guest = Guest("host-fresh", "host-configured", said={"sshd": (0, "")})
    rows = configured(guest, "host-fresh", login=refused)
    assert statuses(rows, "sshd") == {Status.FAILED}
    assert statuses(rows, "nmcli") == {Status.UNKNOWN}
    assert {row.why for row in rows if row.section == "sshd"} == {
        "no new login after the change: the guest accepts no key for lab; the change was rolled back"
    }
    undo = guest.applied[1]
    assert "restore /etc/ssh/sshd_config.d/00-labrun.conf" in undo
    assert "reload_sshd" in undo


def test_an_undo_that_failed_is_no_undo() -> None:
    guest = Guest("host-fresh", "host-configured", said={"sshd": (1, "no space left")})
    assert statuses(configured(guest, "host-fresh", login=refused)) == {Status.UNKNOWN}


def test_without_a_new_login_and_without_the_old_session_all_is_unknown() -> None:
    guest = Guest("host-fresh", "host-configured", breaks=ConnectionLostError("cut"))
    rows = configured(guest, "host-fresh", login=refused)
    assert statuses(rows) == {Status.UNKNOWN}
    assert exit_code(rows) == 4
    assert all((row.why or "").endswith("the change is in place") for row in rows)


def test_what_the_kernel_refuses_is_failed_and_what_is_the_machine_s_skipped() -> None:
    guest = Guest("sysctl-refused", "sysctl-refused", said={"sysctl": (1, "net.ipv4.ip_forward: no")})
    rows = configured(guest, "sysctl-refused", only=("sysctl",))
    found = {row.name: (row.status, row.why) for row in rows}
    assert found["kernel.pid_max"] == (
        Status.SKIPPED,
        "kernel.pid_max cannot be written here: it belongs to the machine, not the container",
    )
    assert found["net.ipv4.ip_forward"] == (Status.FAILED, "no")


class Silent:
    """A guest whose shell ends before the script does."""

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        return Completed(2, "", "sh: 3: Syntax error\n", 0.0)


def test_a_gather_that_breaks_off_names_host_step_and_the_shell_s_words() -> None:
    with pytest.raises(CommandError) as caught:
        converge(HostRun("a", spec_of("host-fresh")), Silent(), NewLogin(Silent(), Silent), Silent)
    assert str(caught.value) == "a: gather: the script broke off before its end: sh: 3: Syntax error"


def test_a_host_that_goes_away_before_anything_was_changed_is_an_error_of_the_transport() -> None:
    class Gone:
        def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
            raise UnreachableError("no route", host="a")

    with pytest.raises(UnreachableError):
        converge(HostRun("a", spec_of("host-fresh")), Gone(), NewLogin(Gone(), Gone), Gone)


def test_a_signal_that_comes_before_the_change_keeps_it_from_being_made() -> None:
    guest = Guest("host-fresh", "host-configured")
    share = Pace()
    share.stopping.set()
    with paced(share):
        rows = configured(guest, "host-fresh")
    assert guest.applied == []
    changing = [row for row in rows if row.status is not Status.OK]
    assert {(row.status, row.why) for row in changing} == {
        (Status.UNKNOWN, "interrupted before anything was changed")
    }
