"""Canary, batches, redundancy groups and --max-fail as pure rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrun.errors import UsageError
from labrun.runner.engine.rollout import Agenda, MaxFail, Rollout, batches, next_host, ordered, parse_max_fail
from tests.unit.command_line import run_labrun

HOSTS = [f"h{number}" for number in range(12)]


def test_batches_double() -> None:
    assert [len(batch) for batch in batches(HOSTS, 1)] == [1, 2, 4, 5]
    assert [len(batch) for batch in batches(HOSTS, 3)] == [3, 6, 3]
    assert batches(HOSTS, 20) == (tuple(HOSTS),)
    assert batches(HOSTS, None) == (tuple(HOSTS),)
    assert batches([], 1) == batches([], None) == ()


@given(st.integers(0, 200), st.integers(1, 50))
def test_every_host_is_in_one_batch_in_its_order(count: int, canary: int) -> None:
    names = [str(number) for number in range(count)]
    assert [name for batch in batches(names, canary) for name in batch] == names


def test_the_next_host_is_the_first_whose_group_is_free() -> None:
    groups = {"h0": "edge", "h1": "edge", "h3": "core"}
    assert next_host(HOSTS, groups, set()) == "h0"
    assert next_host(HOSTS[1:], groups, {"edge"}) == "h2"
    assert next_host(["h1", "h3"], groups, {"edge", "core"}) is None
    assert next_host([], groups, set()) is None


def test_hosts_come_after_those_that_lead_to_them() -> None:
    jumps = {"end": ("gate", "inner")}
    routers = {"inner": ["gate"], "end": ["gate", "router"], "gate": ["router"], "alone": []}
    assert ordered(jumps, routers) == {
        "end": ("gate", "inner", "router"),
        "inner": ("gate",),
        "gate": ("router",),
    }


def test_nobody_comes_after_itself() -> None:
    assert ordered({"a": ["a"]}) == {}
    assert ordered({"a": ["b"]}, {"b": ["a"]}) == {"a": ("b",)}
    assert ordered({"a": ["b"], "b": ["c"], "c": ["a", "d"]}) == {"a": ("b",), "b": ("c",), "c": ("d",)}


@given(
    st.dictionaries(st.sampled_from(HOSTS), st.lists(st.sampled_from(HOSTS), max_size=6)),
    st.randoms(use_true_random=False),
)
def test_an_agenda_gets_through_whoever_leads_to_whom(wish: dict[str, list[str]], dice: object) -> None:
    after = ordered(wish)
    agenda = Agenda(HOSTS, Rollout(after=after))
    running: list[str] = []
    done: list[str] = []
    while agenda.waiting or running:
        while (name := agenda.begin()) is not None:
            assert set(after.get(name, ())) <= set(done)
            running.append(name)
        assert running, "somebody waits and nobody works"
        done.append(running.pop(dice.randrange(len(running))))  # type: ignore[attr-defined]
        agenda.end(done[-1], well=True)
    assert sorted(done) == sorted(HOSTS)


@given(
    st.integers(1, 6) | st.none(),
    st.lists(st.sampled_from([None, "edge", "core"]), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
    st.integers(1, 5),
)
def test_an_agenda_gets_through_and_never_has_two_of_a_group(
    canary: int | None, words: list[str | None], dice: object, workers: int
) -> None:
    names = HOSTS[: len(words)]
    groups = {name: word for name, word in zip(names, words, strict=True) if word is not None}
    agenda = Agenda(names, Rollout(canary, None, groups))
    running: list[str] = []
    done: list[str] = []
    while agenda.waiting or running:
        while len(running) < workers and (name := agenda.begin()) is not None:
            running.append(name)
        assert running, "somebody waits and nobody works"
        busy = [groups[name] for name in running if name in groups]
        assert len(busy) == len(set(busy))
        ended = running.pop(dice.randrange(len(running)))  # type: ignore[attr-defined]
        agenda.end(ended, well=True)
        done.append(ended)
    assert sorted(done) == sorted(names)
    assert agenda.held_back == {}


def test_too_many_failures_hold_back_whoever_has_not_begun() -> None:
    agenda = Agenda(HOSTS, Rollout(None, MaxFail(10, percent=True)))
    for _ in range(3):
        assert agenda.begin() is not None
    agenda.end("h0", well=False)
    assert agenda.held_back == {}
    agenda.end("h1", well=False)
    assert agenda.held_back == dict.fromkeys(HOSTS[3:], "2 hosts failed, and --max-fail is 10%")
    assert (agenda.begin(), agenda.waiting) == (None, [])


def test_who_is_lost_takes_its_group_along_and_nobody_else() -> None:
    agenda = Agenda(HOSTS[:4], Rollout(groups={"h0": "edge", "h2": "edge"}))
    assert [agenda.begin(), agenda.begin()] == ["h0", "h1"]
    agenda.end("h0", well=False, known=False)
    assert agenda.held_back == {"h2": "h0 of its redundancy group edge may still be changing"}
    assert agenda.begin() == "h3"


def test_a_jump_host_ends_before_those_behind_it_begin() -> None:
    after = {"h0": ("h3", "h1"), "h1": ("h3",)}
    agenda = Agenda(HOSTS[:4], Rollout(after=after))
    assert [agenda.begin(), agenda.begin(), agenda.begin()] == ["h2", "h3", None]
    agenda.end("h2", well=True)
    assert agenda.begin() is None
    agenda.end("h3", well=False)
    assert [agenda.begin(), agenda.begin()] == ["h1", None]
    agenda.end("h1", well=True)
    assert agenda.begin() == "h0"


def test_a_jump_host_of_a_later_batch_or_of_no_batch_is_not_waited_for() -> None:
    agenda = Agenda(HOSTS[:3], Rollout(canary=1, after={"h0": ("h2",), "h1": ("h9",)}))
    assert agenda.begin() == "h0"
    agenda.end("h0", well=True)
    assert [agenda.begin(), agenda.begin()] == ["h1", "h2"]


def test_a_share_is_rounded_down() -> None:
    assert [MaxFail(10, percent=True).of(hosts) for hosts in (5, 9, 10, 29)] == [0, 0, 1, 2]
    assert (MaxFail(2).of(1), MaxFail(100, percent=True).of(3)) == (2, 3)
    assert (parse_max_fail("3"), parse_max_fail(" 25% ")) == (MaxFail(3), MaxFail(25, percent=True))


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "%", "1 %", "10%%", "٣", "9" * 10])
def test_what_is_no_number_of_hosts_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_max_fail(text)
    assert str(caught.value) == (
        f"--max-fail: {text!r} is not a number of hosts"
        " (a number of hosts, such as 2, or a share of those selected, such as 10%)"
    )


LAB = """\
name: rules
networks: {left: {cidr: 10.63.9.0/24}}
hosts: {one: {networks: {left: 10.63.9.11}, redundancy: pair}}
"""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--canary", "0"],
            (
                "error: Invalid value for '--canary': 0 is not in the range x>=1\n"
                "hint: labrun configure --help shows its usage\n"
            ),
        ),
        (
            ["--canary", "some"],
            (
                "error: Invalid value for '--canary': 'some' is not a valid integer range\n"
                "hint: labrun configure --help shows its usage\n"
            ),
        ),
        (
            ["--max-fail", "some"],
            (
                "error: --max-fail: 'some' is not a number of hosts\n"
                "hint: a number of hosts, such as 2, or a share of those selected, such as 10%\n"
            ),
        ),
        (
            ["--max-fail", "101%"],
            "error: --max-fail: '101%' is more than all hosts\nhint: at most 100%\n",
        ),
    ],
)
def test_wrong_numbers_are_refused_before_anything_is_done(
    words: list[str], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(LAB, encoding="utf-8")
    answer = run_labrun("--lab", str(path), "configure", *words, cwd=tmp_path)
    assert (answer.returncode, answer.stdout, answer.stderr) == (2, "", message)
