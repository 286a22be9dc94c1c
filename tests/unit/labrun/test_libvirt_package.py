"""What to install in place of a libvirt-python that is missing, wherever labrun came from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from labrun.errors import NoLibvirtError
from labrun.hypervisor import as_hypervisor_error
from labrun.libvirt_package import how_to_install

APT = " (its build needs: sudo apt-get install libvirt-dev pkg-config gcc python3-dev)"
DNF = " (its build needs: sudo dnf install libvirt-devel pkgconf-pkg-config gcc python3-devel)"
NEITHER = " (its build needs: libvirt's headers, pkg-config and a C compiler)"


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/ann/venv", "/home/ann/venv/bin/python -m pip install 'labrun[libvirt]'"),
        ("/home/ann/.local/pipx/venvs/labrun", "pipx install --force 'labrun[libvirt]'"),
        ("/home/ann/.local/share/uv/tools/labrun", "uv tool install 'labrun[libvirt]'"),
    ],
)
@pytest.mark.parametrize(("tool", "build"), [("apt-get", APT), ("dnf", DNF), (None, NEITHER)])
def test_it_is_installed_as_labrun_was(
    prefix: str,
    command: str,
    tool: str | None,
    build: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if tool:
        (tmp_path / tool).touch(mode=0o755)
    assert how_to_install(Path(prefix)) == command + build


def test_the_debian_package_takes_the_distributions() -> None:
    assert how_to_install(Path("/usr/lib/labrun")) == "sudo apt-get install python3-libvirt"


def test_an_import_anywhere_is_such_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    # None makes an import fail as for a module that is not there.
    monkeypatch.setitem(sys.modules, "libvirt_qemu", None)
    with pytest.raises(ImportError) as missing:
        import libvirt_qemu  # noqa: F401
    error = as_hypervisor_error(missing.value)
    assert isinstance(error, NoLibvirtError)
    assert error.reason == "this needs libvirt, and libvirt-python is not installed"
    assert error.exit_code == 5


def test_a_library_that_is_gone_is_named() -> None:
    gone = ImportError("libvirt.so.0: cannot open shared object file", name="libvirtmod")
    error = as_hypervisor_error(gone)
    assert isinstance(error, NoLibvirtError)
    assert error.reason == "libvirt-python cannot be loaded: libvirt.so.0: cannot open shared object file"
    assert error.hint is not None
    assert error.hint.startswith("it needs the library of libvirt, or has to be built again: ")


def test_another_import_is_none_of_libvirts() -> None:
    assert as_hypervisor_error(ModuleNotFoundError("no", name=f"x{os.getpid()}")) is None
