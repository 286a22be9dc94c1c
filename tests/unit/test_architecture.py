"""The house rules that a tool can check: who imports whom, and what --help costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from labrun.runner.main import VERBS, cli
from labrun.runner.verb import VerbCommand, VerbGroup
from tests import places

ROOT = places.ROOT
# From the bottom up; a module may import its own layer and those before it.
LAYERS = ("labrun", "templates", "inventory", "tasks", "runner")
LINKS = LAYERS[1:]
# The files of the core that know the front end: what users start, import and load into pytest.
ENTRIES = [Path("labrun", name) for name in ("__main__.py", "__init__.py", "pytest.py")]
HEAVY = ("libvirt", "netmiko", "nornir", "nornir_netmiko", "paramiko", "pydantic", "rich", "jinja2", "yaml")
# Lines of a module: what is longer has two ideas.
_LONGEST = 350


def modules(layer: str) -> Iterator[Path]:
    for folder, below, files in os.walk(ROOT / layer):  # follows no links: labrun/ is the core only
        below.sort()
        yield from (Path(folder, file) for file in sorted(files) if file.endswith(".py"))


@cache
def nodes(path: Path) -> list[ast.Import | ast.ImportFrom | ast.Call | ast.Attribute]:
    """Return what a file imports, calls and takes of something, in functions too."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in tree if isinstance(node, ast.Import | ast.ImportFrom | ast.Call | ast.Attribute)]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything a file imports."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def layer_of(name: str) -> str | None:
    parts = name.split(".")
    if parts[0] != "labrun":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in LINKS else "labrun"


@cache
def every_import() -> list[tuple[str, Path, int, str]]:
    return [
        (layer, path.relative_to(ROOT), line, name)
        for layer in LAYERS
        for path in modules(layer)
        for line, name in imports(path)
    ]


def test_every_layer_is_looked_at() -> None:
    assert all(list(modules(layer)) for layer in LAYERS)
    core = {path.name for path in modules("labrun")}
    assert "errors.py" in core
    assert "cli.py" not in core


def test_imports_point_down() -> None:
    upward = [
        f"{path}:{line}: {layer} imports {name}"
        for layer, path, line, name in every_import()
        if (target := layer_of(name)) is not None
        and LAYERS.index(target) > LAYERS.index(layer)
        and path not in ENTRIES
    ]
    assert upward == []


# The rooms of a layer, from the bottom up: the same rule. A module beside them is a room of its own.
ROOMS = {
    "inventory": (
        "route_patterns",
        "traffic",
        "check_model",
        "network_model",
        "hypervisor_model",
        "model",
        "kernel_spelling",
        "kernel_values",
        "sshd_ports",
        "duration",
        "json_path",
        "recipes",
        "topology",
        "file",
        "hosts",
        "drawing",
        "starting",
    ),
    "tasks": (
        *("guest", "judging", "host_bridge", "state", "configure", "collect", "provision"),
        *("snapshots", "forks", "out_of_band", "drift", "faults", "doctor"),
    ),
    "runner": (
        "cli",
        "history",
        "engine",
        "views",
        "showing",
        "verb",
        "watching",
        "timer",
        "commands",
        "api",
        "main",
    ),
}


def room_of(name: str, layer: str) -> str | None:
    """Return the room of a dotted name below a layer, None for what lies elsewhere or is the layer itself."""
    parts = name.split(".")
    return parts[2] if parts[:2] == ["labrun", layer] and len(parts) > 2 else None


@pytest.mark.parametrize("layer", ROOMS)
def test_every_module_stands_in_a_room(layer: str) -> None:
    own = {path.relative_to(ROOT / layer).parts[0].removesuffix(".py") for path in modules(layer)}
    assert own - {"__init__"} == set(ROOMS[layer])


@pytest.mark.parametrize("layer", ROOMS)
def test_imports_point_down_from_room_to_room(layer: str) -> None:
    rooms = ROOMS[layer]
    upward = [
        f"{path}:{line}: {room} imports {name}"
        for where, path, line, name in every_import()
        if where == layer and path.parts[1] != "__init__.py"
        for room in [path.parts[1].removesuffix(".py")]
        if (target := room_of(name, layer)) is not None and rooms.index(target) > rooms.index(room)
    ]
    assert upward == []


