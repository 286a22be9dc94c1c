"""This labrun inside a guest, for tests that need a systemd: the checkout and what it needs, over SSH."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests import places
from tests.labs import RunningLab

__all__ = ["LABRUN", "PYTHON_FITS", "put_labrun_into"]

ROOT = places.ROOT
LABRUN = "/opt/labrun/labrun"
PYTHON_FITS = sys.version_info[:2] == (3, 11)
"""Compiled packages only work in the guest when its Python (Debian 12's) is this one."""
START = """\
#!/usr/bin/python3
import sys
sys.path[:0] = ["/opt/labrun/source", "/opt/labrun/packages"]
from labrun.__main__ import main
main()
"""


def put_labrun_into(lab: RunningLab, host: str, extra: str = "") -> None:
    """Unpack labrun, with an ``extra`` of it, below ``/opt/labrun`` of a host; :data:`LABRUN` starts it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=False) as archive:
        for folder in ("labrun", "runner", "tasks", "inventory", "templates"):
            archive.add(ROOT / folder, f"opt/labrun/source/{folder}")
        for path, name in _files(extra):
            archive.add(path, f"opt/labrun/packages/{name}")
        script = tarfile.TarInfo("opt/labrun/labrun")
        script.mode, script.size = 0o755, len(START)
        archive.addfile(script, io.BytesIO(START.encode()))
    unpack = lab.arguments("ssh", host, "sudo tar -x -C / --no-same-owner")
    done = subprocess.run(
        unpack, env=lab.environment(), input=buffer.getvalue(), capture_output=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()


def _files(extra: str) -> list[tuple[Path, str]]:
    """Return path and name of every file of the packages that labrun needs, with one of its extras."""
    wanted, known = ["labrun"], set[str]()
    found = []
    while wanted:
        name = wanted.pop()
        if name in known:
            continue
        known.add(name)
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # for another Python or system
        needs = [Requirement(text) for text in package.requires or ()]
        wanted += [
            need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})
        ]
        if name != "labrun":
            files = [(Path(str(file.locate())), str(file)) for file in package.files or ()]
            found += [(path, file) for path, file in files if not file.startswith("..") and path.is_file()]
    return found
