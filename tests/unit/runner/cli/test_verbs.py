"""The commands that need no hypervisor, run as a user runs them: validate, schema, completion."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.command_line import run_labrun

LAB = """\
name: demo
networks:
  net1: {mode: isolated, cidr: 10.1.0.0/24}
  net2: {mode: isolated, cidr: 10.2.0.0/24}
hosts:
  gate: {role: router, networks: {net1: 10.1.0.254, net2: 10.2.0.254}}
  web: {networks: {net1: 10.1.0.11}}
groups:
  web-servers: {hosts: [web]}
schedule: {every: 15m}
filters: {web: [{deny: out, proto: tcp, port: 80}]}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "lab.yaml").write_text(LAB)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    return tmp_path


def test_validate_finds_the_file_upwards_and_names_what_has_no_effect(lab: Path) -> None:
    done = run_labrun("validate", cwd=lab / "deep" / "er")
    assert done.returncode == 0
    source = done.stdout.split(":")[0]
    assert done.stdout == f"{source}: lab demo is valid: 2 networks, 2 hosts (1 router)\n"
    assert done.stderr == f"{source}:11: filters.web has no effect: no NIC has it\n"


def test_validate_takes_a_file_and_stdin(lab: Path) -> None:
    (lab / "other.yaml").write_text(LAB.replace("demo", "other"))
    assert "lab other is valid" in run_labrun("validate", "--lab", "other.yaml", cwd=lab).stdout
    assert (
        "lab third is valid"
        in run_labrun("--lab=-", "validate", cwd=lab, stdin=LAB.replace("demo", "third")).stdout
    )
    assert "lab other is valid" in run_labrun("validate", cwd=lab, env={"LABRUN_LAB": "other.yaml"}).stdout


def test_validate_as_a_document(lab: Path) -> None:
    done = run_labrun("validate", "--json", cwd=lab)
    found = json.loads(done.stdout)
    assert (found["lab"], found["ok"], found["results"]) == ("demo", True, [])
    assert (found["networks"], found["hosts"]) == (["net1", "net2"], ["gate", "web"])
    assert found["notices"] == [{"line": 11, "path": "filters.web", "why": "no NIC has it"}]
    assert done.stderr.endswith("filters.web has no effect: no NIC has it\n")


def test_validate_says_nothing_when_quiet_and_valid(lab: Path) -> None:
    done = run_labrun("-q", "validate", cwd=lab)
    assert (done.returncode, done.stdout) == (0, "")


def test_validate_reports_every_problem(lab: Path) -> None:
    (lab / "lab.yaml").write_text(
        LAB.replace("role: router", "role: roter").replace("10.1.0.11", "10.9.0.11")
    )
    done = run_labrun("validate", cwd=lab)
    assert (done.returncode, done.stdout) == (2, "")
    said = done.stderr.splitlines()
    lines = [line for line in said if "has no effect" not in line and not line.startswith(" ")]
    assert len(lines) == 3
    assert "hosts.gate.role" in lines[0]
    assert "hosts.web.networks.net1" in lines[1]
    assert lines[2].endswith("has 2 problems")
    found = json.loads(run_labrun("validate", "--json", cwd=lab).stdout)
    first, second = (problem["path"] for problem in found["problems"])
    assert first == "hosts.gate.role"
    assert second.startswith("hosts.web.networks.net1")
    assert (found["ok"], found["exit_code"]) == (False, 2)


def test_validate_refuses_unknown_hosts(lab: Path) -> None:
    done = run_labrun("validate", "--hosts", "wbe,@router", cwd=lab)
    assert done.returncode == 2
    assert 'error: --hosts: unknown host "wbe" (did you mean "web"?)\n' in done.stderr


