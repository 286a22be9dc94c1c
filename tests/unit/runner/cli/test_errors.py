"""How a command ends: exit codes, messages on stderr, exactly one document with ``--json``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from labrun.errors import (
    ForeignObjectError,
    HypervisorError,
    LabFileError,
    LabrunError,
    LockedError,
    Problem,
    UnreachableError,
    UsageError,
)
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.main import run
from tests.unit.command_line import offer, run_labrun

ROW = Outcome("host01", "ready", "host01", Status.OK)
DOCTOR = "hint: `labrun doctor` checks this machine\n"
DEFECT = "hint: this is a bug in labrun; the same command with -vv shows where\n"


def raising(error: BaseException) -> Any:
    def body(invocation: Invocation) -> Report:
        raise error

    return body


def test_without_arguments_the_help_comes_on_stderr(tmp_path: Path) -> None:
    done = run_labrun(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: labrun [OPTIONS] COMMAND [ARGS]...\n")


def test_the_version_is_one_line(tmp_path: Path) -> None:
    done = run_labrun("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "labrun 0.1.0\n", "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["demoo"], 'error: unknown command "demoo" (did you mean "demo"?)\nhint: labrun --help shows'),
        (["zzz"], 'error: unknown command "zzz"\nhint: labrun --help shows'),
        (["demo", "--jason"], 'error: unknown option "--jason" (did you mean "--json"?)'),
        (["demo", "--host", "a"], 'error: unknown option "--host" (did you mean "--hosts"?)'),
        (["demo", "--zzz"], 'error: unknown option "--zzz"\n'),
        (["--lab"], "error: Option '--lab' requires an argument\nhint: labrun --help shows"),
        (["demo", "more"], "error: Got unexpected extra argument (more)\nhint: labrun demo --help shows"),
    ],
)
def test_a_usage_error_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    seen = offer(monkeypatch)
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert (seen.invocations, out) == ([], "")
    assert err.startswith(message)


@pytest.mark.parametrize(
    "args",
    [
        ["--json", "demo", "--bogus"],
        ["demo", "--bogus", "--json"],
        ["demo", "--format", "json", "extra"],
        ["demo", "--format=json", "extra"],
        ["--format", "table", "demo", "--json", "extra"],
    ],
)
def test_a_usage_error_is_a_document_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    offer(monkeypatch)
    assert run(args) == 2
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["command"], found["ok"], found["exit_code"], found["results"]) == ("demo", False, 2, [])
    assert found["hint"] == "labrun demo --help shows its usage"
    assert err == f"error: {found['error']}\nhint: {found['hint']}\n"


@pytest.mark.parametrize(
    "args", [["demo", "--json", "--bogus", "--format", "table"], ["demo", "x", "--", "--json"]]
)
def test_a_usage_error_is_text_when_text_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    offer(monkeypatch)
    assert run(args) == 2
    assert capsys.readouterr().out == ""


def test_a_command_with_its_own_format_has_usage_errors_as_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = click.option("--format", type=click.Choice(["svg", "json"]))
    offer(monkeypatch, lambda invocation, **own: Report(), own, own_format=True)
    assert run(["--json", "demo", "--format", "json", "--bogus"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (LabrunError("it broke"), 1, "error: it broke\n"),
        (UsageError("not so", step="--hosts", hint="so"), 2, "error: --hosts: not so\nhint: so\n"),
        (HypervisorError("gone", host="h", step="start"), 5, f"error: h: start: gone\n{DOCTOR}"),
        (ForeignObjectError("taken"), 5, "error: taken\n"),
        (LockedError("held"), 1, "error: held\n"),
        (UnreachableError("no route", host="h"), 4, "error: h: no route\n"),
        (LabrunError("\x1b[31mred\x07"), 1, "error: \\x1b[31mred\\x07\n"),
        (
            ValueError("odd"),
            1,
            f"error: unexpected ValueError: odd\n{DEFECT}",
        ),
    ],
)
def test_an_error_has_its_exit_code_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    text: str,
) -> None:
    offer(monkeypatch, raising(error))
    assert run(["demo"]) == code
    assert capsys.readouterr() == ("", text)


def test_a_traceback_comes_with_vv_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, raising(ValueError("odd")))
    assert run(["demo", "-v"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert run(["demo", "-vv"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "in raising" not in err.splitlines()[-1]
    assert "ValueError: odd\n" in err


def test_problems_of_a_lab_file_keep_their_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = (Problem(9, "hosts.b", "is wrong"), Problem(3, "nam", "is unknown", 'did you mean "name"?'))
    offer(monkeypatch, raising(LabFileError("lab.yaml", problems)))
    assert run(["demo"]) == 2
    assert capsys.readouterr().err == (
        'lab.yaml:3: nam: is unknown (did you mean "name"?)\n'
        "lab.yaml:9: hosts.b: is wrong\n"
        "error: lab.yaml has 2 problems\n"
    )
    assert run(["demo", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert [problem["line"] for problem in found["problems"]] == [3, 9]
    assert found["problems"][0] == {
        "line": 3,
        "path": "nam",
        "what": "is unknown",
        "hint": 'did you mean "name"?',
    }


def test_an_error_under_json_is_one_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, raising(HypervisorError("gone", host="h", step="start", hint="look")))
    assert run(["demo", "--json"]) == 5
    found = json.loads(capsys.readouterr().out)
    assert (found["error"], found["hint"]) == ("h: start: gone", "look; `labrun doctor` checks this machine")
    assert (found["ok"], found["exit_code"], found["results"]) == (False, 5, [])


def test_rows_gathered_before_an_error_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, lambda invocation: Report("lab", [ROW], error=HypervisorError("gone")))
    assert run(["demo", "--json"]) == 5
    found = json.loads(capsys.readouterr().out)
    assert [row["host"] for row in found["results"]] == ["host01"]
    assert run(["demo"]) == 5
    out, err = capsys.readouterr()
    assert "host01" in out
    assert err == f"error: gone\n{DOCTOR}"


def test_rows_that_are_the_hypervisor_s_fault_point_to_the_doctor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for at_fault in (True, False):
        row = replace(ROW, status=Status.FAILED, why="no", hypervisor_fault=at_fault)
        offer(monkeypatch, lambda invocation, row=row: Report("lab", [row]))
        assert run(["demo"]) == (5 if at_fault else 1)
        out = capsys.readouterr().out
        assert ("`labrun doctor` checks this machine" in out) is at_fault


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130)])
def test_ctrl_c_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    offer(monkeypatch, raising(error))
    assert run(["demo"]) == code
    assert capsys.readouterr() == ("", "interrupted\n")
    assert run(["demo", "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["exit_code"], found["error"]) == (False, code, "interrupted")


WAITING = """
import sys, types
from labrun.runner import main as cli
from labrun.runner.cli.report import Report
from labrun.runner.verb import verb
import signal

