"""`labrun history`, `show` and `diff`: what they print, write and refuse; none needs a hypervisor."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from labrun.moments import told
from labrun.outcome import Outcome, Pair, Status
from labrun.runner import main as cli
from labrun.runner.commands.runs.history import moment
from labrun.runner.history.changes import compare
from tests.unit import past_runs
from tests.unit.command_line import run_labrun
from tests.unit.past_runs import NOON

LAB = "name: lab\nhypervisor: gone:///nowhere\nhosts: not checked\n"
DIGEST = hashlib.sha256(LAB.encode()).hexdigest()
HOPS = "10.0.0.1 10.0.1.2"
PATH_OK = Outcome("a", "path", "a -> b", Status.OK, HOPS, HOPS, subject=Pair("a", "b", 4))
PATH_BAD = replace(PATH_OK, status=Status.FAILED, actual="10.0.0.1 *", why="r: forwarding is off", blamed="r")
SYSCTL = Outcome("r", "sysctl", "net.ipv4.ip_forward", Status.OK, "1", "1", seconds=0.1)
SYSCTL_BAD = Outcome("r", "sysctl", "net.ipv4.ip_forward", Status.FAILED, "1", "0", diff="-1\n+0")


@dataclass(frozen=True)
class Done:
    """What one command line gave back."""

    returncode: int
    stdout: str
    stderr: str


class Past:
    """A lab file in the current directory, and the runs that a test lets the lab have had."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.path = Path("state", "history", "lab.sqlite")
        self._capsys = capsys
        (directory / "lab.yaml").write_text(LAB, encoding="utf-8")

    def remember(self, *rows: Outcome, **known: object) -> str:
        return past_runs.remember(self.path, rows, **known)  # type: ignore[arg-type]

    def run(self, *words: str) -> Done:
        code = cli.run(["--state-dir", "state", *words])
        said = self._capsys.readouterr()
        return Done(code, said.out, said.err)

    def text(self, *words: str) -> str:
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def json(self, *words: str) -> dict[str, object]:
        found = json.loads(self.text("--json", *words))
        assert isinstance(found, dict)
        return found


