"""What the documentation says of commands, options, keys, files and targets is so, in both directions."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import pytest
import yaml

from labrun.errors import LabFileError
from labrun.inventory.file.lab_json import lab_from_json, lab_to_json
from labrun.inventory.file.load import json_schema, load_lab
from labrun.inventory.model import Lab
from labrun.runner.cli.options import GlobalOption
from labrun.runner.main import VERBS, cli
from tests import places

ROOT = places.ROOT
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
LAB_FILE = (ROOT / "docs" / "lab-file.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(text: str, language: str) -> list[str]:
    """Return the code blocks of one language."""
    blocks = re.findall(r"^```([a-z]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [content for name, content in blocks if name == language]


def sections(text: str, level: int) -> dict[str, str]:
    """Return the text under each heading of a level, up to the next heading of that level or above."""
    marks = re.finditer(rf"^(#{{1,{level}}}) (.+)$", re.sub(r"(?ms)^```.*?^```$", _blank, text), re.MULTILINE)
    starts = [(match.start(), len(match[1]), match[2]) for match in marks]
    ends = [start for start, _, _ in starts[1:]] + [len(text)]
    return {
        title: text[start:end]
        for (start, depth, title), end in zip(starts, ends, strict=True)
        if depth == level
    }


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def walk(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield a command and the commands in it, by full name."""
    yield name, command
    if isinstance(command, click.Group):
        ctx = click.Context(command, info_name=name)
        for inner in command.list_commands(ctx):
            found = command.get_command(ctx, inner)
            assert found is not None
            yield from walk(found, f"{name} {inner}")


def verb_commands() -> dict[str, list[tuple[str, click.Command]]]:
    """Return each verb's commands: itself, and those of a group."""
    ctx = click.Context(cli, info_name="labrun")
    found: dict[str, list[tuple[str, click.Command]]] = {}
    for verb in VERBS:
        command = cli.get_command(ctx, verb)
        assert command is not None
        found[verb] = list(walk(command, verb))
    return found


def long_options(command: click.Command, *, everywhere: bool) -> set[str]:
    """Return the long options that are a command's own, or those that every command has."""
    return {
        option
        for param in command.params
        if isinstance(param, click.Option) and isinstance(param, GlobalOption) is everywhere
        for option in param.opts
        if option.startswith("--")
    }


def described_commands() -> dict[str, str]:
    """Return the text on each command of commands.md."""
    return {
        name: text
        for title, text in sections(COMMANDS, 3).items()
        for name in re.split(r",\s*", title.strip())
    }


def options_of_tables(text: str) -> set[str]:
    """Return the options that stand in the first column of a table."""
    first = re.findall(r"^\| (`.+?) \|", text, re.MULTILINE)
    return set(re.findall(r"--[a-z][a-z0-9-]*", " ".join(first)))


def test_every_command_has_its_section_and_there_is_no_other() -> None:
    assert set(described_commands()) == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_options_of_a_command_are_those_of_its_tables(verb: str) -> None:
    text = described_commands()[verb]
    options = {
        option for _, command in verb_commands()[verb] for option in long_options(command, everywhere=False)
    } - {"--help"}
    assert options_of_tables(text) == options
    inner = {name for name, _ in verb_commands()[verb] if name != verb}
    assert set(re.findall(rf"^\| `({verb} [a-z]+)", text, re.MULTILINE)) == inner


def test_the_options_of_every_command_are_all_there() -> None:
    table = sections(COMMANDS, 2)["Options of every command"]
    assert options_of_tables(table) == long_options(cli, everywhere=True) | {"--help"}


def test_the_variables_are_those_that_the_options_read() -> None:
    text = sections(COMMANDS, 2)["Environment"]
    read = {f"LABRUN_{option[2:].upper().replace('-', '_')}" for option in long_options(cli, everywhere=True)}
    own = {
        param.envvar
        for found in verb_commands().values()
        for _, command in found
        for param in command.params
        if isinstance(param, click.Option) and isinstance(param.envvar, str)
    }
    named = set(re.findall(r"LABRUN_[A-Z_]+", text))
    # --json is a spelling of --format and reads nothing.
    assert read - {"LABRUN_JSON"} <= named
    assert named - read <= own | {"LABRUN_COMMAND_OPTION", "LABRUN_HYPERVISOR", "LABRUN_IMAGE_DIR"}


def test_the_commands_that_are_recorded_are_all_named() -> None:
    said = sections(COMMANDS, 2)["What is remembered"].split(" is recorded")[0]
    recorded = {
        name
        for found in verb_commands().values()
        for name, command in found
        if getattr(command, "recorded", 0)
    }
    assert set(re.findall(r"`([a-z]+(?: [a-z]+)?)`", said)) == recorded


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in slugs, f"{page.name}: {target}"


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= set(re.findall(r"\]\(([a-z-]+\.md)\)", index))


