"""A wheel of the labrun that is running, and what other machines have to have in common with it."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

import labrun
from labrun.errors import LabrunError, UsageError
from labrun.regular_files import read_regular

__all__ = ["Wheel", "given_wheel", "own_wheel", "pins", "source_of"]

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can name
_LARGEST: Final = 64 * 1024 * 1024
_TAGS: Final = "Wheel-Version: 1.0\nGenerator: labrun\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_KEPT: Final = ("METADATA", "entry_points.txt")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel: its file name, content, and the version and the source that it has (:func:`source_of`)."""

    name: str
    content: bytes
    version: str
    source: str

    @property
    def folder(self) -> str:
        """Return the name of the folder for this wheel: another labrun has another one."""
        return f"{self.version}-{hashlib.sha256(self.content).hexdigest()[:12]}"


def own_wheel() -> Wheel:
    """Return a wheel of the running package. The same files make the same wheel, to the byte.

    Raises UsageError if it is installed without metadata.
    """
    try:
        installed = metadata.distribution("labrun")
        kept = {name: installed.read_text(name) for name in _KEPT}
        version = installed.version
    except metadata.PackageNotFoundError:
        kept, version = {}, ""
    if not kept.get("METADATA"):
        raise UsageError("this labrun is not installed as a package", hint="name a wheel with --wheel FILE")
    info = f"labrun-{version}.dist-info"
    files = {f"labrun/{name}": content for name, content in _package_files(_package())}
    files |= {f"{info}/{name}": text.encode() for name, text in kept.items() if text}
    files[f"{info}/WHEEL"] = _TAGS.encode()
    record = "".join(f"{name},{_digest(content)},{len(content)}\n" for name, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    return Wheel(f"labrun-{version}-py3-none-any.whl", _packed(files), version, source_of(_package()))


def given_wheel(path: Path) -> Wheel:
    """Return the wheel in a file. Raises UsageError if it is not a wheel of labrun's."""
    try:
        content = read_regular(path, _LARGEST)
        with zipfile.ZipFile(BytesIO(content)) as packed:
            names = sorted(name for name in packed.namelist() if _is_source(name))
            source = _hash((name.removeprefix("labrun/"), packed.read(name)) for name in names)
    except (OSError, zipfile.BadZipFile) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path}: {why}", step="--wheel") from error
    name, _, rest = path.name.partition("-")
    version = rest.partition("-")[0]
    if name != "labrun" or not path.name.endswith(".whl") or not version or not names:
        raise UsageError(f"{path} is not a wheel of labrun", step="--wheel")
    return Wheel(path.name, content, version, source)


@cache
def source_of(package: Path | None = None) -> str:
    """Return the first 12 digits of a hash of the package's Python files and templates."""
    return _hash(
        (name, content) for name, content in _package_files(package or _package()) if _is_source(name)
    )


def pins(extras: frozenset[str]) -> Mapping[str, str]:
    """Return the version here of each package that labrun with these extras needs, by its name."""
    found: dict[str, str] = {}
    left = [("labrun", extras)]
    while left:
        name, wanted = left.pop()
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        if name != "labrun":
            found[name] = distribution.version
        for line in distribution.requires or ():
            needed = Requirement(line)
            envs = [{"extra": extra} for extra in (*wanted, "")]
            applies = needed.marker is None or any(needed.marker.evaluate(env) for env in envs)
            if applies and needed.name not in found:
                left.append((needed.name, frozenset(needed.extras)))
    return found


def _package() -> Path:
    if labrun.__file__ is None:
        raise LabrunError("this labrun has no folder")
    return Path(labrun.__file__).parent


def _package_files(package: Path) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file of the package, in order. In a repository, links lead to parts."""
    for folder, below, files in os.walk(package, followlinks=True):
        below[:] = sorted(name for name in below if name != "__pycache__")
        for name in sorted(files):
            path = Path(folder, name)
            if not name.endswith(".pyc"):
                yield path.relative_to(package).as_posix(), path.read_bytes()


def _is_source(name: str) -> bool:
    return name.endswith((".py", ".sh", ".j2", ".xml", ".yaml")) and ".dist-info/" not in name


def _hash(files: Iterator[tuple[str, bytes]]) -> str:
    total = hashlib.sha256()
    for name, content in sorted(files):
        total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()[:12]


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _packed(files: Mapping[str, bytes]) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, content)
    return out.getvalue()