@pytest.fixture
def past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Past:
    for variable in [name for name in os.environ if name.startswith("LABRUN_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return Past(tmp_path, capsys)


def test_the_list_fits_80_columns_newest_first(past: Past) -> None:
    first = past.remember(PATH_OK, SYSCTL, digest=DIGEST)
    second = past.remember(PATH_BAD, SYSCTL_BAD, exit_code=1, seconds=12.34, arguments="--hosts a --full")
    third = past.remember(command="up", finished=False, digest=None)
    text = past.text("history")
    # The age, which grows, makes way for a word as wide.
    text = re.sub(r"2026-11-25 12:00, (\d+ \w+ ago|in \d+ \w+)", lambda found: "W" * len(found[0]), text)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    # This very process has begun the third, and is still there.
    assert [re.sub(" +", " ", re.sub("W+", "WHEN", line)) for line in lines] == [
        "run began command exit s results lab file",
        f"{third[-4:]} WHEN up - - running -",
        f"{second[-4:]} WHEN verify --hosts 1 12.3 2 failed ddddddd",
        " a --full",
        f"{first[-4:]} WHEN verify 0 1.0 2 ok {DIGEST[:7]}",
    ]


def test_the_list_as_a_document(past: Past) -> None:
    run = past.remember(PATH_BAD, SYSCTL, exit_code=1)
    document = past.json("history")
    assert (document["results"], document["more"]) == ([], False)
    assert isinstance(document["runs"], list)
    assert document["runs"][0].pop("versions")["python"] == platform.python_version()
    assert document["runs"] == [
        {
            "run": run,
            "lab": "lab",
            "command": "verify",
            "arguments": "",
            "lab_file": "d" * 64,
            "labrun": "0.1.0",
            "hypervisor": "lxc:///system",
            "began": "2026-11-25T12:00:00Z",
            "seconds": 1.0,
            "exit_code": 1,
            "state": "finished",
            "error": None,
            "counts": {"failed": 1, "ok": 1},
        }
    ]


def test_which_runs_are_listed(past: Past) -> None:
    old = past.remember(SYSCTL, began=NOON - 3600 * 50)
    bad = past.remember(PATH_BAD, SYSCTL, exit_code=1)
    new = past.remember(SYSCTL)

    def listed(*words: str) -> list[str]:
        runs = past.json("history", *words)["runs"]
        assert isinstance(runs, list)
        return [run["run"] for run in runs]

    assert listed() == [new, bad, old]
    assert listed("--failed") == [bad]
    assert listed("--host", "a") == listed("--hosts", "a") == [bad]
    assert listed("--host", "r", "--failed") == []
    assert listed("--since", "2026-11-24") == [new, bad]
    assert listed("--limit", "1") == [new]
    assert listed("--host", "nobody") == []
    assert past.json("history", "--limit", "1")["more"] is True
    assert past.text("history", "--limit", "2").splitlines()[-1] == "There are more: --limit 10 shows 10."
    assert past.text("history", "--failed", "--since", "2026-11-26") == "no runs\n"


def test_a_lab_without_a_past(past: Past) -> None:
    assert past.text("history") == "no runs\n"
    assert past.json("history")["runs"] == []
    assert past.text("history", "--export", "-") == ""
    done = past.run("show", "last")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "error: no run of lab is recorded in state/history/lab.sqlite"


def test_without_the_file_the_name_is_enough(past: Past) -> None:
    run = past.remember(SYSCTL)
    (past.directory / "lab.yaml").unlink()
    assert past.run("--lab", "lab.yaml", "history").returncode == 2
    assert run[-4:] in past.text("history", "--name", "lab")
    assert run in past.text("show", "last", "--name", "lab")
    assert "1 the same" in past.text("diff", "last", "-1", "--name", "lab")
    done = past.run("history", "--name", "../lab")
    assert (done.returncode, done.stderr) == (2, 'error: --name: "../lab" is not a lab name\n')


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["history", "--since", "soon"], 'error: --since: "soon" is not a time'),
        (["history", "--limit", "0"], "error: Invalid value for '--limit': 0 is not in the range x>=1"),
        (["history", "--export", "-", "--json"], None),
        (["show"], "error: Missing argument 'RUN'"),
        (["show", "nothing"], 'error: RUN: there is no run "nothing"'),
        (["show", "-9"], 'error: RUN: there is no run "last-8"'),
        (["show", "last", "--hosts", "x"], "error: --hosts: there are no results of x"),
        (["diff", "last"], "error: Missing argument 'RUN'"),
    ],
)
def test_what_is_refused(past: Past, words: list[str], message: str | None) -> None:
    past.remember(SYSCTL)
    done = past.run(*words)
    assert done.returncode == 2
    if message is not None:
        assert (done.stdout, done.stderr.splitlines()[0]) == ("", message)


def test_a_run_in_full(past: Past) -> None:
    run = past.remember(PATH_BAD, SYSCTL_BAD, exit_code=1, arguments="--full", digest=DIGEST)
    text = past.text("show", "-1")
    text = re.sub(r"(?m)^(labrun .*python [^,\n]+).*$", r"\1", text)
    assert text.splitlines()[:10] == [
        f"run       {run}",
        "command   labrun verify --full",
        f"began     {told(NOON)}, took 1.0 s",
        "ended     failed, exit code 1",
        f"lab file  {DIGEST[:12]}, as it is now",
        f"labrun    0.1.0, python {platform.python_version()}",
        "on        lxc:///system",
        "",
        "host  what                        expected           got         result",
        "───────────────────────────────────────────────────────────────────────",
    ]
    assert "    r: forwarding is off\n" in text
    assert ("+0" in text, "+0" in past.text("show", "-1", "--diff")) == (False, True)
    assert "path" not in past.text("show", "verify", "--hosts", "r")
    (past.directory / "lab.yaml").write_text(LAB + "# more\n", encoding="utf-8")
    assert f"lab file  {DIGEST[:12]}, changed since\n" in past.text("show", run)


