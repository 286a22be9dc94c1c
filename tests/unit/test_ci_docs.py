"""The recipes for CI systems and for installing: command lines that labrun takes, packages that there are."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from labrun.runner.main import cli
from tests import places

DOCS = places.ROOT / "docs"
CI = (DOCS / "ci.md").read_text(encoding="utf-8")
INSTALL = (DOCS / "install.md").read_text(encoding="utf-8")
INSTALLER = (places.ROOT / "scripts" / "install").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def scripts(value: Any) -> Iterator[str]:
    """Yield the lines of shell in a recipe."""
    if isinstance(value, dict):
        for key, below in value.items():
            if key in ("run", "script", "after_script"):
                lines = below if isinstance(below, list) else [below]
                yield from (line for text in lines for line in text.replace("\\\n", " ").splitlines())
            else:
                yield from scripts(below)
    elif isinstance(value, list):
        for below in value:
            yield from scripts(below)


def command_lines() -> list[list[str]]:
    """Return the arguments of every call of labrun in the recipes and the consoles."""
    shell = [line for block in blocks(CI, "yaml") for line in scripts(yaml.safe_load(block))]
    shell += [
        line[2:] for text in (CI, INSTALL) for block in blocks(text, "console") for line in block.splitlines()
    ]
    called = (
        re.search(r"(?:^|/| )labrun ((?:-|[a-z]+\b(?! \.)).*)$", line.split("  #")[0]) for line in shell
    )
    return [shlex.split(match[1]) for match in called if match is not None and "install" not in match.string]


def test_there_are_command_lines_to_try() -> None:
    assert len(command_lines()) >= 15


@pytest.mark.parametrize("args", command_lines(), ids=" ".join)
def test_labrun_takes_each_of_them(args: list[str]) -> None:
    command: click.Command = cli
    ctx = click.Context(cli, info_name="labrun")
    while isinstance(command, click.Group):
        name, *args = args
        found = command.get_command(ctx, name)
        assert found is not None, name
        command = found
    command.make_context(name, args, parent=ctx)


RECIPES = {
    "GitHub Actions": ["--builtin-schema", "vendor.github-workflows"],
    "GitLab CI": ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
    "Existing machines": ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
}


def recipe(heading: str) -> str:
    """Return the recipe below a heading of the page."""
    section = CI.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    (block,) = blocks(section, "yaml")
    return block


@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_is_of_the_schema_of_its_system(heading: str, tmp_path: Path) -> None:
    """The schemas come with check-jsonschema: nothing is fetched."""
    path = tmp_path / "recipe.yaml"

    def checked(text: str) -> subprocess.CompletedProcess[str]:
        path.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "check_jsonschema", *RECIPES[heading], str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = checked(recipe(heading))
    assert done.returncode == 0, done.stdout
    wrong = checked(recipe(heading).replace("script:", "scripts:").replace("runs-on:", "runs:"))
    assert wrong.returncode == 1, "the schema tells a recipe from what is none"


@pytest.mark.parametrize("heading", RECIPES)
def test_the_shell_of_a_recipe_is_sound(heading: str) -> None:
    lines = "\n".join(scripts(yaml.safe_load(recipe(heading))))
    assert "labrun" in lines
    done = subprocess.run(
        ["shellcheck", "--shell=bash", "-"], input=f"{lines}\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_steps_of_the_job_that_needs_no_machine_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are written, with the labrun of these tests in place of the one that is installed first."""
    (tmp_path / "lab.yaml").write_text((places.EXAMPLES / "kvm-network-lab.yaml").read_text())
    (tmp_path / "labrun").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m labrun "$@"\n')
    (tmp_path / "labrun").chmod(0o755)
    steps = yaml.safe_load(recipe("GitHub Actions"))["jobs"]["file"]["steps"]
    lines = [step["run"] for step in steps if "run" in step]
    assert lines[0] == "pipx install labrun"
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(places.ROOT)}
    env |= yaml.safe_load(recipe("GitHub Actions"))["jobs"]["file"]["env"]
    for line in lines[1:]:
        done = subprocess.run(
            ["bash", "-e", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
        assert "::error" not in done.stdout


def test_the_instructions_of_the_image_are_known_and_its_shell_is_sound() -> None:
    text = (places.ROOT / "release" / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    words = [line.split(maxsplit=1) for line in lines]
    assert {word for word, _ in words} <= {"ARG", "FROM", "RUN", "COPY", "ENV", "WORKDIR", "ENTRYPOINT"}
    # Where that registry cannot be reached, another base is named: both stages begin with it.
    assert words[0] == ["ARG", "BASE=docker.io/library/debian:12-slim"]
    assert [rest.split()[0] for word, rest in words if word == "FROM"] == ["${BASE}", "${BASE}"]
    shell = "\n".join(rest for word, rest in words if word == "RUN")
    done = subprocess.run(
        ["shellcheck", "--shell=sh", "-"], input=f"{shell}\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    stages = [rest.split()[-1] for word, rest in words if word == "FROM" and " AS " in rest]
    copied = [match[1] for _, rest in words if (match := re.match(r"--from=(\S+)", rest))]
    assert set(copied) <= set(stages)


def test_the_packages_of_the_distributions_are_those_that_are_installed() -> None:
    (table,) = re.findall(r"(?ms)^\| \| Debian, Ubuntu .*?\n\n", INSTALL)
    named = [
        re.findall(r"`([^`]+)`", cell) for line in table.splitlines()[2:] for cell in line.split("|")[2:4]
    ]
    packages = {name for cell in named for text in cell for name in text.split()}
    # Of Fedora: AlmaLinux 9 has another Python as python3.
    known = set(re.findall(r"[a-z][a-z0-9.+-]+", INSTALLER)) | {"python3-devel"}
    assert len(packages) >= 30
    assert packages <= known


def test_the_image_has_what_the_wheel_needs_and_is_made_from_it() -> None:
    recipe = (places.ROOT / "release" / "Containerfile").read_text(encoding="utf-8")
    for package in ("libvirt-dev", "pkg-config", "gcc", "python3-dev", "openssh-client", "iproute2"):
        assert re.search(rf"\b{package}\b", recipe), package
        assert package in INSTALLER
    assert "release/Containerfile" in CI


def test_each_way_to_install_is_in_the_readme() -> None:
    readme = Path(places.ROOT / "README.md").read_text(encoding="utf-8")
    for way in ("pipx install", "uv tool install", "pip", "make deb", "make quickstart", "docs/install.md"):
        assert way in readme, way