def test_a_missing_lab_file_is_said_so() -> None:
    # Nobody can have put a lab.yaml here or above, as somebody may have into /tmp.
    done = run_labrun("validate", cwd=Path("/proc/sys"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert "no lab.yaml" in done.stderr


def test_schema_is_json_by_itself_and_in_the_document(tmp_path: Path) -> None:
    plain = json.loads(run_labrun("schema", cwd=tmp_path).stdout)
    assert plain["type"] == "object"
    assert json.loads(run_labrun("schema", "--json", cwd=tmp_path).stdout)["json_schema"] == plain


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_what_the_shell_can_read(tmp_path: Path, shell: str) -> None:
    done = run_labrun("completion", shell, cwd=tmp_path)
    assert done.returncode == 0
    assert f"_LABRUN_COMPLETE={shell}_complete" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, timeout=60)


def complete(cwd: Path, line: str, **env: str) -> list[str]:
    """Return what bash would offer for the last word of a line, without the type of each."""
    words = line.split(" ")
    done = run_labrun(
        cwd=cwd,
        env={
            "_LABRUN_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            **env,
        },
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [item.split(",", 1)[1] for item in done.stdout.split()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("labrun vali", ["validate"]),
        ("labrun --wor", ["--workers"]),
        ("labrun validate --state", ["--state-dir"]),
        ("labrun --format ", ["table", "json", "github"]),
        ("labrun validate --hosts w", ["web"]),
        ("labrun --hosts g", ["gate"]),
        ("labrun validate --hosts gate,", ["gate,web"]),
        ("labrun validate --hosts @r", ["@router"]),
        ("labrun validate --hosts gate,@web", ["gate,@web-servers"]),
        ("labrun validate --hosts nothing", []),
        ("labrun --lab other.yaml validate --hosts ", ["only"]),
    ],
)
def test_commands_options_hosts_and_groups_complete(lab: Path, line: str, offered: list[str]) -> None:
    (lab / "other.yaml").write_text(
        "{name: o, networks: {n: {mode: isolated, cidr: 10.3.0.0/24}},"
        " hosts: {only: {networks: {n: 10.3.0.5}}}}"
    )
    found = complete(lab, line)
    if line.endswith("--hosts gate,"):
        found = [item for item in found if "@" not in item]
    if line.endswith("--hosts "):
        found = [item for item in found if not item.startswith("@")]
    assert found == offered


def test_completion_stays_silent_where_the_lab_file_is_broken(lab: Path) -> None:
    (lab / "lab.yaml").write_text("name: [")
    assert complete(lab, "labrun validate --hosts ") == []


def test_help_lists_options_and_not_the_arguments_among_them(tmp_path: Path) -> None:
    own = run_labrun("diff", "--help", cwd=tmp_path).stdout.split("\nOptions:\n")[1].split("\n\n")[0]
    assert [line.split()[0] for line in own.splitlines()] == ["--name", "-h,"]


@pytest.mark.parametrize("words", [(), ("snapshot",), ("image",), ("host-bridge",), ("schedule",)], ids=str)
def test_no_description_of_a_command_is_cut_off(words: tuple[str, ...], tmp_path: Path) -> None:
    text = run_labrun(*words, "--help", cwd=tmp_path).stdout.split("\nCommands:\n" if words else "\n\n", 1)[1]
    assert "..." not in text.replace("[ARGS]...", "")
    assert max(map(len, text.splitlines())) <= 80


def test_validate_warns_of_patterns_that_may_take_exponential_time(lab: Path) -> None:
    checks = r"""checks:
  - {name: plain, from: web, exec: id, stdout: {regex: "^(a+)+$"}}
  - {name: twice, from: web, exec: id, stdout: {regex: '(a+)\1'}}
"""
    (lab / "lab.yaml").write_text(LAB + checks)
    done = run_labrun("validate", cwd=lab)
    assert done.returncode == 0
    assert done.stderr.partition("\n")[2] == (
        "lab.yaml: check twice: (a+)\\1 uses lookaround, back-references or large counts:"
        " it is searched for in a separate process, for 2 s at most\n"
    )
