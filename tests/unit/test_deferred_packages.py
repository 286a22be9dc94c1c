"""A deferred package behaves like any other; only its ``__init__`` runs later."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder with the package ``late``, which says when its ``__init__`` runs."""
    (tmp_path / "late/part").mkdir(parents=True)
    (tmp_path / "late/__init__.py").write_text(
        "import time\nprint('init')\nearly = 1\nfrom late.part import piece\n"
        "time.sleep(0.2)\nvalue = early + 1\n"
    )
    (tmp_path / "late/part/__init__.py").write_text("print('part')\n")
    (tmp_path / "late/part/piece.py").write_text("import late.part\nname = late.part.__name__\n")
    return tmp_path


def said(package: Path, code: str) -> list[str]:
    head = "import sys\nfrom labrun.deferred_packages import defer\ndefer('late')\nprint('deferred')\n"
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        env={"PYTHONPATH": f"{package}:{Path(__file__).parents[2]}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_submodule_is_imported_without_it(package: Path) -> None:
    code = "import late.part.piece\nfrom late.part.piece import name\nprint(name, late.part is not None)"
    assert said(package, code) == ["deferred", "part", "late.part True"]


@pytest.mark.parametrize(
    "code",
    [
        "import late\nprint(late.value)",
        "from late import value\nprint(value)",
        "import late.part\nfrom late import *\nprint(value)",
    ],
)
def test_a_name_of_its_own_runs_it_once(package: Path, code: str) -> None:
    again = "\nimport late\nprint(late.value, type(late).__name__, hasattr(late, 'other'))"
    found = said(package, code + again)
    assert found.count("init") == found.count("part") == 1
    assert found[-2:] == ["2", "2 module False"]


def test_other_threads_wait_for_it(package: Path) -> None:
    code = """
    import late, threading
    found = []
    threads = [threading.Thread(target=lambda: found.append(late.value)) for _ in range(4)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    print(found)
    """
    assert said(package, code) == ["deferred", "init", "part", "[2, 2, 2, 2]"]


def test_an_error_in_it_is_the_callers(package: Path) -> None:
    (package / "late/__init__.py").write_text("before = 1\nraise RuntimeError('broken')\n")
    code = """
    import late
    try:
        late.value
    except RuntimeError as error:
        print(error, late.before)
    """
    assert said(package, code) == ["deferred", "broken 1"]


def test_what_is_missing_stays_missing(package: Path) -> None:
    code = """
    defer('nowhere'); defer('json'); defer('colorsys')
    import json, colorsys
    print('nowhere' in sys.modules, json.loads('1'), type(colorsys).__name__)
    """
    assert said(package, code) == ["deferred", "False 1 module"]


def test_nornir_and_its_yaml_are_there_for_those_who_ask() -> None:
    code = """
    from labrun.runner.main import _be_brief
    _be_brief()
    from nornir.core import Nornir
    print('email' in sys.modules, 'ruamel.yaml.main' in sys.modules, 'nornir.init_nornir' in sys.modules)
    from nornir import InitNornir
    import importlib.metadata, ruamel.yaml
    loaded = ruamel.yaml.YAML(typ='safe').load('a: 1')
    print(InitNornir.__name__, loaded, importlib.metadata.version('nornir')[0])
    """
    assert said(Path("/nowhere"), code) == ["deferred", "False False False", "InitNornir {'a': 1} 3"]


METADATA = """
import sys
from labrun.deferred_packages import defer_metadata
defer_metadata()
from importlib import metadata
"""


def metadata(code: str, place: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", METADATA + textwrap.dedent(code)],
        env={"PYTHONPATH": f"{place}:{Path(__file__).parents[2]}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_version_is_read_without_the_module_that_knows_all(tmp_path: Path) -> None:
    (tmp_path / "late-2.5.dist-info").mkdir()
    code = "print(metadata.version('late'), 'email' in sys.modules)\nprint(callable(metadata.entry_points))"
    assert metadata(code, tmp_path) == ["2.5 False", "True"]


def test_other_versions_are_read_by_it(tmp_path: Path) -> None:
    folder = tmp_path / "late_one-2.5.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: late-one\nVersion: 2.6\n")
    code = """
    print(metadata.version('late-one'))
    try:
        metadata.version('nowhere')
    except metadata.PackageNotFoundError as error:
        print(error.name, metadata.version.__module__)
    """
    assert metadata(code, tmp_path) == ["2.6", "nowhere importlib.metadata"]
