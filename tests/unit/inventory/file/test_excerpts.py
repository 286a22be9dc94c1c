"""The line that a problem of the lab file is in, with a mark below what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labrun.errors import LabFileError, Problem
from labrun.inventory.file.excerpts import MOST_EXCERPTS, excerpts
from labrun.inventory.file.load import load_lab
from tests import places
from tests.unit.command_line import run_labrun

CASES = sorted((places.RECORDED / "lab_errors").glob("*.yaml"))
LAB = """\
name: demo
networks:
  lan: {cidr: 10.1.0.0/24}
hosts:
  web: {networks: {lan: 10.2.0.5}, routes: [{to: 10.9.0.0/16, via: nobody}]}
  db:
    memorry: 512
    sysctl: {net.ipv4.ip_forward: [1]}
    networks: {lan: dhcp}
  db: {networks: {lan: 10.1.0.7}}
"""


def marked(text: str, problem: Problem, width: int = 80) -> str | None:
    """Return what is marked of a problem's line, None if nothing is."""
    (shown,) = excerpts(text, [problem], width)
    line, _, mark = shown.partition("\n")
    return line[mark.index("^") : mark.rindex("^") + 1] if mark else None


def problems(tmp_path: Path, text: str) -> LabFileError:
    (tmp_path / "lab.yaml").write_text(text)
    with pytest.raises(LabFileError) as caught:
        load_lab(tmp_path / "lab.yaml")
    return caught.value


def test_the_value_or_the_key_that_is_wrong_is_marked(tmp_path: Path) -> None:
    error = problems(tmp_path, LAB)
    assert error.text == LAB
    assert {problem.path: marked(LAB, problem) for problem in error.problems} == {
        "hosts.web.networks.lan": "10.2.0.5",
        "hosts.web.routes[0].via": "nobody",
        "hosts.db.memorry": "memorry",
        "hosts.db.sysctl.net.ipv4.ip_forward": "net.ipv4.ip_forward",
        "hosts.db": "db",
    }


def test_the_second_of_two_keys_is_marked(tmp_path: Path) -> None:
    duplicate = next(each for each in problems(tmp_path, LAB).problems if each.what == "duplicate key")
    (shown,) = excerpts(LAB, [duplicate])
    assert shown == "    10 |   db: {networks: {lan: 10.1.0.7}}\n       |   ^^"


def test_a_missing_key_is_marked_where_it_is_missing(tmp_path: Path) -> None:
    text = "name: demo\nhosts:\n  web: {address: 192.0.2.1, nat: {forward: [{port: 80}]}}\n"
    for problem in problems(tmp_path, text).problems:
        assert marked(text, problem) in ("forward", "nat")


@pytest.mark.parametrize(("width", "end"), [(40, "…"), (200, "]}")])
def test_a_long_line_is_cut_around_the_mark(width: int, end: str) -> None:
    text = f"x: {{a: [{'1, ' * 30}1], wrong: 2, b: [{'1, ' * 10}1]}}\n"
    (shown,) = excerpts(text, [Problem(1, "x.wrong", "unknown key")], width)
    line, mark = shown.splitlines()
    assert len(line) <= width
    assert line.endswith(end)
    assert line[mark.index("^") : mark.rindex("^") + 1] == "wrong"


def test_tabs_and_text_that_is_no_yaml_do_no_harm() -> None:
    assert marked("a:\t5\n", Problem(1, "a", "is wrong")) == "5"
    (shown,) = excerpts("a: [\n", [Problem(1, "", "a bracket is not closed")])
    assert shown == "     1 | a: ["


def test_a_problem_of_the_file_itself_has_no_line() -> None:
    assert excerpts("", [Problem(0, "", "there is no such file")]) == [""]


def test_more_than_a_screen_of_problems_is_shown_without() -> None:
    many = [Problem(1, f"k{number}", "unknown key") for number in range(MOST_EXCERPTS + 1)]
    assert excerpts("k0: 1\n", many) == [""] * len(many)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.stem))
def test_every_mark_is_below_text_of_its_line(case: Path, tmp_path: Path) -> None:
    text = case.read_text(encoding="utf-8")
    error = problems(tmp_path, text)
    lines = text.splitlines()
    for problem, shown in zip(error.problems, excerpts(text, error.problems, 500), strict=True):
        if shown:
            first, _, mark = shown.partition("\n")
            assert first == f"  {problem.line:>4} | {lines[problem.line - 1]}".replace("\t", " ").rstrip()
            assert not mark or first[mark.index("^") : mark.rindex("^") + 1].strip()


def test_people_see_it_and_programs_do_not(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("name: demo\nhosts: {web: {address: 192.0.2.1, ram: 5}}\n")
    done = run_labrun("validate", "--lab", "lab.yaml", cwd=tmp_path)
    assert done.stderr == (
        'lab.yaml:2: hosts.web.ram: unknown key (labrun calls it "memory")\n'
        "     2 | hosts: {web: {address: 192.0.2.1, ram: 5}}\n"
        "       |                                   ^^^\n"
        "error: lab.yaml has 1 problem\n"
    )
    found = json.loads(run_labrun("validate", "--json", "--lab", "lab.yaml", cwd=tmp_path).stdout)
    assert "^" not in json.dumps(found)