@verb("demo")
def command(invocation):
    print("ready", file=sys.stderr, flush=True)
    signal.pause()
    return Report()

sys.modules["labrun.runner.commands.demo"] = module = types.ModuleType("labrun.runner.commands.demo")
module.command = command
cli.VERBS["demo"] = ("demo", "")
cli.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_real_process_in_order(number: signal.Signals, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, "demo", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert json.loads(out)["exit_code"] == code
    assert err == "interrupted\n"


def test_a_reader_that_goes_away_does_not_change_the_exit_code(tmp_path: Path) -> None:
    script = (
        "import sys, types\n"
        "from labrun.outcome import Outcome, Status\n"
        "from labrun.runner import main as cli\n"
        "from labrun.runner.cli.report import Report\n"
        "from labrun.runner.verb import verb\n"
        "rows = [Outcome(f'h{n}', 'ready', '', Status.FAILED) for n in range(5000)]\n"
        "module = types.ModuleType('labrun.runner.commands.demo')\n"
        "module.command = verb('demo')(lambda invocation: Report(outcomes=rows))\n"
        "sys.modules['labrun.runner.commands.demo'] = module\n"
        "cli.VERBS['demo'] = ('demo', '')\n"
        "cli.main()\n"
    )
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", script, "demo", "--json"], stdout=write, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(write)
        assert os.read(read, 1) == b"{"
        os.close(read)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "")


def test_a_hosts_stray_log_does_not_reach_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import logging

    def body(invocation: Invocation) -> Report:
        logging.getLogger("nornir.core.task").error("Traceback of a host")
        logging.getLogger("labrun.tasks").info("a step")
        logging.getLogger("labrun.tasks").warning("a warning")
        return Report(text="")

    offer(monkeypatch, body)
    shown = []
    for option in ("-q", "--yes", "-v", "-vv"):
        assert run(["demo", option]) == 0
        shown.append(capsys.readouterr().err.splitlines())
    assert shown == [
        [],
        ["WARNING labrun.tasks: a warning"],
        ["INFO labrun.tasks: a step", "WARNING labrun.tasks: a warning"],
        [
            "ERROR nornir.core.task: Traceback of a host",
            "INFO labrun.tasks: a step",
            "WARNING labrun.tasks: a warning",
        ],
    ]
