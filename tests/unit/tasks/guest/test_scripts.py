"""Shell stands in files: constant, in use, and nowhere in the strings of a module."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.tasks.guest.scripts import assigned, function, guest_script, hypervisor_script, words
from tests import places

ROOT = places.ROOT
FOLDERS = ("inventory", "labrun", "runner", "tasks")
MOST_LINES = 3
"""As many lines put calls and values around files; what is longer is a program of its own."""
# What the lines of a shell script have and other text of several lines (SQL, XML, Markdown) does not.
SHELL = re.compile(
    r"\$[A-Za-z_{(@*#?0-9]|^\s*(?:fi|done|esac|then|do|else)\b|\w\(\) *\{|[12]>|; *(?:then|do)\b"
    r"|^(?:set|export|printf|echo|rm|mkdir|ip|nft|systemctl) ",
    re.MULTILINE,
)
SCRIPTS = sorted(Path(ROOT, "templates").glob("*/*.sh"))


def _text(node: ast.AST) -> str:
    """Return what a literal says, with `{}` for each value in it."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return "{}"


def _literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each string, f-string or sum of these, docstrings left out."""
    if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Constant):
        return
    if isinstance(tree, ast.Constant | ast.JoinedStr | ast.BinOp):
        yield getattr(tree, "lineno", 0), _text(tree)
    for node in ast.iter_child_nodes(tree):
        yield from _literals(node)


def shell_in(source: str) -> list[int]:
    """Return the lines of a module at which a string with more than a few lines of shell begins."""
    return [
        line
        for line, text in _literals(ast.parse(source))
        if len([each for each in text.splitlines() if each.strip()]) > MOST_LINES and SHELL.search(text)
    ]


def modules() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted(Path(ROOT, folder).rglob("*.py"))]


def test_no_module_holds_a_shell_script_in_a_string() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}" for path in modules() for line in shell_in(path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_any_of_the_scripts_would_be_found_in_a_string(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    code = [line for line in text.splitlines() if not line.startswith("#")]
    body = "\n".join(code) + "\n"
    is_long = len(code) > MOST_LINES
    formatted = body.replace("{", "{{").replace("}", "}}")
    for source in (f"SCRIPT = {body!r}", f"def f(x):\n    return x + f{formatted!r}"):
        assert bool(shell_in(source)) is is_long
    assert shell_in(f"{body!r}\n") == [], "a docstring may quote one"


def test_every_script_is_used() -> None:
    said = "\n".join(path.read_text(encoding="utf-8") for path in modules())
    assert len(SCRIPTS) > 40
    unused = [each.stem for each in SCRIPTS if not re.search(rf"""["']{each.stem}["']""", said)]
    # The package manager's name is a part of these.
    assert unused == ["apk_install", "apt_install", "dnf_install", "zypper_install"]


def test_every_script_begins_by_saying_what_it_is_for() -> None:
    assert [path.name for path in SCRIPTS if not path.read_text(encoding="utf-8").startswith("# ")] == []
    assert not guest_script("frames").startswith("# "), "guests get no comments"
    assert hypervisor_script("build_init").startswith("# ")


@pytest.mark.parametrize("lines", ["", "echo a", "echo a\n", "set -- x\necho a\n\n"])
def test_a_function_may_have_no_lines(lines: str) -> None:
    script = f"{function('each', lines)}each\n{assigned({'a': True, 'b': False, 'c': 7})}echo $a,$b,$c\n"
    done = subprocess.run(["sh", "-eu"], input=script, text=True, capture_output=True, check=True)
    assert done.stdout == f"{'a' if lines else ''}{chr(10) if lines else ''}yes,,7\n"


def test_words_stay_apart() -> None:
    script = f"printf '<%s>' {words(['a b', '', '$x', chr(39)])}"
    assert subprocess.run(["sh"], input=script, text=True, capture_output=True, check=True).stdout == (
        "<a b><><$x><'>"
    )
