"""Hosts that change together: who was left for a second attempt, and who waits for whom."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from labrun.runner.commands.both_ends import parts
from labrun.tasks.configure.behind import answering
from labrun.tasks.configure.together import Cuts, Stage, Together
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
