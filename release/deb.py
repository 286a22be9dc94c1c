"""Build labrun's Debian package: its Python environment, man pages, completions, units.

``python -m release.deb FOLDER`` writes ``labrun_VERSION_ARCHITECTURE.deb`` there. The environment holds what
labrun needs from the package index, in the versions of the day. python3-libvirt is the distribution's: it is
built for the libvirt there.
"""

from __future__ import annotations

import gzip
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from labrun import __version__
from labrun.libvirt_package import DEBIAN_PREFIX
from labrun.rendering import render_text
from labrun.runner.main import cli
from release.man_pages import man_pages

__all__ = ["build"]

_REPOSITORY: Final = Path(__file__).resolve().parents[1]
_PYTHON: Final = Path("/usr/bin/python3")
"""The distribution's: a package cannot count on another."""
_LAUNCHER: Final = f"""\
#!{DEBIAN_PREFIX}/bin/python -sP
from labrun.__main__ import main

main()
"""
_COMPLETIONS: Final = {
    "bash": "usr/share/bash-completion/completions/labrun",
    "zsh": "usr/share/zsh/vendor-completions/_labrun",
    "fish": "usr/share/fish/vendor_completions.d/labrun.fish",
}
_LAB: Final = "/etc/labrun/%i.yaml"
# %h is the home of whoever runs the unit, as systemd fills it in.
_STATE: Final = "-%h/.local/state/labrun"


def build(out: Path) -> Path:
    """Build the package in this folder and return its path."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="labrun-deb-") as name:
        root = Path(name) / "root"
        _add_environment(root, Path(name))
        _add_man_pages(root)
        _add_completions(root)
        _add_units(root)
        _add_documentation(root)
        _add_control(root)
        package = out / f"labrun_{__version__}_{_architecture()}.deb"
        # xz takes minutes of a slow core for a tenth less.
        compression = ("-Zzstd", "-z6", "--threads-max=1")
        _run("dpkg-deb", "--root-owner-group", *compression, "--build", str(root), str(package))
    return package


def _run(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def _architecture() -> str:
    return _run("dpkg", "--print-architecture").strip()


def _add_environment(root: Path, scratch: Path) -> None:
    """Install labrun and what it needs where the package will have it, and a launcher in /usr/bin."""
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(scratch), cwd=_REPOSITORY)
    (wheel,) = scratch.glob("*.whl")
    place = root / DEBIAN_PREFIX.relative_to("/")
    _run(str(_PYTHON), "-m", "venv", "--without-pip", "--system-site-packages", str(place))
    pip = (sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"))
    # What the distribution has of the same is not what the package was tested with.
    _run(*pip, "install", "--quiet", "--ignore-installed", "--no-compile", str(wheel))
    for program in (place / "bin").iterdir():
        if not program.is_symlink():
            program.unlink()
    configuration = place / "pyvenv.cfg"
    lines = configuration.read_text(encoding="utf-8").splitlines(keepends=True)
    # The line with the command that made it names a folder of this machine.
    configuration.write_text(
        "".join(line for line in lines if not line.startswith("command")), encoding="utf-8"
    )
    for cache in list(place.rglob("__pycache__")):
        shutil.rmtree(cache)
    launcher = root / "usr/bin/labrun"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(_LAUNCHER, encoding="utf-8")
    launcher.chmod(0o755)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _write_compressed(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a time, so that the same page is the same file.
    path.write_bytes(gzip.compress(data, 9, mtime=0))


def _add_man_pages(root: Path) -> None:
    for name, text in man_pages(cli).items():
        _write_compressed(root / "usr/share/man/man1" / f"{name}.gz", text.encode())


def _add_completions(root: Path) -> None:
    for shell, path in _COMPLETIONS.items():
        _write(root / path, _run(sys.executable, "-m", "labrun", "completion", shell, cwd=_REPOSITORY))


def _add_units(root: Path) -> None:
    """Add a timer for each lab in /etc/labrun, off until somebody enables it."""
    values = {
        "mark": f"# For the lab in {_LAB}: systemctl enable --now labrun-drift@NAME.timer",
        "lab": "%i",
        "command": f"/usr/bin/labrun --lab {_LAB} drift",
        "python_path": "",
        "writable": [_STATE],
        "private_tmp": True,
        "user": False,
        "needs_hypervisor": True,
        "calendar": "",
        "every": "15min",
        "jitter": "1min",
    }
    for kind in ("service", "timer"):
        text = render_text(f"systemd/drift.{kind}.j2", **values)
        _write(root / f"usr/lib/systemd/system/labrun-drift@.{kind}", text)


def _add_documentation(root: Path) -> None:
    place = root / "usr/share/doc/labrun"
    for folder in ("docs", "examples"):
        shutil.copytree(_REPOSITORY / folder, place / folder)
    shutil.copy(_REPOSITORY / "README.md", place)
    _write_compressed(place / "changelog.gz", (_REPOSITORY / "CHANGELOG.md").read_bytes())
    shutil.copy(_REPOSITORY / "release" / "debian" / "copyright", place / "copyright")


def _add_control(root: Path) -> None:
    control = root / "DEBIAN"
    control.mkdir()
    version = _run(str(_PYTHON), "-c", "import sys; print(*sys.version_info[:2], sep='.')").strip()
    major, minor = map(int, version.split("."))
    size = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    template = (_REPOSITORY / "release" / "debian" / "control").read_text(encoding="utf-8")
    fields = {
        "version": __version__,
        "architecture": _architecture(),
        "size": str(size),
        "python": version,
        "next_python": f"{major}.{minor + 1}",
        "libc": platform.libc_ver()[1],
    }
    _write(control / "control", template.format(**fields))
    for script in ("postinst", "prerm", "postrm"):
        text = (_REPOSITORY / "release" / "debian" / script).read_text(encoding="utf-8")
        _write(control / script, text.replace("@PREFIX@", str(DEBIAN_PREFIX)), 0o755)
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    sums = (
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(root)}\n"
        for path in files
        if control not in path.parents
    )
    _write(control / "md5sums", "".join(sums))


if __name__ == "__main__":
    sys.stdout.write(f"{build(Path(sys.argv[1]))}\n")
