"""The screen of `verify` and `drift`: what matters stands last, on 80x24, however large the lab is."""

from __future__ import annotations

import io
from typing import Any

import pytest

from labrun.inventory.file.load import load_lab
from labrun.outcome import Fault, Outcome, Pair, Status
from labrun.runner.cli.scene import Scene
from labrun.runner.commands.verify.offline import offline_rows
from labrun.runner.views.shown import shown
from tests.unit.verify_cases import captured

FORWARD = "net.ipv4.ip_forward"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def screen(name: str = "broken", stream: io.StringIO | None = None, **settings: Any) -> list[str]:
    case = captured(name)
    scene = Scene("captured", tuple(case.lab.hosts), len(case.lab.networks), "lxc:///system", next="labrun x")
    given: dict[str, Any] = {"width": 80, "height": 24, "seconds": 2.71, "color": False, **settings}
    return shown(scene, case.rows, stream=stream or io.StringIO(), **given).splitlines()


def test_a_healthy_lab_is_two_lines() -> None:
    assert screen("ok") == [
        "captured · 5 hosts, 2 networks · lxc:///system",
        "104 ok, 1 skipped in 2.7 s  (5 hosts: addresses 6, routes 10, paths 20, settings",
        "68, checks 1)",
    ]


def test_a_first_line_stands_first_however_much_is_shown() -> None:
    """As `plan` says which hypervisor, and why."""
    case = captured("ok")
    why = "hypervisor: lxc:///system (KVM does not work here)"
    scene = Scene("captured", tuple(case.lab.hosts), 2, "lxc:///system", changes=True, first=why)
    for verbosity in (0, 1):
        text = shown(
            scene,
            case.rows,
            stream=io.StringIO(),
            width=80,
            height=24,
            seconds=1.0,
            color=False,
            verbosity=verbosity,
        )
        assert text.splitlines()[:2] == [why, ""]
    text = shown(scene, case.rows, stream=io.StringIO(), width=80, seconds=1.0, color=False, verbosity=-1)
    assert why not in text


def test_causes_come_last_and_the_worst_at_the_end() -> None:
    lines = screen()
    assert lines[0] == "captured · 5 hosts, 2 networks · lxc:///system"
    assert lines[2:8] == [
        "        address  route     path      settings    check   to: 0 1 2 3 4",
        "host00  2        2         1 of 4 !  1 of 16 x   -             . . . !",
        "host01  1        2         2 of 4 x  13          -           .   . x x",
        "host02  1        2         2 of 4 x  13          -           . .   x x",
        "host03  1        2         3 of 4 x  13          -           . x x   !",
        "host04  !        2 of 2 !  4 of 4 !  13 of 13 !  -           ! ! ! !",
    ]
    assert lines[9:] == [
        "2 causes",
        "! host04: the machine is shut off: `labrun up` starts it",
        "    breaks    path host00 -> host04, path host03 -> host04",
        "    labrun    labrun up --hosts host04",
        f"x host00: {FORWARD} is 0, expected 1",
        "    breaks    6 paths",
        "    by hand   labrun configure --hosts host00 --dry-run --explain",
        "    labrun    labrun configure --hosts host00",
        "",
        "75 ok, 1 skipped, 7 failed, 22 unreachable in 2.7 s · every row: -v",
    ]


@pytest.mark.parametrize("height", [24, 18, 14])
def test_it_fits_the_height_and_keeps_the_worst(height: int) -> None:
    lines = screen(height=height)
    assert len(lines) <= height
    assert any(line.startswith(f"x host00: {FORWARD}") for line in lines)


def test_quiet_keeps_failures_and_counts_and_more_quiet_nothing() -> None:
    assert screen("ok", verbosity=-1) == screen("ok")[1:]
    lines = screen(verbosity=-1)
    assert (lines[0], lines[-1]) == ("2 causes", "75 ok, 1 skipped, 7 failed, 22 unreachable in 2.7 s")
    assert screen(verbosity=-2) == []


def test_what_was_asked_for_stays_with_quiet() -> None:
    assert screen("ok", verbosity=-1, asked="the matrix\n")[0] == "the matrix"
    assert "the matrix" not in screen("ok", verbosity=-2, asked="the matrix\n")


def test_every_row_comes_with_v_and_the_causes_still_last() -> None:
    lines = screen(verbosity=1, notes=["a note"])
    assert sum(line.split()[-1:] == ["ok"] for line in lines) == 75
    assert "a note" in lines
    assert lines[-1] == "75 ok, 1 skipped, 7 failed, 22 unreachable in 2.7 s"
    assert lines[-6].startswith("x host00: ")


