"""What is written where: by the option, or by the ending of the file's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.command_line import run_labrun

LAB = """\
name: demo
networks: {net1: {mode: isolated, cidr: 10.1.0.0/24}}
hosts:
  web: {address: 192.0.2.7, ssh: {user: lab}}
"""
HINT = (
    "hint: name --format, or end the name with .svg (svg), .mmd (mermaid), .dot (dot), .gv (dot),"
    " .drawio (drawio), .txt (ascii)\n"
)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "lab.yaml").write_text(LAB)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("lab.svg", "<svg"),
        ("lab.mmd", "%% demo"),
        ("lab.GV", "graph "),
        ("lab.drawio", "<mxfile"),
        ("lab", ""),
    ],
)
def test_a_diagram_has_the_format_of_its_ending(lab: Path, name: str, begins: str) -> None:
    done = run_labrun("graph", "-o", name, cwd=lab)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {name}\n", "")
    text = (lab / name).read_text()
    assert text.startswith(begins)
    if name == "lab":
        assert text == run_labrun("graph", cwd=lab).stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ("graph", "--format", "dot", "-o", "lab.svg"),
            (
                "error: --output: lab.svg would be svg by its ending, but --format is dot\n"
                "hint: leave out --format, or choose another name\n"
            ),
        ),
        (("graph", "-o", "lab.png"), f"error: --output: lab.png: the ending .png says no format\n{HINT}"),
        (
            ("schema", "-o", "schema.yaml"),
            (
                "error: --output: schema.yaml: the ending .yaml says no format\n"
                "hint: end the name with .json (json)\n"
            ),
        ),
        (
            ("inventory", "--format", "ansible", "-o", "x.json"),
            (
                "error: --output: x.json would be json by its ending, but --format is ansible\n"
                "hint: leave out --format, or choose another name\n"
            ),
        ),
        (("inventory", "-o", "folder"), "error: --output: folder: json needs a file, and this is a folder\n"),
        (
            ("inventory", "--format", "nornir", "-o", "lab.yaml"),
            (
                "error: --output: lab.yaml would be ansible by its ending, but --format is nornir\n"
                "hint: leave out --format, or choose another name\n"
            ),
        ),
        (
            ("inventory", "--format", "nornir", "-o", "file"),
            "error: --output: file: nornir needs a folder\n",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_and_nothing_written(
    lab: Path, args: tuple[str, ...], said: str
) -> None:
    (lab / "folder").mkdir()
    (lab / "file").touch()
    before = sorted(path.name for path in lab.iterdir())
    done = run_labrun(*args, cwd=lab)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert sorted(path.name for path in lab.iterdir()) == before


def test_an_option_decides_where_the_ending_says_nothing(lab: Path) -> None:
    assert run_labrun("graph", "--format", "dot", "-o", "lab.picture", cwd=lab).returncode == 0
    assert (lab / "lab.picture").read_text().startswith("graph ")
    assert run_labrun("graph", "-o", "-", "--format", "dot", cwd=lab).stdout.startswith("graph ")


def test_an_inventory_has_the_format_of_its_ending(lab: Path) -> None:
    for name, format_ in (("x.json", "json"), ("x.yml", "ansible"), ("ssh.conf", "ssh-config")):
        done = run_labrun("inventory", "-o", name, cwd=lab)
        assert (done.returncode, done.stdout) == (0, f"wrote {name}\n"), done.stderr
        assert (lab / name).read_text() == run_labrun("inventory", "--format", format_, cwd=lab).stdout
    assert run_labrun("inventory", "--format", "nornir", "-o", "new", cwd=lab).returncode == 0
    assert (lab / "new" / "hosts.yaml").is_file()


def test_the_schema_goes_to_a_file(lab: Path) -> None:
    done = run_labrun("schema", "-o", "lab.schema.json", cwd=lab)
    assert (done.returncode, done.stdout) == (0, "wrote lab.schema.json\n")
    written = (lab / "lab.schema.json").read_text()
    assert written == run_labrun("schema", cwd=lab).stdout
    assert json.loads(written)["type"] == "object"


def test_reports_and_histories_have_the_short_option_too(lab: Path) -> None:
    assert run_labrun("report", "-o", "lab.html", cwd=lab).stdout == "wrote lab.html\n"
    assert run_labrun("history", "-o", "runs.jsonl", cwd=lab).stdout == "wrote 0 runs to runs.jsonl\n"
