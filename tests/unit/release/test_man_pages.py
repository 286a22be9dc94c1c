"""One man page for each command, in words that roff prints as they are."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping

import click
import pytest

from labrun.runner.main import cli
from release.man_pages import man_pages


@pytest.fixture(scope="module")
def pages() -> Mapping[str, str]:
    return man_pages(cli)


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command by the name of its page."""
    yield name, command
    if isinstance(command, click.Group):
        ctx = click.Context(command, info_name=name)
        for inner in command.list_commands(ctx):
            below = command.get_command(ctx, inner)
            assert below is not None
            yield from commands(below, f"{name}-{inner}")


def test_each_command_has_one_with_its_options(pages: Mapping[str, str]) -> None:
    found = dict(commands(cli, "labrun"))
    assert set(pages) == {f"{name}.1" for name in found}
    for name in ("labrun", "labrun-verify", "labrun-drift"):
        options = {option for param in found[name].params for option in param.opts if option.startswith("--")}
        own = options if name == "labrun" else options - {option for p in cli.params for option in p.opts}
        text = pages[f"{name}.1"].replace("\\-", "-")
        assert own
        assert own <= set(re.findall(r"--[a-z-]+", text)), name


def test_what_is_a_page_of_its_own_is_seen_also(pages: Mapping[str, str]) -> None:
    assert ".BR labrun\\-image\\-build (1)" in pages["labrun-image.1"]
    named = {
        f"{name}.1"
        for text in pages.values()
        for name in re.findall(r"^\.BR (\S+) \(1\)", text.replace("\\-", "-"), re.MULTILINE)
    }
    assert named <= set(pages)


def test_what_stands_in_lines_stays_in_lines(pages: Mapping[str, str]) -> None:
    assert ".nf\nbash: eval " in pages["labrun-completion.1"]
    assert "\b" not in "".join(pages.values())


@click.command("odd", help="Do \\fBthis\\fP.\n\n'tis a line.\n\n.so /etc/passwd")
def odd() -> None:
    """Stand for a help text with what roff would take for its own."""


def test_nothing_in_a_help_text_is_a_request() -> None:
    (text,) = man_pages(odd).values()
    assert "Do \\efBthis\\efP.\n.PP\n\\&'tis a line.\n.PP\n\\&.so /etc/passwd\n" in text


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_to_say(pages: Mapping[str, str]) -> None:
    command = ["groff", "-man", "-ww", "-z", "-Tutf8"]
    for name in ("labrun.1", "labrun-image.1", "labrun-completion.1"):
        done = subprocess.run(
            command, input=pages[name], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stderr == "", name