def test_the_next_step_is_for_a_terminal() -> None:
    assert screen("ok", Terminal())[-1] == "next: labrun x"
    assert screen("ok", Terminal(), verbosity=-1)[-1] != "next: labrun x"
    assert not any("next:" in line for line in screen("ok"))


def test_a_terminal_that_knows_only_ascii_gets_no_other_letters() -> None:
    class Plain(io.StringIO):
        encoding = "ascii"

    for verbosity in (0, 1):
        text = "\n".join(screen(stream=Plain(), verbosity=verbosity))
        assert text.isascii()
    assert screen("ok", Plain())[0] == "captured - 5 hosts, 2 networks - lxc:///system"


def test_counts_are_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[1;31mx\x1b[0m" in "\n".join(screen(stream=Terminal(), color=True))
    assert "\x1b" not in "\n".join(screen(color=True))


LAB = """\
name: large
networks:
{networks}
hosts:
  r: {{role: router, networks: {{{nics}}}}}
{hosts}
"""


def large(count: int) -> tuple[tuple[str, ...], list[Outcome]]:
    """Return a lab of so many hosts in ten networks, and its expected rows, all of them ok."""
    nets = "".join(f"  n{number}: {{cidr: 10.9.{number}.0/24, mode: isolated}}\n" for number in range(10))
    nics = ", ".join(f"n{number}: 10.9.{number}.254" for number in range(10))
    hosts = "".join(
        f"  host{number:03d}: {{networks: {{n{number % 10}: 10.9.{number % 10}.{10 + number // 10}}}}}\n"
        for number in range(count - 1)
    )
    text = LAB.format(networks=nets.rstrip("\n"), nics=nics, hosts=hosts.rstrip("\n"))
    lab = load_lab("-", stdin=io.StringIO(text))
    rows = offline_rows(lab)
    return tuple(lab.hosts), [
        Outcome(row.host, row.section, row.name, Status.OK, row.expected, row.expected, subject=row.subject)
        for row in rows
    ]


@pytest.fixture(scope="module")
def three_hundred() -> tuple[tuple[str, ...], list[Outcome]]:
    return large(300)


def broken(rows: list[Outcome], kinds: int) -> list[Outcome]:
    """Return the rows with the router not forwarding, and ``kinds`` further faults of their own."""
    fault = Fault("r", f"{FORWARD} is 0", "sysctl", FORWARD)
    found = []
    for row in rows:
        far = isinstance(row.subject, Pair) and "r" not in (row.subject.source, row.subject.target)
        is_router = (row.host, row.section, row.name) == ("r", "sysctl", FORWARD)
        number = int(row.host[4:]) if row.host != "r" else kinds
        is_own = row.section == "address" and number < kinds
        bad = far or is_router or is_own
        found.append(
            Outcome(
                *(row.host, row.section, row.name, Status.FAILED if bad else row.status, row.expected),
                f"fault {number}" if is_own else row.actual,
                subject=row.subject,
                fault=fault if far else None,
            )
        )
    return found


@pytest.mark.parametrize("kinds", [0, 3, 60])
@pytest.mark.parametrize("width", [80, 120])
def test_three_hundred_hosts_are_one_screen(
    three_hundred: tuple[tuple[str, ...], list[Outcome]], kinds: int, width: int
) -> None:
    hosts, rows = three_hundred
    bad = broken(rows, kinds)
    text = shown(Scene("large", hosts, 10), bad, stream=io.StringIO(), width=width, height=24, seconds=9.0)
    lines = text.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= width
    worst = max(number for number, line in enumerate(lines) if line.startswith(("x ", "! ", "? ")))
    assert lines[worst].startswith(f"x r: {FORWARD}"), "what breaks most stands last"
    assert lines[-1].startswith(f"{sum(row.status is Status.OK for row in bad)} ok, ")
    if kinds == 60:
        assert any("the worst" in line and "of them" in line for line in lines)


def test_three_hundred_healthy_hosts_are_two_lines(
    three_hundred: tuple[tuple[str, ...], list[Outcome]],
) -> None:
    hosts, rows = three_hundred
    text = shown(Scene("large", hosts, 10), rows, stream=io.StringIO(), width=120, seconds=9.0)
    assert len(text.splitlines()) == 2