def test_imports_go_through_the_package() -> None:
    """A user's own ``tasks`` or ``inventory`` folder must not be what labrun imports."""
    bare = [
        f"{path}:{line}: {name}"
        for _, path, line, name in every_import()
        if name.split(".")[0] in (*LINKS, "tests")
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("layer", "forbidden"),
    [
        ("labrun", ("nornir", "netmiko", "paramiko", "click", "rich")),
        ("templates", ("nornir", "netmiko", "paramiko", "click", "rich", "libvirt")),
        ("inventory", ("nornir.core.task", "netmiko", "nornir_netmiko", "paramiko", "click", "rich")),
        ("tasks", ("click", "rich", "sqlite3")),
    ],
)
def test_a_layer_stays_away_from_what_is_not_its_business(layer: str, forbidden: tuple[str, ...]) -> None:
    found = [
        f"{path}:{line}: {name}"
        for where, path, line, name in every_import()
        if where == layer and any(name == word or name.startswith(f"{word}.") for word in forbidden)
    ]
    assert found == []


def test_nothing_that_is_read_can_be_code() -> None:
    codecs = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "copyreg", "code", "runpy"}
    found = [
        f"{path}:{line}: {name}" for _, path, line, name in every_import() if name.split(".")[0] in codecs
    ]
    for layer in LAYERS:
        for path in modules(layer):
            for node in nodes(path):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                    called = ast.unparse(node.func)
                    if called in {
                        "eval",
                        "exec",
                        "compile",
                        "yaml.load",
                        "yaml.unsafe_load",
                        "yaml.full_load",
                    }:
                        found.append(f"{path}:{node.lineno}: {called}")
    assert found == []


def test_libvirt_is_opened_in_one_place() -> None:
    openers = {
        str(path.relative_to(ROOT))
        for layer in LAYERS
        for path in modules(layer)
        for node in nodes(path)
        if isinstance(node, ast.Attribute)
        and node.attr in ("open", "openAuth", "openReadOnly")
        and isinstance(node.value, ast.Name)
        and node.value.id == "libvirt"
    }
    assert openers == {"labrun/hypervisor.py"}


def test_no_module_is_called_by_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    found = [path for layer in LAYERS for path in modules(layer) if path.stem in vague]
    assert found == []


def test_no_module_is_longer_than_one_idea_needs() -> None:
    counts = {path: path.read_text("utf-8").count("\n") for layer in LAYERS for path in modules(layer)}
    assert {str(path.relative_to(ROOT)): count for path, count in counts.items() if count > _LONGEST} == {}


def test_the_folders_are_linked_into_the_package() -> None:
    for name in LINKS:
        link = ROOT / "labrun" / name
        assert (link.is_symlink(), str(link.readlink())) == (True, f"../{name}")


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["bogus"], ["completion", "bash"]])
def test_what_needs_no_lab_imports_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys; from labrun.runner.main import run; run(sys.argv[2:]); "
        "print(*sorted(set(sys.argv[1].split(',')) & set(sys.modules)), sep=',', file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, ",".join(HEAVY), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.splitlines()[-1] == ""


def test_the_heavy_ones_would_be_noticed() -> None:
    code = "import sys, rich, yaml; print(*sorted({'rich', 'yaml', 'netmiko'} & set(sys.modules)), sep=',')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "rich,yaml\n"


def test_completing_a_command_imports_none_of_them(tmp_path: Path) -> None:
    code = (
        "import atexit, sys; from labrun.runner.main import run; "
        "atexit.register(lambda: print(sorted(set(sys.argv[1].split(',')) & set(sys.modules)))); run([])"
    )
    env = {"_LABRUN_COMPLETE": "bash_complete", "COMP_WORDS": "labrun val", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, ",".join(HEAVY)],
        cwd=tmp_path,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "plain,validate\n[]\n"


def test_help_is_quick(tmp_path: Path) -> None:
    """It takes less than five times what click alone takes; what it loads is the test above."""

    def seconds(*words: str) -> float:
        before = os.times()
        # Started, not forked: what is not this process's child does not count.
        command = [sys.executable, *words]
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=60)
        after = os.times()
        return (after.children_user - before.children_user) + (after.children_system - before.children_system)

    # CPU seconds, in turns, the best of five: other work on the machine shall not decide.
    pairs = [(seconds("-m", "labrun", "--help"), seconds("-c", "import click")) for _ in range(5)]
    least, click = (min(each) for each in zip(*pairs, strict=True))
    assert least < 5 * click, pairs


def test_the_list_of_commands_says_what_they_say_themselves() -> None:
    own = {}
    for name in VERBS:
        command = cli.get_command(cli.make_context("labrun", ["--version"], resilient_parsing=True), name)
        assert isinstance(command, VerbCommand | VerbGroup), name
        assert command.name == name
        own[name] = (command.help or "").strip().splitlines()[0]
    assert own == {name: line for name, (_, line) in VERBS.items()}
