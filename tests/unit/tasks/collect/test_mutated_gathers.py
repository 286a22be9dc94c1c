"""One host's words cannot end a run, change the others' rows, fill the memory or take the time."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest

from labrun.outcome import Outcome, Status
from labrun.tasks.collect.capture import Unreachable
from labrun.tasks.collect.judge import judge
from labrun.tasks.configure.resources import row_names
from labrun.tasks.guest.facts.applied import PATH
from tests.shares import every
from tests.unit.mutated_gathers import (
    CASES,
    HOSTS,
    KINDS,
    LARGE,
    Gather,
    gather_of,
    judged,
    measured,
    mutated,
    three,
)
from tests.unit.tasks.collect.test_judge import line

# What Python says of its own troubles, which no row may show.
_PYTHON = re.compile(
    r"\w(?:Error|Exception)\b|Traceback|'\w+' object|NoneType|not subscriptable|unhashable|codec can't"
    r"|invalid literal|list index|out of range|Expecting value|Extra data|too many values|not enough values"
)
_NAMES = {"r": "router-configured", "a": "host-configured", "c": "host-configured"}
# Most of what is done is not judging: a changed host may take this much more than the others (seconds).
_MOST_SECONDS = 2.0
_IN_CI, _IN_FULL = 48, 6000


def healthy(evil: str, case: str, lab_case: str = "healthy") -> dict[str, Gather]:
    return {name: gather_of(name, case if name == evil else _NAMES[name], lab_case) for name in HOSTS}


@cache
def expected(evil: str, case: str, lab_case: str) -> dict[str, list[Outcome]]:
    return judged(healthy(evil, case, lab_case))


def keys(rows: list[Outcome], host: str) -> set[tuple[str, str]]:
    return {(row.section, row.name) for row in rows if row.host == host}


def look(seed: int) -> None:
    """Change one host's gather by this seed, and compare every row."""
    evil = HOSTS[seed % 3]
    case = CASES[seed // 3 % len(CASES)] if seed % 2 else _NAMES[evil]
    # In every fourth nothing gets from one host to the other, so that each is asked for its reasons.
    lab_case = "forwarding-off" if seed % 4 == 3 else "healthy"
    before = expected(evil, case, lab_case)
    hosts = healthy(evil, case, lab_case)
    hosts[evil] = mutated(hosts[evil], seed)
    began = time.process_time()
    after = judged(hosts)
    spent = time.process_time() - began
    assert spent < _MOST_SECONDS, f"seed {seed}: {spent:.2f} s"
    for command, rows in after.items():
        where = f"seed {seed}, {command} of {evil}"
        for other in (name for name in HOSTS if name != evil):
            told = [known(row, evil, lab_case) for row in rows if row.host == other]
            assert told == [known(row, evil, lab_case) for row in before[command] if row.host == other], where
        missing = declared(command, evil, hosts[evil]) - keys(rows, evil)
        assert not missing, f"{where}: no row of {missing}"
        for row in rows:
            said = " ".join(filter(None, (row.actual, row.why, row.expected)))
            assert not _PYTHON.search(said), f"{where}: {line(row)[:400]}"
            assert "make sense of" not in said, f"{where}: {line(row)[:400]}"
            json.dumps(row.as_json(), ensure_ascii=False).encode("utf-8")


def known(row: Outcome, evil: str, lab_case: str) -> tuple[str | None, ...]:
    """Return what of another host's row cannot follow from what the changed one shows.

    Where packets are lost, the reason is looked for on it; and how it is itself is for it to say.
    """
    facts = (row.section, row.name, row.status.value, row.expected, row.actual, row.why)
    if lab_case == "healthy":
        return facts
    own = row.section == "path" and row.name.endswith(f"-> {evil}")
    return facts[:2] if own else (*facts[:5], None if row.section == "path" else row.why)


def declared(command: str, host: str, gather: Gather) -> set[tuple[str, str]]:
    """Return the rows that a host has whatever it shows: those of one that shows nothing."""
    settings = set(row_names(gather.configure))
    if command == "configure":
        return settings
    network = keys(judge(three(), {host: Unreachable("silent")}, settings=command == "verify"), host)
    return network | (settings if command == "drift" else set())


def test_the_recorded_hosts_are_well() -> None:
    """Else nothing is shown by the others' rows staying as they are."""
    for command, rows in expected("r", _NAMES["r"], "healthy").items():
        bad = {(row.section, row.status) for row in rows if row.status is not Status.OK}
        # The recorded profiles are of another lab than the recorded routes.
        assert bad == ({("nmcli", Status.DRIFTED)} if command == "drift" else set()), command
        assert {row.host for row in rows} == set(HOSTS)
    lost = expected("r", _NAMES["r"], "forwarding-off")["verify"]
    assert [row.why for row in lost if row.name == "a -> c"] == ["r: net.ipv4.ip_forward is 0"]


@pytest.mark.parametrize("block", every(2, range(8)))
def test_no_change_of_one_host_s_words_shows_in_another_s_rows(block: int) -> None:
    for seed in range(block, _IN_CI, 8):
        look(seed)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_nor_do_many_more_changes() -> None:
    for seed in range(_IN_CI, _IN_FULL):
        look(seed)


def test_every_kind_of_change_changes_something() -> None:
    gather = gather_of("r", _NAMES["r"])
    changed = [mutated(gather, seed) for seed in range(100)]
    assert sum(each != gather for each in changed) > 80
    assert len(KINDS) == 8


@cache
def alone(kind: str, place: str) -> Mapping[str, object]:
    """Judge in a process of its own, whose memory can be measured."""
    processes = get_context("forkserver")
    # What a run has loaded, once for all of them.
    processes.set_forkserver_preload([measured.__module__, "labrun.tasks.guest.ssh_login"])
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=told, args=(theirs, kind, place))
    process.start()
    theirs.close()
    assert ours.poll(60), "it takes too long"
    found: dict[str, object] = ours.recv()
    process.join(10)
    return found


