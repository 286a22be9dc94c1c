"""`labrun graph` and `labrun report` as commands: what they print, write and refuse."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from labrun.errors import HypervisorError
from labrun.inventory.file.load import load_lab
from labrun.runner.cli.invocation import Invocation
from labrun.runner.engine import session
from labrun.runner.views.diagram_input import drawn_lab
from tests.unit import past_runs
from tests.unit.command_line import run_labrun
from tests.unit.verify_cases import CASES, captured

URI = "test:///default"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Write the captured lab as one whose hypervisor is libvirt's own test driver."""
    text = (CASES / "lab.yaml").read_text(encoding="utf-8")
    (tmp_path / "lab.yaml").write_text(f"{text}hypervisor: {URI}\n", encoding="utf-8")
    return tmp_path


def remember(directory: Path, name: str) -> None:
    """Let the lab have been verified."""
    path = directory / "state" / "history" / "captured.sqlite"
    digest = load_lab(directory / "lab.yaml").digest
    past_runs.remember(path, captured(name).rows, lab="captured", digest=digest, uri=URI)


def test_a_lab_without_a_verify_is_drawn(lab: Path) -> None:
    done = run_labrun("--state-dir", "state", "graph", cwd=lab)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("captured\nno verify yet\n\nnetwork1 ")
    assert "impaired" not in done.stdout


def test_the_last_verify_colours_it(lab: Path) -> None:
    remember(lab, "broken")
    done = run_labrun("--state-dir", "state", "graph", cwd=lab)
    assert (done.returncode, done.stderr) == (0, "")
    assert "router, failed" in done.stdout
    assert "host, unreachable" in done.stdout


def test_the_hosts_asked_for_and_their_networks(lab: Path) -> None:
    done = run_labrun("--state-dir", "state", "--hosts", "host03", "graph", "--format", "mermaid", cwd=lab)
    assert done.returncode == 0
    assert ("host03" in done.stdout, "network2" in done.stdout) == (True, True)
    assert ("host01" in done.stdout, "network1" in done.stdout) == (False, False)


@pytest.mark.parametrize("kind", ["ascii", "svg", "mermaid", "dot", "drawio"])
def test_a_file_gets_what_stdout_would(lab: Path, kind: str) -> None:
    shown = run_labrun("--state-dir", "state", "graph", "--format", kind, cwd=lab)
    kept = run_labrun("--state-dir", "state", "graph", "--format", kind, "--output", "drawing", cwd=lab)
    assert (shown.returncode, kept.returncode, kept.stdout) == (0, 0, "wrote drawing\n")
    assert (lab / "drawing").read_text(encoding="utf-8") == shown.stdout


def test_a_drawing_that_cannot_be_written(lab: Path) -> None:
    done = run_labrun("--state-dir", "state", "graph", "--output", "gone/drawing", cwd=lab)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: cannot write gone/drawing: No such file or directory\n"


def test_an_unknown_format(lab: Path) -> None:
    done = run_labrun("graph", "--format", "png", cwd=lab)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == (
        "error: Invalid value for '--format': 'png' is not one of 'ascii', 'svg', 'mermaid', 'dot', 'drawio'"
    )


def test_the_page_goes_to_a_file_or_to_stdout(lab: Path) -> None:
    remember(lab, "broken")
    kept = run_labrun("--state-dir", "state", "report", "--html", "page.html", cwd=lab)
    assert (kept.returncode, kept.stdout, kept.stderr) == (0, "wrote page.html\n", "")
    shown = run_labrun("--state-dir", "state", "report", "--html", "-", cwd=lab)
    assert shown.stdout == (lab / "page.html").read_text(encoding="utf-8")
    assert shown.stdout.count("<tbody data-status=") == 105


def test_report_wants_to_know_where(lab: Path) -> None:
    done = run_labrun("report", cwd=lab)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "error: Missing option '--html' / '--output' / '-o'\nhint: labrun report --help shows its usage\n"
    )


def test_a_damaged_memory_is_no_memory_and_is_said(lab: Path) -> None:
    remember(lab, "broken")
    path = lab / "state" / "history" / "captured.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    done = run_labrun("--state-dir", "state", "graph", "--format", "svg", cwd=lab)
    assert done.returncode == 0
    assert done.stderr == "the history state/history/captured.sqlite is damaged: file is not a database\n"
    assert "no verify yet" in "".join(ET.fromstring(done.stdout).itertext())


def test_damage_in_the_middle_of_the_memory_ends_no_drawing(lab: Path) -> None:
    for _ in range(3):
        remember(lab, "broken")
    path = lab / "state" / "history" / "captured.sqlite"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    done = run_labrun("--state-dir", "state", "report", "--html", "page.html", cwd=lab)
    assert (done.returncode, done.stdout) == (0, "wrote page.html\n")
    assert done.stderr.startswith("the history state/history/captured.sqlite is damaged: ")
    assert done.stderr.count("\n") == 1


def test_without_a_hypervisor_the_file_is_drawn(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(invocation: Invocation) -> session.Session:
        raise HypervisorError("no hypervisor: libvirtd is not there")

    monkeypatch.setattr(session, "open_session", none)
    found = drawn_lab(Invocation("graph", lab=str(lab / "lab.yaml"), hosts="host01"))
    assert (found.hosts, found.last, found.verified) == (("host01",), None, None)
    assert capsys.readouterr().err == (
        "the last verify cannot be located: no hypervisor: libvirtd is not there\n"
    )
    with pytest.raises(HypervisorError):
        drawn_lab(Invocation("graph", lab="-"))
