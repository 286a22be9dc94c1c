"""`labrun run`: which task a file means, what is wrong with it, and which rows its results become."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Result

from labrun.errors import UnreachableError, UsageError
from labrun.outcome import Status
from labrun.runner.commands.user_tasks.loading import load_task, parameters_of
from labrun.runner.commands.user_tasks.rows import rows_of
from tests.unit.command_line import run_labrun

LAB = """\
name: user-tasks
networks: {lan: {cidr: 192.0.2.0/24}}
hosts:
  one: {address: 192.0.2.1, networks: {lan: 192.0.2.1}}
"""
ONE = "def work(task, times: int = 1, word: str = ''):\n    return times\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        "from nornir.core.task import Task\ndef work(t: Task): pass\n",
        "def work(t: 'Task'): pass\n",
        "def helper(x): pass\ndef _other(task): pass\n" + ONE,
        "from nornir_netmiko.tasks import netmiko_send_command\n" + ONE,
    ],
)
def test_the_only_task_of_a_file_needs_no_name(text: str, folder: Path) -> None:
    Path("a.py").write_text(text, encoding="utf-8")
    assert load_task("a.py").__name__ == "work"
    assert load_task("./a.py").__name__ == "work"


def test_a_task_is_named_in_a_file_or_in_a_module(folder: Path) -> None:
    Path("a.py").write_text(
        "from nornir_netmiko.tasks import netmiko_send_command\n" + ONE + "def more(task): pass\n",
        encoding="utf-8",
    )
    names = [load_task(f"a.py:{name}").__name__ for name in ("work", "more", "netmiko_send_command")]
    assert names == ["work", "more", "netmiko_send_command"]
    assert load_task("nornir_netmiko:netmiko_send_command").__name__ == "netmiko_send_command"


def test_modules_beside_the_file_can_be_imported_and_replace_nothing(folder: Path) -> None:
    Path("json.py").write_text("raise RuntimeError('the wrong json')\n", encoding="utf-8")
    Path("beside_the_task.py").write_text("VALUE = 7\n", encoding="utf-8")
    Path("a.py").write_text("import json\nfrom beside_the_task import VALUE\n" + ONE, encoding="utf-8")
    assert load_task("a.py").__name__ == "work"


@pytest.mark.parametrize(
    ("place", "text", "message", "hint"),
    [
        ("a.py", "", "a.py has no Nornir task", "a task is a function whose first parameter"),
        ("a.py", "def b(task): 0\ndef a(task): 0\n", "a.py has several tasks: b, a", "labrun run a.py:b"),
        ("a.py:wrk", ONE, 'a.py has no task "wrk"', 'did you mean "work"?'),
        ("a.py:zzzzzz", ONE, 'a.py has no task "zzzzzz"', "it has work"),
        ("a.py:x", "x = 3\n" + ONE, "x of a.py is no function of a task", None),
        ("a.py:", ONE, "a.py: names no task after the colon", "labrun run a.py:TASK"),
        ("a.py", "def work(task:\n", "{folder}/a.py:1: '(' was never closed", None),
        (
            "a.py",
            "\nimport nowhere_at_all\n",
            "a.py:2: ModuleNotFoundError: No module named 'nowhere_at_all'",
            None,
        ),
        ("a.py", "def f():\n    1 / 0\nf()\n", "a.py:2: ZeroDivisionError: division by zero", None),
        ("a.py", "import sys\nsys.exit(3)\n", "a.py:2: SystemExit: 3", None),
        ("b.py", "", "b.py: there is no such file", "labrun run FILE.py[:TASK]"),
        ("sub/", "", "sub: is a folder", "labrun run FILE.py[:TASK]"),
        (
            "nowhere_at_all:x",
            "",
            "nowhere_at_all is neither a file nor a Python module",
            "labrun run FILE.py[:TASK]",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    place: str, text: str, message: str, hint: str | None, folder: Path
) -> None:
    Path("sub").mkdir()
    Path("a.py").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_task(place)
    assert caught.value.reason == message.format(folder=folder)
    assert (caught.value.hint is None) if hint is None else (hint in (caught.value.hint or ""))
    assert caught.value.exit_code == 2


def work(task: Any, command: str, times: int = 1, *, deep: bool = False) -> None:
    """Have parameters of each kind."""


def takes_any(task: Any, **others: Any) -> None:
    """Take any parameter."""


def test_values_are_json_where_the_parameter_is_no_text() -> None:
    assert parameters_of(work, ["command=1.10", "times=3", "deep=true"]) == {
        "command": "1.10",
        "times": 3,
        "deep": True,
    }
    assert parameters_of(takes_any, ["a=[1, 2]", "b=x=y", "c=", "a=plain"]) == {
        "a": "plain",
        "b": "x=y",
        "c": "",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((), "work needs a value for command (--set command=VALUE)"),
        (("command",), '--set: "command" is not of the form NAME=VALUE'),
        (("1x=2",), '--set: "1x=2" is not of the form NAME=VALUE'),
        (("comand=x",), '--set: work has no parameter "comand" (did you mean "command"?)'),
        (("task=x",), '--set: work has no parameter "task" (it has command, times, deep)'),
    ],
)
def test_wrong_parameters_are_said(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parameters_of(work, settings)
    error = caught.value
    step = f"{error.step}: " if error.step else ""
    assert f"{step}{error.reason}" + (f" ({error.hint})" if error.hint else "") == message


def results(*each: Result) -> AggregatedResult:
    multi = MultiResult("work")
    multi.extend(each)
    for number, result in enumerate(each):
        setattr(result, "name", f"part{number}")  # noqa: B010 - Nornir types it as None
    aggregated = AggregatedResult("work")
    aggregated["one"] = multi
    return aggregated


HOST = Host(name="one")


@pytest.mark.parametrize(
    ("each", "status", "actual", "why"),
    [
        ([Result(HOST, result="x\n")], Status.OK, "x", None),
        ([Result(HOST)], Status.OK, None, None),
        ([Result(HOST, result={"b": [1]})], Status.OK, '{"b": [1]}', None),
        ([Result(HOST, result=HOST)], Status.OK, '"one"', None),
        ([Result(HOST, result=3, changed=True)], Status.CHANGED, "3", None),
        ([Result(HOST), Result(HOST, result="a", changed=True)], Status.CHANGED, "a", None),
        (
            [Result(HOST), Result(HOST, result="a"), Result(HOST, result="b")],
            Status.OK,
            "part1: a\npart2: b",
            None,
        ),
        # An empty answer is one: no neighbours, no lines that match.
        ([Result(HOST, result=""), Result(HOST, result="a")], Status.OK, None, None),
        ([Result(HOST, result="no", failed=True)], Status.FAILED, None, "no"),
        ([Result(HOST, failed=True)], Status.FAILED, None, "the task says that it failed"),
        ([Result(HOST, exception=KeyError("x"), failed=True)], Status.FAILED, None, "KeyError: 'x'"),
        (
            [Result(HOST, exception=UnreachableError("no route", step="connect"), failed=True)],
            Status.UNREACHABLE,
            None,
            "connect: no route",
        ),
    ],
)
def test_a_result_becomes_a_row(
    each: list[Result], status: Status, actual: str | None, why: str | None
) -> None:
    (row,) = rows_of(results(*each), "work", {"one": 1.5}, dry_run=False)
    assert (row.host, row.section, row.name, row.seconds) == ("one", "task", "work", 1.5)
    assert (row.status, row.actual, row.why) == (status, actual, why)


def test_a_change_of_a_dry_run_would_be_made() -> None:
    (row,) = rows_of(results(Result(HOST, changed=True, diff="-a\n+b")), "work", {}, dry_run=True)
    assert (row.status, row.diff, row.exit_code) == (Status.WOULD_CHANGE, "-a\n+b", 3)


def test_a_host_out_of_reach_is_unreachable_and_one_that_is_not_asked_is_not(folder: Path) -> None:
    Path("a.py").write_text(
        "from nornir_netmiko.tasks import netmiko_send_command\n"
        "def local(task, word='x'):\n    print('noise')\n    return f'{task.host.hostname} {word}'\n"
        "def remote(task):\n    task.run(task=netmiko_send_command, command_string='id')\n",
        encoding="utf-8",
    )
    state = ("--state-dir", str(folder / "state"))
    done = run_labrun(*state, "-q", "--json", "run", "a.py:local", "--set", "word=y", cwd=folder)
    assert done.returncode == 0, done.stderr
    # One document, whatever the task prints.
    assert '"actual": "192.0.2.1 y"' in done.stdout
    assert done.stdout.startswith("{")
    assert done.stderr == "noise\n"


def test_raw_results_leave_no_sequence_in_a_pipe(folder: Path) -> None:
    """nornir_utils brings colorama, which adds one to whatever is printed."""
    Path("a.py").write_text(
        "from nornir_utils.plugins.functions import print_result\n"
        "def work(task):\n    print('noise')\n    return 1\n",
        encoding="utf-8",
    )
    words = ("--state-dir", str(folder / "state"), "-v", "--json", "run", "a.py")
    done = subprocess.run(
        [sys.executable, "-m", "labrun", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["results"][0]["actual"] == "1"
    assert "* one ** changed : False" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_wrong_usage_ends_before_the_lab_is_read(folder: Path) -> None:
    Path("lab.yaml").unlink()
    done = run_labrun("run", "a.py", cwd=folder)
    assert (done.returncode, done.stderr) == (
        2,
        "error: a.py: there is no such file\nhint: labrun run FILE.py[:TASK]\n",
    )
