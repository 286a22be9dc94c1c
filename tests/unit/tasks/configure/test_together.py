"""Hosts that change together: who was left for a second attempt, and who waits for whom."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labrun.errors import CommandError
from labrun.ports import Transport
from labrun.runner.commands.both_ends import parts
from labrun.tasks.configure import behind
from labrun.tasks.configure import together as together_module
from labrun.tasks.configure.behind import answering
from labrun.tasks.configure.confirmation import APPLY_SECONDS
from labrun.tasks.configure.guard_script import GuardToken
from labrun.tasks.configure.plan import HostPlan, SectionPlan, Seen
from labrun.tasks.configure.together import AloneError, Cuts, Stage, Together, TogetherGuard
from labrun.tasks.guest.shell import Facts
from tests.loopback_sshd import free_port, loopback_sshd

# Nobody waits as long: what is waited for happens, or has happened.
LONG = 60.0


def test_only_a_host_that_was_cut_off_and_has_yet_to_begin_is_left() -> None:
    cuts = Cuts()
    assert cuts.leave("pc") is None
    cuts.note("gate", ["pc", "phone"])
    assert cuts.left() == {}
    assert cuts.leave("pc") == "gate"
    assert cuts.leave("other") is None
    assert cuts.left() == {"gate": {"pc"}}


def test_those_with_a_host_in_common_are_one_attempt() -> None:
    cut = {"r1": frozenset({"a", "b"}), "r2": frozenset({"c"}), "r3": frozenset({"b", "r2"})}
    assert parts(cut) == [cut]
    assert parts({name: cut[name] for name in ("r1", "r2")}) == [{"r1": cut["r1"]}, {"r2": cut["r2"]}]
    assert parts({}) == []


def test_whoever_leads_waits_until_those_behind_have_changed() -> None:
    together = Together({"gate": ["pc", "phone"], "pc": [], "phone": []})
    for host in together.hosts:
        together.reach(host, Stage.READ)
    assert together.joined("gate") == {"pc", "phone"}
    late: list[list[str]] = []
    gate = threading.Thread(target=lambda: late.append(together.missing(["pc", "phone"], Stage.MADE, LONG)))
    gate.start()
    together.reach("pc", Stage.MADE)
    assert late == []
    together.reach("phone", Stage.MADE)
    gate.join(LONG)
    assert late == [[]]


def test_nobody_waits_for_a_host_that_has_ended() -> None:
    together = Together({"gate": ["pc", "phone"]})
    together.reach("pc", Stage.READ)
    together.end("phone")
    assert together.joined("gate") == {"pc"}
    together.end("pc")
    assert together.missing(["pc", "phone"], Stage.GOOD, LONG) == ["pc", "phone"]
    # What it had reached still counts.
    assert together.missing(["pc"], Stage.READ, LONG) == []


def test_a_router_waits_for_as_long_as_those_behind_it_may_change() -> None:
    # If it gave up earlier, they would change alone, and nobody would reach them.
    assert together_module._CHANGING >= APPLY_SECONDS


def test_a_wait_has_an_end() -> None:
    together = Together({"gate": ["pc"]})
    assert together.missing(["pc"], Stage.READ, 0.01) == ["pc"]


def test_a_host_behind_is_heard_at_a_former_address(tmp_path: Path) -> None:
    with loopback_sshd(tmp_path) as server:
        # Nothing listens at its new address, 127.0.0.2.
        moved = {"name": "moved", "address": "127.0.0.2", "port": server.port}
        gone = {"name": "gone", "address": "127.0.0.1", "port": free_port(), "also": ["127.0.0.2"]}
        assert answering([moved, gone], 10) == []  # type: ignore[list-item]
        also = {**moved, "also": ["127.0.0.1"]}
        assert answering([also, gone], 10) == [also]  # type: ignore[list-item]


def test_nobody_dials_a_former_address_of_a_host_that_answers(tmp_path: Path) -> None:
    with loopback_sshd(tmp_path) as server, socket.create_server(("127.0.0.3", server.port)) as former:
        there = {"name": "there", "address": "127.0.0.1", "port": server.port, "also": ["127.0.0.3"]}
        assert answering([there], LONG) == [there]  # type: ignore[list-item]
        former.setblocking(False)
        with pytest.raises(BlockingIOError):
            former.accept()


def test_an_attempt_through_a_jump_host_may_last_as_long_as_the_login_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loopback_sshd(tmp_path) as server:
        # No login is as fast as this.
        monkeypatch.setattr(behind, "_TRY_SECONDS", 1e-6)
        login = {"name": "gate", "host": "127.0.0.1", "port": server.port, "username": server.user}
        there = {"name": "there", "address": "127.0.0.1", "port": server.port, "jump": server.extras(**login)}
        assert answering([there], LONG) == [there]  # type: ignore[list-item]
        # Without one the attempt is as short as ever.
        del there["jump"]
        assert answering([there], LONG) == []  # type: ignore[list-item]


def no_login() -> Transport:
    raise AssertionError("nobody logs in here")


def guard_of(host: str, together: Together) -> TogetherGuard:
    token = GuardToken("run-both", "labrun", 60, 180)
    session: Transport = object()  # type: ignore[assignment]
    return TogetherGuard(token, session, no_login, no_login, host=host, together=together)


def seen(host: str, section: str = "nmcli") -> Seen:
    return Seen(HostPlan(host, (SectionPlan(section, apply="true", undo="true"),)), Facts())


def test_the_host_in_between_changes_with_its_router_though_nobody_behind_it_does() -> None:
    together = Together({"gate": ["inner", "far"], "inner": ["far"]})
    together.end("far")
    gate, inner = guard_of("gate", together), guard_of("inner", together)
    with ThreadPoolExecutor(2) as pool:
        armed = pool.submit(gate.first, seen("gate"))
        assert "run-both" in inner.first(seen("inner"))
        assert not armed.done()
        assert inner.refusal(Facts()) is None
        assert "run-both" in armed.result(LONG)


def test_a_router_does_not_try_again_alone() -> None:
    together = Together({"gate": ["pc"]})
    # Its NICs stay as they are: it changes by itself.
    assert "run-both" in guard_of("pc", together).first(seen("pc", "sshd"))
    with pytest.raises(AloneError):
        guard_of("gate", together).first(seen("gate"))


def test_a_router_stays_as_it_is_if_one_behind_it_could_not_change() -> None:
    together = Together({"gate": ["pc"]})
    together.reach("pc", Stage.READ)
    together.end("pc")
    with pytest.raises(CommandError, match=r"^pc, which must change at the same time, did not$"):
        guard_of("gate", together).first(seen("gate"))
