"""``--help`` of every command: grouped, with examples that labrun itself can parse."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from labrun.runner.cli.help_examples import EXAMPLES
from labrun.runner.cli.help_groups import ELSEWHERE, GROUPS
from labrun.runner.main import VERBS, cli
from tests.unit.command_line import run_labrun
from tests.unit.test_docs import COMMANDS, sections, verb_commands

FULL_NAMES = ["", *(name for found in verb_commands().values() for name, _ in found)]


def test_the_groups_are_the_sections_of_the_docs() -> None:
    named = {
        title: tuple(
            name for inner in sections(text, 3) for name in re.split(r",\s*", inner.strip()) if name in VERBS
        )
        for title, text in sections(COMMANDS, 2).items()
    }
    assert {title: names for title, names in named.items() if names} == GROUPS


def test_every_command_is_in_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(VERBS)


def test_help_shows_the_groups_and_the_options_after_them(tmp_path: Path) -> None:
    text = run_labrun("--help", cwd=tmp_path).stdout
    titles = [line[:-1] for line in text.splitlines() if re.fullmatch(r"[A-Z].*:", line)]
    assert titles == [*GROUPS, "Options", "Options of every command", "Examples"]
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", FULL_NAMES)
def test_every_help_ends_with_an_example(name: str, tmp_path: Path) -> None:
    text = run_labrun(*name.split(), "--help", cwd=tmp_path).stdout
    examples = text.split("\nExamples:\n")[1].splitlines()
    assert [line.strip() for line in examples] == list(EXAMPLES[name])


def test_there_is_no_example_of_a_command_that_does_not_exist() -> None:
    assert set(EXAMPLES) == set(FULL_NAMES)


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_an_example_is_a_command_line_that_labrun_takes(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Rocky-9.qcow2").touch()
    words = shlex.split(line.removeprefix('eval "$(').removesuffix(')"'))
    end = next((number for number, word in enumerate(words) if word in ("|", ">")), len(words))
    words = words[:end]
    assert words[0] == "labrun"
    ctx = cli.make_context("labrun", words[1:])
    command: click.Command = cli
    # As click descends, without calling anything.
    while isinstance(command, click.Group):
        rest = [*ctx._protected_args, *ctx.args]
        name, found, rest = command.resolve_command(ctx, rest)
        assert found is not None
        ctx = found.make_context(name, rest, parent=ctx)
        command = found


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("destroy", '"down"'),
        ("deploy", '"up"'),
        ("apply", '"up" or "configure"'),
        ("inspect", '"status"'),
        ("halt", '"stop"'),
        ("ls", '"list"'),
        ("Destroy", '"down"'),
        ("verfy", '"verify"'),
    ],
)
def test_words_of_other_tools_are_understood(typed: str, meant: str, tmp_path: Path) -> None:
    done = run_labrun(typed, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f'error: unknown command "{typed}" (did you mean {meant}?)\nhint: labrun --help shows its usage\n'
    )


def test_what_is_suggested_exists() -> None:
    assert {meant.split()[0] for words in ELSEWHERE.values() for meant in words} <= set(VERBS)
    assert not set(ELSEWHERE) & set(VERBS)


def test_help_and_version_are_words_too(tmp_path: Path) -> None:
    assert run_labrun("help", cwd=tmp_path).stdout == run_labrun("--help", cwd=tmp_path).stdout
    inner = run_labrun("image", "build", "--help", cwd=tmp_path).stdout
    assert run_labrun("help", "image", "build", cwd=tmp_path).stdout == inner
    version = run_labrun("--version", cwd=tmp_path).stdout
    assert run_labrun("version", cwd=tmp_path).stdout == run_labrun("-V", cwd=tmp_path).stdout == version


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("help", "nothing"), 'unknown command "nothing"'),
        (("version", "up"), 'unexpected argument "up" after version'),
    ],
)
def test_help_of_nothing_is_an_error(args: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    done = run_labrun(*args, cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, f"error: {reason}")
