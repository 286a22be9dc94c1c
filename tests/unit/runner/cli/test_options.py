"""Global options: before or after the command's name, from the environment, the later wins."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from labrun.runner.cli.invocation import BY_SIZE, DEFAULT_WORKERS, new_run_id
from labrun.runner.cli.report import Report
from labrun.runner.main import run
from tests.unit.command_line import offer


@pytest.mark.parametrize(
    ("args", "name", "value"),
    [
        (["demo"], "format", "table"),
        (["--json", "demo"], "format", "json"),
        (["demo", "--json"], "format", "json"),
        (["--format", "json", "demo"], "format", "json"),
        (["--json", "demo", "--format", "table"], "format", "table"),
        (["--format", "table", "demo", "--json"], "format", "json"),
        (["--json", "--format", "table", "demo"], "format", "table"),
        (["demo", "--format", "json", "--json", "--format", "table"], "format", "table"),
        (["demo"], "lab", None),
        (["--lab", "a.yaml", "demo"], "lab", "a.yaml"),
        (["--lab", "a.yaml", "demo", "--lab", "-"], "lab", "-"),
        (["demo"], "hosts", None),
        (["--hosts", "a", "demo", "--hosts", "b,@c"], "hosts", "b,@c"),
        (["demo", "--hosts", "a", "--hosts", "b"], "hosts", "b"),
        (["demo"], "workers", DEFAULT_WORKERS),
        (["--workers", "4", "demo", "--workers", "7"], "workers", 7),
        (["demo"], "engine", BY_SIZE),
        (["--engine", "threads", "demo", "--engine", "processes"], "engine", "processes"),
        (["demo", "--engine", "dask://[fe80::1]:8786"], "engine", "dask://[fe80::1]:8786"),
        (["demo"], "timeout", None),
        (["demo", "--timeout", "1.5"], "timeout", 1.5),
        (["demo"], "yes", False),
        (["-y", "demo"], "yes", True),
        (["demo", "--yes"], "yes", True),
        (["demo"], "verbosity", 0),
        (["-v", "demo"], "verbosity", 1),
        (["-v", "demo", "-v"], "verbosity", 2),
        (["demo", "-vvvv"], "verbosity", 2),
        (["-q", "demo"], "verbosity", -1),
        (["-q", "demo", "-v"], "verbosity", 1),
        (["demo", "-vv", "-q"], "verbosity", -1),
        (["demo"], "color", True),
        (["demo", "--no-color"], "color", False),
        (["--state-dir", "/x", "demo"], "state_dir", Path("/x")),
        (["demo"], "command", "demo"),
    ],
)
def test_an_option_counts_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch, args: list[str], name: str, value: object
) -> None:
    seen = offer(monkeypatch)
    assert run(args) == 0
    assert getattr(seen.last, name) == value


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("LABRUN_LAB", "x.yaml", "lab", "x.yaml"),
        ("LABRUN_HOSTS", "a,b", "hosts", "a,b"),
        ("LABRUN_FORMAT", "json", "format", "json"),
        ("LABRUN_WORKERS", "3", "workers", 3),
        ("LABRUN_ENGINE", "processes", "engine", "processes"),
        ("LABRUN_TIMEOUT", "9", "timeout", 9.0),
        ("LABRUN_YES", "1", "yes", True),
        ("LABRUN_YES", "0", "yes", False),
        ("LABRUN_VERBOSE", "2", "verbosity", 2),
        ("LABRUN_VERBOSE", "true", "verbosity", 1),
        ("LABRUN_VERBOSE", "0", "verbosity", 0),
        ("LABRUN_QUIET", "yes", "verbosity", -1),
        ("LABRUN_NO_COLOR", "1", "color", False),
        ("NO_COLOR", "1", "color", False),
        ("NO_COLOR", "", "color", True),
        ("LABRUN_STATE_DIR", "/y", "state_dir", Path("/y")),
    ],
)
def test_a_variable_stands_for_an_option(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, name: str, value: object
) -> None:
    seen = offer(monkeypatch)
    monkeypatch.setenv(variable, text)
    assert run(["demo"]) == 0
    assert getattr(seen.last, name) == value


@pytest.mark.parametrize(
    ("variable", "text", "args", "name", "value"),
    [
        ("LABRUN_FORMAT", "json", ["demo", "--format", "table"], "format", "table"),
        ("LABRUN_FORMAT", "json", ["--format", "table", "demo"], "format", "table"),
        ("LABRUN_FORMAT", "table", ["demo", "--json"], "format", "json"),
        ("LABRUN_WORKERS", "3", ["--workers", "5", "demo"], "workers", 5),
        ("LABRUN_QUIET", "1", ["demo", "-v"], "verbosity", 1),
    ],
)
def test_the_command_line_beats_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, args: list[str], name: str, value: object
) -> None:
    seen = offer(monkeypatch)
    monkeypatch.setenv(variable, text)
    assert run(args) == 0
    assert getattr(seen.last, name) == value


def test_a_command_reads_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = offer(
        monkeypatch, lambda invocation, depth: Report(), click.option("--depth", type=int, default=1)
    )
    monkeypatch.setenv("LABRUN_DEMO_DEPTH", "5")
    monkeypatch.setenv("LABRUN_DEMO_WORKERS", "9")
    assert run(["demo"]) == 0
    assert seen.params == [{"depth": 5}]
    assert seen.last.workers == DEFAULT_WORKERS, "a global option has one variable, not one per command"


def test_a_command_with_a_format_of_its_own_ignores_the_global_one(monkeypatch: pytest.MonkeyPatch) -> None:
    own = click.option("--format", type=click.Choice(["svg", "dot"]), default="svg")
    seen = offer(monkeypatch, lambda invocation, **own: Report(), own, own_format=True)
    monkeypatch.setenv("LABRUN_FORMAT", "json")
    assert run(["--json", "demo", "--format", "dot"]) == 0
    assert seen.params == [{"format": "dot"}]
    assert seen.last.format == "table"


def test_a_passthrough_command_keeps_what_follows_its_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    words = click.argument("words", nargs=-1, type=click.UNPROCESSED)
    seen = offer(monkeypatch, lambda invocation, words: Report(), words, passthrough=True)
    assert run(["demo", "--hosts", "a", "ls", "--json", "-v"]) == 0
    assert seen.params == [{"words": ("ls", "--json", "-v")}]
    assert (seen.last.hosts, seen.last.format, seen.last.verbosity) == ("a", "table", 0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["demo", "--workers", "0"], "Invalid value for '--workers': 0 is not in the range x>=1"),
        (
            ["demo", "--engine", "forks"],
            "Invalid value for '--engine': 'forks' is not threads, processes or dask://HOST:PORT",
        ),
        (
            ["demo", "--engine", "dask://hv"],
            "Invalid value for '--engine': 'dask://hv' is not threads, processes or dask://HOST:PORT",
        ),
        (
            ["demo", "--timeout", "-1"],
            "Invalid value for '--timeout': '-1' is not a number of seconds above 0",
        ),
        (["demo", "--timeout"], "Option '--timeout' requires an argument"),
        (["demo", "--json=yes"], "Option '--json' does not take a value"),
        (
            ["demo", "--timeout", "nan"],
            "Invalid value for '--timeout': 'nan' is not a number of seconds above 0",
        ),
        (
            ["demo", "--timeout", "5m"],
            "Invalid value for '--timeout': '5m' is not a number of seconds above 0",
        ),
        (
            ["demo", "--format", "yaml"],
            "Invalid value for '--format': 'yaml' is not one of 'table', 'json', 'github'",
        ),
    ],
)
def test_a_bad_value_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    seen = offer(monkeypatch)
    assert run(args) == 2
    assert seen.invocations == []
    assert capsys.readouterr().err == f"error: {message}\nhint: labrun demo --help shows its usage\n"


def test_a_bad_value_of_the_environment_is_traced_to_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch)
    monkeypatch.setenv("LABRUN_WORKERS", "many")
    assert run(["demo"]) == 2
    assert capsys.readouterr().err == (
        "error: Invalid value for '--workers': 'many' is not a valid integer range (from LABRUN_WORKERS)\n"
        "hint: labrun --help shows its usage\n"
    )


def test_a_bad_value_of_a_commands_own_variable_is_traced_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, lambda invocation, depth: Report(), click.option("--how-deep", "depth", type=int))
    monkeypatch.setenv("LABRUN_DEMO_HOW_DEEP", "very")
    assert run(["demo"]) == 2
    assert capsys.readouterr().err == (
        "error: Invalid value for '--how-deep': 'very' is not a valid integer (from LABRUN_DEMO_HOW_DEEP)\n"
        "hint: labrun demo --help shows its usage\n"
    )


def test_runs_are_named_by_time_and_chance() -> None:
    first, second = new_run_id(0.0), new_run_id(0.0)
    assert first.startswith("1970-01-01T00:00:00Z-")
    assert len(first) == len("2026-11-20T16:00:00Z-3f2a")
    assert len({new_run_id(0.0) for _ in range(50)} | {first, second}) > 40
