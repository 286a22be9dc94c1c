"""Annotations of GitHub Actions: a cause each, at the line that it is about, and nothing a guest can add."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labrun.errors import HypervisorError, LabFileError, Problem
from labrun.outcome import HYPERVISOR, Outcome, Pair, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.views.github import Places, places_of, shielded, workflow_commands
from tests import places

LAB = """\
name: demo
networks:
  left: {cidr: 10.40.1.0/24}
hosts:
  gate:
    networks: {left: 10.40.1.254}
    sysctl:
      net.ipv4.ip_forward: 1
  one:
    networks:
      left: 10.40.1.10
checks:
  - {name: web, from: one, to: gate, tcp: 80}
"""


@pytest.fixture
def demo(tmp_path: Path) -> Places:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    return places_of(
        Invocation("verify", lab=str(tmp_path / "lab.yaml")), {"GITHUB_WORKSPACE": str(tmp_path)}
    )


def row(host: str, section: str, name: str, status: Status = Status.FAILED, **others: str) -> Outcome:
    values = {"expected": "1", "actual": "0", "why": None, **others}
    return Outcome(host, section, name, status, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (row("gate", "sysctl", "net.ipv4.ip_forward"), 8),
        (row("gate", "sysctl", "net.ipv4.conf.all.rp_filter"), 7),
        (row("one", "address", "left"), 11),
        (row("one", "path", "one -> gate"), 9),
        (row("one", "check", "web"), 13),
        (row("one", "check", "derived from the firewall"), 9),
        (row(HYPERVISOR, "network", "left"), 3),
    ],
)
def test_a_row_is_at_the_line_that_it_is_about(demo: Places, outcome: Outcome, line: int) -> None:
    (text,) = workflow_commands(Report("demo", [outcome]), "verify", demo).splitlines()
    assert text.startswith(f"::error file=lab.yaml,line={line},title=labrun verify%3A ")


def test_a_row_says_what_was_expected_and_why_it_is_not() -> None:
    rows = [row("one", "path", "one -> gate", why="gate: it is off")]
    assert workflow_commands(Report("demo", rows), "verify", Places()) == (
        "::error title=labrun verify%3A one path one -> gate failed::gate: it is off%0Aexpected 1, got 0\n"
    )


def test_a_cause_is_one_annotation_at_the_host_at_fault(demo: Places) -> None:
    rows = [
        Outcome(
            "one",
            "path",
            f"one -> h{number}",
            Status.FAILED,
            why="gate: net.ipv4.ip_forward is 0",
            subject=Pair("one", f"h{number}", 4),
            blamed="gate",
        )
        for number in range(7)
    ]
    assert workflow_commands(Report("demo", rows), "verify", demo) == (
        "::error file=lab.yaml,line=5,title=labrun verify%3A 7 rows failed::gate: net.ipv4.ip_forward is 0"
        "%0Aone path -> h0%0Aone path -> h1%0Aone path -> h2%0Aone path -> h3%0Aone path -> h4%0Aand 2 more\n"
    )


@pytest.mark.parametrize(
    ("status", "level"),
    [
        (Status.OK, None),
        (Status.CHANGED, None),
        (Status.SKIPPED, None),
        (Status.WARNING, "warning"),
        (Status.WOULD_CHANGE, "warning"),
        (Status.PENDING, "warning"),
        (Status.DRIFTED, "warning"),
        (Status.CONFLICT, "warning"),
        (Status.FAILED, "error"),
        (Status.ROLLED_BACK, "error"),
        (Status.UNREACHABLE, "error"),
        (Status.UNKNOWN, "error"),
    ],
)
def test_each_status_has_its_level(status: Status, level: str | None) -> None:
    text = workflow_commands(Report("demo", [row("one", "sysctl", "a.b", status)]), "drift", Places())
    assert re.findall(r"^::(\w+) ", text) == ([level] if level else [])


def test_each_problem_of_the_lab_file_is_at_its_line(tmp_path: Path) -> None:
    problems = (
        Problem(3, "networks.left", "50% of it, or: more"),
        Problem(9, "hosts.one.ram", "unknown key", "did you mean"),
    )
    error = LabFileError(str(tmp_path / "labs" / "a,b.yaml"), problems)
    text = workflow_commands(Report(error=error), "validate", Places(), {"GITHUB_WORKSPACE": str(tmp_path)})
    assert text.splitlines() == [
        "::error file=labs/a%2Cb.yaml,line=3,title=lab file::networks.left: 50%25 of it, or: more",
        "::error file=labs/a%2Cb.yaml,line=9,title=lab file::hosts.one.ram: unknown key (did you mean)",
    ]


def test_standard_input_is_no_file() -> None:
    error = LabFileError("<stdin>", (Problem(1, "", "the file is empty"),))
    assert workflow_commands(Report(error=error), "validate", Places()) == (
        "::error title=lab file::the file is empty\n"
    )
    assert places_of(Invocation("validate", lab="-")) == Places()


def test_an_error_has_its_remedy() -> None:
    error = HypervisorError("cannot open qemu:///system", step="libvirt", hint="start it")
    assert workflow_commands(Report(error=error), "up", Places()) == (
        "::error title=labrun up::libvirt: cannot open qemu:///system%0Astart it\n"
    )


def test_a_guest_gives_the_runner_no_orders() -> None:
    hostile = "x\n::set-output name=a::b\r\n::error::\x1b[31m"
    text = workflow_commands(Report("demo", [row("one", "check", hostile, why=hostile)]), "verify", Places())
    assert text.count("\n") == 1
    assert "\x1b" not in text
    log = shielded(f"host\n{hostile}\n")
    first, *between, last = log.splitlines()
    token = first.removeprefix("::stop-commands::")
    assert re.fullmatch(r"labrun-[0-9a-f]{16}", token)
    assert last == f"::{token}::"
    assert token not in "".join(between)
    assert shielded("x").splitlines()[0] != shielded("x").splitlines()[0]


def test_without_a_lab_file_there_are_no_places(tmp_path: Path) -> None:
    assert places_of(Invocation("list", lab=str(tmp_path / "none.yaml"))) == Places()


def test_the_examples_have_all_their_lines() -> None:
    found = places_of(Invocation("verify", lab=str(places.EXAMPLES / "kvm-network-lab.yaml")), {})
    lines = (places.EXAMPLES / "kvm-network-lab.yaml").read_text(encoding="utf-8").splitlines()
    place = found.of(row("host03", "path", "host03 -> host01"))
    assert lines[int(place["line"]) - 1].strip().startswith("host03:")
