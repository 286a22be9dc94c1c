"""The Debian package on a real Debian: the root tree of the image, with an overlay of the test's own."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun import __version__
from labrun.tasks.provision.image_store import image_paths
from release.deb import build
from tests import places

pytestmark = [pytest.mark.lxc, pytest.mark.full]

# dpkg's own books, what it keeps of any package, and what is in memory on a machine that runs.
BOOKS = re.compile(r"(var/(lib/dpkg|log|cache/ldconfig)|run)(/|$)|etc/ld\.so\.cache$")


class Machine:
    """A root tree that programs run in, and what was written to it."""

    def __init__(self, root: Path, upper: Path) -> None:
        self.root = root
        self.upper = upper

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the tree, as its root, with nothing of this machine's environment."""
        env = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        return subprocess.run(
            ["chroot", str(self.root), *env, *command],
            cwd="/",
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def folder(self) -> set[str]:
        """Return what is in the package's folder, where the image has two scripts of its own."""
        folder = self.root / "usr/lib/labrun"
        return {str(path.relative_to(folder)) for path in folder.rglob("*")}

    def changes(self) -> set[str]:
        """Return the files that differ from the image, but for dpkg's books."""
        paths = (path for path in self.upper.rglob("*") if path.is_symlink() or not path.is_dir())
        return {name for path in paths if not BOOKS.match(name := str(path.relative_to(self.upper)))}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    lower = image_paths("debian-12").rootfs
    upper, work, root = (tmp_path / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir()
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)], check=True, timeout=60)
    # The image leaves out man pages and completions of whatever is installed there.
    for configuration in (root / "etc/dpkg/dpkg.cfg.d").iterdir():
        configuration.unlink()
    try:
        yield Machine(root, upper)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True, timeout=60)


def test_it_is_installed_works_and_is_removed_without_a_trace(package: Path, machine: Machine) -> None:
    (machine.root / "var/labrun.deb").write_bytes(package.read_bytes())
    (machine.root / "root/lab.yaml").write_bytes((places.EXAMPLES / "kvm-network-lab.yaml").read_bytes())
    before, own = machine.changes(), machine.folder()
    installed = machine.run("dpkg", "--install", "/var/labrun.deb")
    assert installed.returncode == 0, installed.stderr

    version = machine.run("labrun", "-V")
    assert (version.stdout, version.stderr) == (f"labrun {__version__}\n", "")
    lab = ("--lab", "/root/lab.yaml")
    valid = machine.run("labrun", *lab, "validate")
    assert (valid.returncode, valid.stderr) == (0, "")
    expected = json.loads(machine.run("labrun", *lab, "verify", "--offline", "--json").stdout)
    assert {row["host"] for row in expected["results"]} == {f"host0{number}" for number in range(5)}
    needs = machine.run("labrun", *lab, "plan")
    assert needs.returncode == 5
    assert "hint: sudo apt-get install python3-libvirt\n" in needs.stderr

    there = machine.changes()
    assert {
        "usr/share/man/man1/labrun.1.gz",
        "usr/share/man/man1/labrun-image-build.1.gz",
        "usr/share/bash-completion/completions/labrun",
        "usr/share/zsh/vendor-completions/_labrun",
        "usr/share/fish/vendor_completions.d/labrun.fish",
        "usr/share/doc/labrun/examples/kvm-network-lab.yaml",
    } <= there
    # Compiled once, by root, and not at every start.
    assert any(name.endswith("labrun/runner/__pycache__/main.cpython-311.pyc") for name in there)
    units = machine.run(
        "systemd-analyze", "verify", "--man=no", "labrun-drift@demo.timer", "labrun-drift@demo.service"
    )
    assert (units.returncode, units.stderr) == (0, "")
    assert machine.run("dpkg", "--verify", "labrun").stdout == ""

    removed = machine.run("dpkg", "--remove", "labrun")
    assert removed.returncode == 0, removed.stderr
    assert "not empty" not in removed.stderr
    left = machine.changes() - before
    assert {name for name in left if not name.startswith("root/")} == set()
    assert machine.folder() == own


def test_it_can_be_installed_twice_and_purged(package: Path, machine: Machine) -> None:
    (machine.root / "var/labrun.deb").write_bytes(package.read_bytes())
    for _ in range(2):
        assert machine.run("dpkg", "--install", "/var/labrun.deb").returncode == 0
    assert machine.run("labrun", "--version").returncode == 0
    assert machine.run("dpkg", "--purge", "labrun").returncode == 0
    assert machine.run("dpkg-query", "--show", "labrun").returncode == 1