def test_a_run_as_a_document(past: Past) -> None:
    past.remember(PATH_BAD, SYSCTL, exit_code=1, seconds=2.0)
    document = past.json("show", "last")
    shown = document["shown"]
    assert isinstance(shown, dict)
    assert (document["exit_code"], document["results"]) == (0, [])
    assert shown["results"] == [PATH_BAD.as_json(), SYSCTL.as_json()]
    assert (shown["command"], shown["exit_code"]) == ("verify", 1)


def test_what_hosts_showed(past: Past) -> None:
    past.remember(SYSCTL, evidence={"r": "ip route\x1b\n", "a": "nothing"})
    assert past.text("show", "last", "--evidence") == "# r\nip route\\x1b\n\n# a\nnothing\n\n"
    assert past.json("show", "last", "--evidence", "--hosts", "a")["evidence"] == {"a": "nothing"}
    past.remember(SYSCTL)
    done = past.run("show", "last", "--evidence")
    assert done.returncode == 1
    assert done.stderr.endswith("\nhint: `verify` keeps it, for its newest runs\n")


def test_what_changed_between_two_runs(past: Past) -> None:
    first = past.remember(PATH_OK, SYSCTL)
    second = past.remember(PATH_BAD, SYSCTL, exit_code=1)
    assert past.text("diff", "-2", "-1") == (
        f"--- {first}  verify, ok\n"
        f"+++ {second}  verify, failed\n"
        "\n"
        "a: path -> b\n"
        "  - ok          10.0.0.1 10.0.1.2\n"
        "  + failed      10.0.0.1 *\n"
        "  +   r: forwarding is off\n"
        "\n"
        "1 changed, 1 the same\n"
    )
    document = past.json("diff", first, second)
    assert (document["same"], document["lab_file_changed"], document["only"]) == (1, False, [[], []])
    assert document["changes"] == [
        {
            "host": "a",
            "section": "path",
            "name": "a -> b",
            "change": "changed",
            "before": {
                "status": "ok",
                "expected": "10.0.0.1 10.0.1.2",
                "actual": "10.0.0.1 10.0.1.2",
                "why": None,
            },
            "after": {
                "status": "failed",
                "expected": "10.0.0.1 10.0.1.2",
                "actual": "10.0.0.1 *",
                "why": "r: forwarding is off",
            },
        }
    ]
    assert past.text("diff", "last", "last").splitlines()[-1] == "2 the same"
    assert "path" not in past.text("diff", "-2", "-1", "--hosts", "r")


def test_another_lab_file_is_said_and_what_it_changed(past: Past) -> None:
    past.remember(Outcome("a", "route", "default", Status.OK, "via 10.0.0.1", "via 10.0.0.1"))
    past.remember(
        Outcome("a", "route", "default", Status.OK, "via 10.0.0.2", "via 10.0.0.2"),
        Outcome("a", "route", "10.9.0.0/16", Status.FAILED, "via 10.0.0.1", "absent"),
        digest="e" * 64,
    )
    assert past.text("diff", "-2", "-1").splitlines()[2:] == [
        "The lab file changed between the two runs.",
        "",
        "a: route 10.9.0.0/16 (new)",
        "  + failed      absent (expected via 10.0.0.1)",
        "",
        "a: route default",
        "  - ok          via 10.0.0.1 (expected via 10.0.0.1)",
        "  + ok          via 10.0.0.2 (expected via 10.0.0.2)",
        "",
        "1 changed, 1 new, 0 the same",
    ]


