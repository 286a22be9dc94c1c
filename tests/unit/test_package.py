"""The source package and the wheel: what they hold, and what they do in an environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from labrun import __version__
from tests import places
from tests.built import Built, build, environment, tracked

ROOT = places.ROOT
LAYERS = ("labrun", "templates", "inventory", "tasks", "runner")
EXAMPLE = places.EXAMPLES / "kvm-network-lab.yaml"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ``bin`` of an environment that has the wheel."""
    return environment(tmp_path_factory.mktemp("environment") / "venv", built.wheel)


def modules_and_data() -> set[str]:
    """Return the files below labrun's folders, named as in the wheel."""
    return {
        str(path if path.parts[0] == "labrun" else Path("labrun", path))
        for path in tracked(*LAYERS)
        if not (ROOT / path).is_symlink()
    }


def test_the_wheel_holds_one_package_and_every_file_of_it(built: Built) -> None:
    names = {name for name in zipfile.ZipFile(built.wheel).namelist() if ".dist-info/" not in name}
    assert names == modules_and_data()


def test_the_source_package_holds_the_same_and_the_pages_and_examples(built: Built) -> None:
    with tarfile.open(built.sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    pages = {str(path) for path in tracked("docs", "examples")}
    beside = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".gitignore", "PKG-INFO"}
    assert names == modules_and_data() | pages | beside


def test_the_metadata_pass_twines_strict_check(built: Built) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", str(built.sdist), str(built.wheel)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done.stdout


def test_libvirt_is_an_extra(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(packed.read(name).decode())
    needed = metadata.get_all("Requires-Dist", [])
    # In nothing that `pip install labrun` installs: its build needs a compiler and headers.
    assert [each for each in needed if each.startswith("libvirt-python")] == [
        "libvirt-python<13,>=9.0; extra == 'dev'",
        "libvirt-python<13,>=9.0; extra == 'libvirt'",
    ]


def run(program: Path, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of an environment, far from the repository."""
    env = {"PATH": os.defpath, "HOME": str(cwd), "LANG": "C.UTF-8"}
    return subprocess.run(
        [program, *args], check=False, cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )


def check_what_needs_no_machine(commands: Path, where: Path) -> None:
    """Run what needs no machine: it reads templates, the schema, guests' scripts, the lab file."""
    lab = where / "lab.yaml"
    lab.write_bytes(EXAMPLE.read_bytes())

    def stdout(*args: str) -> str:
        done = run(commands / "labrun", *args, cwd=where)
        assert done.returncode == 0, f"{args}: {done.stderr}"
        return done.stdout

    assert stdout("validate") == "lab.yaml: lab kvm-network-lab is valid: 2 networks, 5 hosts (1 router)\n"
    rows = json.loads(stdout("verify", "--offline", "--json"))["results"]
    assert {row["host"] for row in rows} == {f"host0{number}" for number in range(5)}
    assert stdout("graph", "--format", "svg").startswith("<svg ")
    assert "hosts" in json.loads(stdout("schema"))["properties"]
    assert "complete" in stdout("completion", "bash")
    assert stdout("-V") == stdout("--version") == f"labrun {__version__}\n"
    module = run(commands / "python", "-P", "-m", "labrun", "--version", cwd=where)
    assert module.stdout == f"labrun {__version__}\n"


def test_the_wheel_works_without_the_repository(installed: Path, tmp_path: Path) -> None:
    check_what_needs_no_machine(installed, tmp_path)
    where = run(installed / "python", "-P", "-c", "import labrun; print(labrun.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(installed.parent))


@pytest.mark.full
@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_pip_installs_it_with_all_that_it_needs(built: Built, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "venv"
    venv.create(place, with_pip=True)
    file = built.sdist if kind == "sdist" else built.wheel
    pip = [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(file)], check=True, timeout=600)
    check_what_needs_no_machine(place / "bin", tmp_path)
    # The extra that makes it able to make machines: built from source.
    subprocess.run([*pip, f"labrun[libvirt] @ {file.as_uri()}"], check=True, timeout=600)
    assert run(place / "bin" / "python", "-c", "import libvirt", cwd=tmp_path).returncode == 0
