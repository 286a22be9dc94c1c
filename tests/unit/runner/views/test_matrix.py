"""Who reaches whom: marks, widths, both IP versions."""

from __future__ import annotations

import json

from labrun.outcome import Family, Outcome, Pair, Status
from labrun.runner.views.matrix import as_json, matrices, path_of, text
from tests.unit.verify_cases import captured


def path(source: str, target: str, status: Status, actual: str | None, family: Family = 4) -> Outcome:
    about = Pair(source, target, family)
    return Outcome(source, "path", f"{source} -> {target}", status, "x", actual, subject=about)


def test_the_broken_lab() -> None:
    case = captured("broken")
    assert text(matrices(list(case.lab.hosts), case.rows)) == (
        "from \\ to  1  2  3  4  5\n"
        "1 host00      1  1  1  !\n"
        "2 host01   1     1  x  x\n"
        "3 host02   1  1     x  x\n"
        "4 host03   1  x  x     !\n"
        "5 host04   !  !  !  !\n"
        "\n"
        "1 reached directly   x failed   ! an end is unreachable\n"
    )


def test_the_healthy_lab_says_how_many_hops() -> None:
    case = captured("ok")
    assert text(matrices(list(case.lab.hosts), case.rows)) == (
        "from \\ to  1  2  3  4  5\n"
        "1 host00      1  1  1  1\n"
        "2 host01   1     1  2  2\n"
        "3 host02   1  1     2  2\n"
        "4 host03   1  2  2     1\n"
        "5 host04   1  2  2  1\n"
        "\n"
        "1 reached directly   2 3 .. through one router, two routers, ..\n"
    )


def test_every_mark_is_explained() -> None:
    rows = [
        path("a", "b", Status.OK, "unreachable"),
        path("a", "c", Status.UNKNOWN, "*"),
        path("a", "d", Status.SKIPPED, None),
        path("a", "e", Status.OK, "* 10.0.0.1 10.0.1.1"),
        path("b", "a", Status.FAILED, "*"),
    ]
    shown = text(matrices("abcde", rows)).splitlines()
    assert shown[1].split() == ["1", "a", ".", "?", "-", "3"]
    assert shown[2].split() == ["2", "b", "x", "-", "-", "-"]
    legend = " ".join(shown[4:])
    for mark in (". not reached, as the lab file declares", "? inconclusive", "- not checked", "x failed"):
        assert mark in legend


def test_both_versions_have_a_matrix_each() -> None:
    rows = [
        path("a", "b", Status.OK, "10.0.0.1"),
        path("a", "b", Status.FAILED, "*", 6),
    ]
    four, six = matrices("ab", rows)
    assert (four.version, four.mark("a", "b")) == (4, "1")
    assert (six.version, six.mark("a", "b")) == (6, "x")
    assert "from \\ to (IPv6)" in text([four, six])


def test_only_hosts_that_were_asked_are_rows() -> None:
    (found,) = matrices("abc", [path("b", "a", Status.OK, "10.0.0.1")])
    assert found.sources == ("b",)


def test_many_hosts_with_long_names_stay_within_80_columns() -> None:
    hosts = [f"host-with-a-very-long-name-{number}" for number in range(120)]
    rows = [path(a, b, Status.OK, "10.0.0.1 10.0.0.2") for a in hosts for b in hosts if a != b]
    shown = text(matrices(hosts, rows))
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("2 ") >= 120 * 119 * 0.9


def test_json_has_every_pair_once() -> None:
    case = captured("broken")
    (found,) = json.loads(json.dumps(as_json(matrices(list(case.lab.hosts), case.rows))))
    assert (found["version"], found["hosts"]) == (4, list(case.lab.hosts))
    assert len(found["pairs"]) == 20
    assert {"from": "host01", "to": "host03", "status": "failed", "hops": None} in found["pairs"]
    assert {"from": "host00", "to": "host01", "status": "ok", "hops": 1} in found["pairs"]


def test_a_pair_that_has_ipv6_alone_stands_in_the_first() -> None:
    rows = [path("a", "b", Status.OK, "10.0.0.1"), path("a", "c", Status.FAILED, "*", 6)]
    (found,) = matrices("abc", rows)
    assert (found.version, found.mark("a", "b"), found.mark("a", "c")) == (4, "1", "x")


def test_paths_are_told_by_what_they_are_about_and_not_by_their_names() -> None:
    assert path_of(path("a", "b", Status.OK, "x", 6)) == Pair("a", "b", 6)
    assert path_of(Outcome("a", "check", "a -> b", Status.OK, subject=Pair("a", "b", 4))) is None
    assert path_of(Outcome("a", "path", "a -> b", Status.OK)) is None