def test_what_only_one_run_was_about_is_not_compared() -> None:
    other = Outcome("z", "sysctl", "net.ipv4.ip_forward", Status.OK)
    found = compare([PATH_OK, SYSCTL], [SYSCTL])
    assert (found.changes, found.only) == ((), (("a",), ()))
    found = compare([PATH_OK, SYSCTL], [PATH_OK, SYSCTL_BAD, other], alike=False)
    assert ([change.kind for change in found.changes], found.only) == (["changed"], ((), ("z",)))
    found = compare([SYSCTL], [Outcome("r", "nmcli", "left", Status.OK)], alike=False)
    assert (found.changes, found.only) == ((), (("sysctl",), ("nmcli",)))
    found = compare([SYSCTL], [Outcome("r", "nmcli", "left", Status.OK)])
    assert [change.kind for change in found.changes] == ["gone", "new"]


def test_two_rows_about_one_thing_are_compared_one_by_one() -> None:
    found = compare([SYSCTL, SYSCTL], [SYSCTL, SYSCTL_BAD])
    assert (len(found.changes), found.same) == (1, 1)


def test_an_export_has_every_run_on_a_line_of_its_own_oldest_first(past: Past) -> None:
    first = past.remember(PATH_OK, SYSCTL)
    second = past.remember(PATH_BAD, exit_code=1)
    assert past.text("history", "--export", "runs.jsonl") == "wrote 2 runs to runs.jsonl\n"
    text = (past.directory / "runs.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["run"] for line in lines] == [first, second]
    assert lines[0]["results"] == [PATH_OK.as_json(), SYSCTL.as_json()]
    assert past.text("history", "--export", "-") == text
    assert past.text("history", "--export", "-", "--failed") == text.splitlines(keepends=True)[1]
    done = past.run("history", "--export", "gone/runs.jsonl")
    assert (done.returncode, done.stderr) == (
        1,
        "error: cannot write gone/runs.jsonl: No such file or directory\n",
    )


def test_how_much_is_kept(past: Past) -> None:
    now = time.time()
    runs = [past.remember(SYSCTL, began=now, forever=False) for _ in range(3)]
    assert past.text("history", "--keep-runs", "2") == "keeps 2 runs and 365 days; 1 run removed\n"
    assert past.json("history", "--keep-days", "0")["removed"] == 0
    runs.append(past.remember(SYSCTL))
    listed = [line.split()[0] for line in past.text("history").splitlines()[1:]]
    assert listed == [runs[3][-4:], runs[2][-4:]]
    assert past.text("history", "--keep-runs", "0") == "keeps everything; 0 runs removed\n"


@pytest.mark.parametrize("words", [["history"], ["show", "last"], ["diff", "last", "last"]])
def test_a_damaged_history_is_said_and_left(past: Past, words: list[str]) -> None:
    past.path.parent.mkdir(parents=True)
    past.path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    done = past.run(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: the history state/history/lab.sqlite is damaged: file is not a database\n"
        "hint: the next run that is recorded sets it aside and starts a new one\n"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", NOON - 7200),
        ("1d12h", NOON - 129600),
        ("2026-11-25T12:00", NOON),
        ("2026-11-25T13:00+01:00", NOON),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    assert moment(text, option="--since", now=NOON) == seconds


def test_runs_are_completed_without_colons(past: Past) -> None:
    run = past.remember(SYSCTL)
    past.remember(SYSCTL, command="up")
    env = {"_LABRUN_COMPLETE": "bash_complete", "LABRUN_STATE_DIR": "state"}

    def offered(words: str, number: int) -> list[str]:
        asked = {**env, "COMP_WORDS": words, "COMP_CWORD": str(number)}
        return run_labrun(cwd=past.directory, env=asked).stdout.splitlines()

    assert offered("labrun show ", 2)[:3] == ["plain,last", "plain,up", "plain,verify"]
    letters = run.rpartition("-")[2]
    assert offered(f"labrun diff last {letters}", 3) == [f"plain,{letters}"]
    assert offered("labrun diff --name another ", 4) == [""]
