"""The loop of `drift --every` as a process: its documents, its signals, what it survives."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# A command whose runs do what the words on its command line say, the last one for ever.
LOOP = """
import sys, threading, time, weakref
from types import ModuleType
import click
from labrun.errors import HypervisorError, LabFileError, Problem
from labrun.outcome import Outcome, Status
from labrun.runner import main as cli
from labrun.runner.watching.cadence import Cadence
from labrun.runner.watching.loop import repeat
from labrun.runner.cli.report import Report
from labrun.runner.verb import verb

@verb("loop")
@click.argument("words", nargs=-1)
def command(invocation, words):
    "Loop."
    todo, seen = list(words), []
    def run(this):
        word = todo.pop(0) if len(todo) > 1 else todo[0]
        if word == "gone":
            raise HypervisorError("libvirtd is gone")
        if word == "wrong":
            raise LabFileError("lab.yaml", (Problem(1, "", "wrong"),))
        if word == "crash":
            raise ZeroDivisionError
        if word == "late":
            threading.Event().wait(0.7)
        if word == "long":
            print("begun", file=sys.stderr, flush=True)
            threading.Event().wait(600)
        if word == "cycle":
            kept = any(each() is not None for each in seen)
            thing = ModuleType("garbage")
            thing.itself = thing
            seen.append(weakref.ref(thing))
            word = "drift" if kept else "ok"
        status = Status.DRIFTED if word == "drift" else Status.OK
        return Report("demo", [Outcome("one", "sysctl", "x", status)])
    return repeat(invocation, run, Cadence(0.3))

module = ModuleType("labrun.runner.commands.loop")
module.command = command
sys.modules[module.__name__] = module
cli.VERBS["loop"] = ("loop", "Loop.")
cli.main()
"""


# On a busy machine a run may begin too late for the one after it, which is said.
LATE = " skipped: the last one took "


@contextmanager
def loop(*words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def documents(process: subprocess.Popen[str], number: int) -> list[dict[str, Any]]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(number)]


def ending(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_one_document_a_line_and_sigterm_ends_it_in_order() -> None:
    with loop("--json", "loop", "ok", "drift", "ok") as process:
        found = documents(process, 3)
        process.send_signal(signal.SIGTERM)
        code, out, err = ending(process)
    assert [document["exit_code"] for document in found] == [0, 3, 0]
    assert len({document["run"] for document in found}) == 3
    assert all(document["seconds"] < 60 for document in found)
    assert code == 0
    # Whatever came between the third run and the signal is a whole line too.
    assert all(json.loads(line)["command"] == "loop" for line in out.splitlines())
    assert [line for line in err.splitlines() if LATE not in line] == []


def test_ctrl_c_ends_it_with_its_own_code() -> None:
    with loop("--json", "loop", "ok") as process:
        documents(process, 1)
        process.send_signal(signal.SIGINT)
        assert ending(process)[0] == 130


@pytest.mark.parametrize(("number", "code", "own"), [(signal.SIGTERM, 0, 143), (signal.SIGINT, 130, 130)])
def test_a_run_that_is_under_way_is_ended_and_said_so(number: signal.Signals, code: int, own: int) -> None:
    with loop("--json", "loop", "ok", "long") as process:
        documents(process, 1)
        assert process.stderr is not None
        line = process.stderr.readline()
        while LATE in line:
            line = process.stderr.readline()
        assert line == "begun\n"
        process.send_signal(number)
        returned, out, err = ending(process)
    (last,) = map(json.loads, out.splitlines())
    assert (returned, last["exit_code"], last["error"], last["ok"]) == (code, own, "interrupted", False)
    assert err == "interrupted\n"


def test_it_goes_on_when_the_hypervisor_goes_and_comes() -> None:
    with loop("--json", "loop", "gone", "ok", "crash", "wrong", "ok") as process:
        found = documents(process, 5)
        process.send_signal(signal.SIGTERM)
        code, _, err = ending(process)
    assert [document["exit_code"] for document in found] == [5, 0, 1, 2, 0]
    assert found[0]["error"] == "libvirtd is gone"
    assert code == 0
    assert err.startswith("error: libvirtd is gone\n")


def test_a_file_that_is_wrong_from_the_start_ends_it() -> None:
    with loop("--json", "loop", "wrong") as process:
        code, out, _ = ending(process)
    assert code == 2
    assert json.loads(out)["problems"]


def test_runs_that_would_overlap_are_left_out() -> None:
    with loop("--json", "loop", "late", "ok") as process:
        documents(process, 2)
        process.send_signal(signal.SIGTERM)
        code, _, err = ending(process)
    assert code == 0
    assert "skipped: the last one took 1 s\n" in err


def test_what_a_run_leaves_behind_is_gone_before_the_next() -> None:
    with loop("--json", "loop", "cycle") as process:
        found = documents(process, 3)
        process.send_signal(signal.SIGTERM)
        assert ending(process)[0] == 0
    assert [document["exit_code"] for document in found] == [0, 0, 0]


def test_a_table_for_each_run() -> None:
    with loop("loop", "drift", "ok") as process:
        assert process.stdout is not None
        lines: list[str] = []
        while sum(" in " in line for line in lines) < 2:
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert ending(process)[0] == 0
    assert any("drifted" in line for line in lines)


def test_it_ends_when_nobody_reads_it_any_more() -> None:
    with loop("--json", "loop", "ok") as process:
        documents(process, 1)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 0