def told(answers: Connection, kind: str, place: str) -> None:
    answers.send(measured(kind, place))


FILES = [
    "/etc/sysctl.d/90-labrun.conf",
    "/etc/ssh/sshd_config",
    "/etc/ssh/sshd_config.d/00-labrun.conf",
    "/etc/NetworkManager/system-connections/labrun-n1.nmconnection",
    PATH,
]
ANSWERS = ["link", "nm", "route4", "sshd", "nft-after", "neighbours", "trace 0", "log"]
PLACES = [
    # Each with what fits it, and all with what fits none.
    *(("rules", "nft-after"), ("journal", "log"), ("same lines", FILES[0]), ("patterns", FILES[0])),
    *(("settings", FILES[2]), ("sections", FILES[3]), ("lines", "neighbours"), ("blanks", FILES[0])),
    *((kind, "link") for kind in ("newlines", "objects", "list", "words", "wide", "frames")),
]
MORE_PLACES = [(kind, place) for place in (*FILES, *ANSWERS) for kind in LARGE if (kind, place) not in PLACES]


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        *PLACES[::2],
        *(pytest.param(*each, marks=pytest.mark.full) for each in (*PLACES[1::2], *MORE_PLACES)),
    ],
    ids=lambda each: each.rpartition("/")[2],
)
def test_the_most_that_comes_through_stays_small_and_quick(kind: str, place: str) -> None:
    found, healthy = alone(kind, place), alone("nothing", "")
    assert found["others"] == healthy["others"]
    assert int(str(found["kib"])) < 150 * 1024
    assert float(str(found["seconds"])) < 2 * float(str(healthy["seconds"])) + _MOST_SECONDS


def test_each_kind_of_too_much_is_put_somewhere() -> None:
    assert {kind for kind, _ in PLACES} == set(LARGE)
