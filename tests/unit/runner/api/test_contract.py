"""The Python API is `labrun.__all__`: every name is there, documented, typed, and loaded on first use."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import labrun
from labrun.runner.api import functions
from labrun.runner.api.lab import Lab
from tests import places
from tests.unit.test_architecture import HEAVY

PAGE = (places.ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def test_these_are_the_names() -> None:
    """A name that goes breaks the programs of others: think before this list gets shorter."""
    assert labrun.__all__ == [
        *(
            "Completed",
            "Host",
            "HypervisorError",
            "Lab",
            "LabFileError",
            "LabrunError",
            "Outcome",
            "Outcomes",
        ),
        *("Status", "TimedOutError", "TransportError", "UnreachableError", "UsageError", "__version__"),
        *("configure", "down", "drift", "expectations", "load", "nornir", "run", "up", "verify"),
    ]
    assert labrun.__all__ == sorted(labrun.__all__)


@pytest.mark.parametrize("name", labrun.__all__)
def test_a_name_is_there_and_documented(name: str) -> None:
    value = getattr(labrun, name)
    assert name in dir(labrun)
    if name != "__version__":
        assert inspect.getdoc(value)
        assert re.search(rf"\b{name}\b", PAGE)


def test_star_import_gives_all_of_them() -> None:
    names: dict[str, object] = {}
    code = "from labrun import *; print(sorted(n for n in globals() if not n.startswith('__')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == str([name for name in labrun.__all__ if not name.startswith("__")]), names


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'labrun' has no attribute 'nowhere'"):
        labrun.nowhere  # type: ignore[attr-defined]  # noqa: B018


def test_the_import_alone_loads_nothing_else() -> None:
    code = (
        "import sys, labrun; heavy = set(sys.argv[1].split(',')) & set(sys.modules);"
        "print(sorted(heavy), sorted(name for name in sys.modules if name.startswith('labrun')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ",".join(HEAVY)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[] ['labrun']\n"


@pytest.mark.parametrize("name", functions.__all__)
def test_a_function_has_the_parameters_of_the_lab_s_method(name: str) -> None:
    function, method = inspect.signature(getattr(labrun, name)), inspect.signature(getattr(Lab, name))
    own = [each for each in function.parameters.values() if each.name != "lab"]
    theirs = [each for each in method.parameters.values() if each.name != "self"]
    assert [(each.name, each.default, each.kind) for each in own] == [
        (each.name, each.default, each.kind) for each in theirs
    ]


@pytest.mark.parametrize("kind", [labrun.Lab, labrun.Host, labrun.Outcomes])
def test_every_public_member_is_on_the_page(kind: type) -> None:
    members = [name for name in vars(kind) if not name.startswith("_")]
    assert members
    assert [name for name in members if not re.search(rf"`{name}\b", PAGE)] == []


def test_what_the_page_shows_of_signatures_is_so() -> None:
    for name, shown in re.findall(r"^\| `(\w+)(\(.*?\))` \|", PAGE, re.MULTILINE):
        kind = labrun.Outcomes if name in ("of", "raise_if_bad") else labrun.Lab
        kinds = [each for each in (kind, labrun.Host) if name in vars(each)]
        texts = []
        for each in kinds:
            signature = inspect.signature(getattr(each, name))
            bare = [
                parameter.replace(annotation=inspect.Parameter.empty)
                for parameter in list(signature.parameters.values())[1:]
            ]
            text = str(inspect.Signature(bare))
            texts.append(text.replace("'", '"'))
        assert shown in texts, name


def test_the_typing_of_the_api_is_what_users_of_mypy_see(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import labrun\n"
        "lab = labrun.load()\n"
        "rows: labrun.Outcomes = lab.verify()\n"
        "out: str = lab['a'].run('x').stdout\n"
        "why: str | None = rows[0].why\n"
        "with labrun.nornir(lab) as nornir:\n"
        "    nornir.run(task=print)\n"
        "lab.verfy()\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)],
        cwd=places.ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, done.stdout
    assert '"Lab" has no attribute "verfy"' in errors[0]