class Loader(yaml.SafeLoader):
    """YAML as labrun reads it: ``on`` is a word."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def parsed(text: str) -> Any:
    """Return what a YAML text holds."""
    return yaml.load(text, Loader)


def laid_over(base: Any, part: Any) -> Any:
    """Return ``part`` over ``base``: mappings key by key, everything else replaced."""
    if isinstance(base, Mapping) and isinstance(part, Mapping):
        return {**base, **{key: laid_over(base.get(key), value) for key, value in part.items()}}
    return part


def loaded(content: Any) -> Lab:
    """Load a lab from plain data."""
    return load_lab("-", stdin=io.StringIO(yaml.safe_dump(content, sort_keys=False)))


def examples(text: str, mark: str = "") -> Iterator[Any]:
    """Yield what the YAML blocks hold, parts laid over the first; ``mark`` chooses those that begin so."""
    blocks = fenced(text, "yaml")
    whole = parsed(blocks[0])
    for block in blocks:
        first = block.splitlines()[0]
        if (first == mark) if mark else first != "# wrong":
            yield laid_over(whole, parsed(block))


@pytest.fixture(autouse=True)
def _beside_the_lab_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the files that the examples name where a lab file from standard input looks for them."""
    monkeypatch.chdir(tmp_path)
    (template,) = fenced(LAB_FILE, "jinja")
    Path("peers.j2").write_text(template, encoding="utf-8")
    Path("logo.png").write_bytes(b"\x89PNG")


def test_the_template_shown_is_rendered() -> None:
    files = [file for lab in map(loaded, examples(LAB_FILE)) for file in lab.hosts["two"].files]
    (content,) = [file.content.decode() for file in files if file.path == "/etc/app/peers.conf"]
    assert re.fullmatch(r"listen 10\.40\.2\.\d+\npeer gate 10\.40\.1\.254\npeer one 10\.40\.1\.10\n", content)


@pytest.mark.parametrize("text", [LAB_FILE, TUTORIAL, README], ids=["lab-file", "tutorial", "README"])
def test_examples_load(text: str) -> None:
    found = [loaded(content) for content in examples(text)]
    assert found
    for lab in found:
        # What is remembered of a lab holds no contents of files.
        bare = replace(
            lab, hosts=MappingProxyType({name: replace(host, files=()) for name, host in lab.hosts.items()})
        )
        assert lab_from_json(lab_to_json(bare)) == bare


def test_the_wrong_example_has_the_printed_errors() -> None:
    (wrong,) = [block for block in fenced(LAB_FILE, "yaml") if block.startswith("# wrong")]
    content = wrong.removeprefix("# wrong\n")
    with pytest.raises(LabFileError) as caught:
        load_lab("-", stdin=io.StringIO(content))
    (printed,) = [block for block in fenced(LAB_FILE, "") if block.startswith("lab.yaml:")]
    assert caught.value.reason.replace("<stdin>:", "lab.yaml:") == printed.strip()


def schema_keys(schema: Any) -> set[str]:
    """Return the name of every key that the schema knows."""
    parts = [schema, *schema.get("$defs", {}).values()]
    return {key for part in parts for key in part.get("properties", {})}


def test_every_key_of_the_lab_file_is_named_and_shown() -> None:
    shown = "\n".join(fenced(LAB_FILE, "yaml"))
    for key in schema_keys(json_schema()):
        assert re.search(rf"`{key}\b|`\{{[^`]*\b{key}\b[^`]*`", LAB_FILE), f"{key} is not named"
        if key not in ("ping", "trace", "udp", "http", "dns", "exec"):
            assert re.search(rf"\b{key}:", shown), f"{key} is in no example"


def test_makefile_targets_that_pages_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        spoken = re.findall(r"(?:`|^\$ )make ([a-z-]+)", text, re.MULTILINE)
        assert set(spoken) <= targets, page.name


def test_the_readme_is_short_and_names_both_commands() -> None:
    assert len(README.splitlines()) <= 150
    assert {"make quickstart", "make test"} <= set(re.findall(r"make [a-z]+", README))


def test_outputs_fit_the_terminal_they_were_printed_on() -> None:
    # Rows of a results table; XML, paths and hand-typed commands are as long as they are.
    for page in (TUTORIAL, README):
        for block in fenced(page, "console") + fenced(page, ""):
            tables = re.findall(r"(?ms)^host +what .*?(?=^\n|\Z)", block)
            assert all(len(line) <= 80 for table in tables for line in table.splitlines())
