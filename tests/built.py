"""labrun's source package and wheel as a release has them, and environments that they are installed in."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests import places

__all__ = ["Built", "build", "environment", "tracked"]


@dataclass(frozen=True, slots=True)
class Built:
    """The source package, and the wheel that was built from it."""

    sdist: Path
    wheel: Path


def tracked(*below: str) -> list[Path]:
    """Return the files that git knows, relative to the repository, links among them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *below], cwd=places.ROOT, capture_output=True, check=True, text=True
    )
    paths = map(Path, filter(None, listed.stdout.split("\0")))
    return [path for path in paths if (places.ROOT / path).is_symlink() or (places.ROOT / path).is_file()]


def build(folder: Path) -> Built:
    """Build a source package of the files that git knows, and a wheel from it, as a release does."""
    source = folder / "source"
    for path in tracked():
        origin, copy = places.ROOT / path, source / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_symlink():
            copy.symlink_to(origin.readlink())
        else:
            copy.write_bytes(origin.read_bytes())
            copy.chmod(origin.stat().st_mode)
    _hatch(source, folder, "sdist")
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(folder, filter="data")
    _hatch(folder / sdist.name.removesuffix(".tar.gz"), folder, "wheel")
    (wheel,) = folder.glob("*.whl")
    return Built(sdist, wheel)


def _hatch(source: Path, out: Path, target: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)


def environment(place: Path, wheel: Path, *, without: tuple[str, ...] = ()) -> Path:
    """Return the ``bin`` of a new environment that has the wheel, and nothing of the repository.

    What the wheel needs is linked from the environment of the tests, but for modules whose names begin with
    one of ``without``.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True, timeout=60)
    (packages,) = place.glob("lib/python3*/site-packages")
    for origin in Path(sysconfig.get_paths()["purelib"]).iterdir():
        # An editable install would lead to the repository.
        if not origin.name.startswith(("labrun", "_editable", "_labrun", "__", *without)):
            (packages / origin.name).symlink_to(origin)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python")]
    options = ["--no-deps", "--no-index", "--no-compile", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *options, str(wheel)], check=True, timeout=60)
    return place / "bin"
