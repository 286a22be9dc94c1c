"""What to do if this Python lacks an extra: libvirt-python, which is built from source, or another."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from labrun.errors import NoLibvirtError

__all__ = ["how_to_install", "how_to_install_extra", "is_libvirt_missing", "not_installed"]

DEBIAN_PREFIX: Final = Path("/usr/lib/labrun")
"""Where labrun's Debian package keeps its Python environment, which uses the system's python3-libvirt."""
_MODULES: Final = ("libvirt", "libvirt_qemu", "libvirtmod", "libvirtmod_qemu")
_HEADERS: Final = {
    "apt-get": "apt-get install libvirt-dev pkg-config gcc python3-dev",
    "dnf": "dnf install libvirt-devel pkgconf-pkg-config gcc python3-devel",
}


def is_libvirt_missing(error: BaseException) -> bool:
    """Return whether an error is the import of a libvirt-python that is not there."""
    return isinstance(error, ImportError) and error.name in _MODULES


def not_installed(error: ImportError) -> NoLibvirtError:
    """Return the error for a command that needs libvirt, from the import that failed."""
    if isinstance(error, ModuleNotFoundError):
        return NoLibvirtError(
            "this needs libvirt, and libvirt-python is not installed", step="libvirt", hint=how_to_install()
        )
    # It is there, and the C library that it was built for is not.
    return NoLibvirtError(
        f"libvirt-python cannot be loaded: {error}",
        step="libvirt",
        hint=f"it needs the library of libvirt, or has to be built again: {how_to_install()}",
    )


def how_to_install(prefix: Path | None = None) -> str:
    """Return the commands that install libvirt-python the way labrun itself was installed.

    ``prefix`` is that of labrun's Python environment, by default of the running one.
    """
    prefix = Path(sys.prefix) if prefix is None else prefix
    if prefix == DEBIAN_PREFIX:
        return "sudo apt-get install python3-libvirt"
    headers = next((command for tool, command in _HEADERS.items() if shutil.which(tool)), None)
    build = f"sudo {headers}" if headers else "libvirt's headers, pkg-config and a C compiler"
    return f"{how_to_install_extra('libvirt', prefix)} (its build needs: {build})"


def how_to_install_extra(extra: str, prefix: Path | None = None) -> str:
    """Return the command that adds an extra the way labrun itself was installed; ``prefix`` as above."""
    prefix = Path(sys.prefix) if prefix is None else prefix
    if "pipx" in prefix.parts:
        return f"pipx install --force 'labrun[{extra}]'"
    if prefix.parent.parts[-2:] == ("uv", "tools"):
        return f"uv tool install 'labrun[{extra}]'"
    if prefix == DEBIAN_PREFIX:
        return f"pipx install 'labrun[{extra}]', beside the Debian package, which does not have it"
    return f"{prefix / 'bin' / 'python'} -m pip install 'labrun[{extra}]'"
