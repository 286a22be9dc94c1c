"""Checksums of downloads, and the files in which vendors publish them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from labrun.errors import LabrunError

__all__ = ["Digest", "find_digest", "measure"]

_CHUNK = 1024 * 1024
_ALGORITHMS = {64: "sha256", 128: "sha512"}
"""By the number of hex digits; MD5 and SHA-1 prove nothing."""
# "SHA256 (name) = hex" as BSD's tools write it, "hex  name" and "hex *name" as GNU's do, or the hex alone.
_BSD = re.compile(r"(?:SHA256|SHA512)\s*\((?P<name>[^)]+)\)\s*=\s*(?P<value>[0-9a-fA-F]+)")
_GNU = re.compile(r"(?P<value>[0-9a-fA-F]+)(?:\s+\*?(?P<name>\S.*))?")


class Digest(NamedTuple):
    """A checksum: ``algorithm`` is ``sha256`` or ``sha512``, ``value`` in lower-case hex."""

    algorithm: str
    value: str

    @classmethod
    def of(cls, value: str) -> Digest:
        """Return the digest with these hex digits. Raises ValueError for any other text."""
        algorithm = _ALGORITHMS.get(len(value)) if re.fullmatch("[0-9a-fA-F]+", value) else None
        if algorithm is None:
            raise ValueError(f"{value!r} is neither SHA-256 nor SHA-512")
        return cls(algorithm, value.lower())


def find_digest(text: str, file: str, where: str, *, only: bool = False) -> Digest:
    """Return the checksum of ``file`` by a vendor's list, the strongest if there are several.

    ``where`` is the list's address, for errors. ``only`` = the list is of this file alone: then a single
    entry counts, whatever name it has (links to the newest build have another one). Raises LabrunError.
    """
    found = list(_entries(text))
    mine = {digest for name, digest in found if name == file}
    if not mine and only:
        mine = {digest for _, digest in found}
    by_algorithm: dict[str, set[Digest]] = {}
    for digest in mine:
        by_algorithm.setdefault(digest.algorithm, set()).add(digest)
    for algorithm in ("sha512", "sha256"):
        several = by_algorithm.get(algorithm, set())
        if len(several) == 1:
            return several.pop()
        if several:
            raise LabrunError(f"{where} has several checksums for {file}", step="image")
    raise LabrunError(
        f"{where} has no SHA-256 or SHA-512 for {file}",
        step="image",
        hint="without a checksum it does not become an image",
    )


def _entries(text: str) -> Iterator[tuple[str, Digest]]:
    """Yield (file name, digest) of each line that is one; signatures around them are not looked at."""
    for line in text.splitlines():
        match = _BSD.fullmatch(line.strip()) or _GNU.fullmatch(line.strip())
        if match is None or len(match["value"]) not in _ALGORITHMS:
            continue
        yield PurePosixPath((match["name"] or "").strip()).name, Digest.of(match["value"])


def measure(path: Path, *algorithms: str, progress: Callable[[float], None] | None = None) -> dict[str, str]:
    """Return the hex digests of a file, by algorithm; ``progress`` gets the share that was read, 0 to 1."""
    sums = {name: hashlib.new(name) for name in algorithms}
    size = max(path.stat().st_size, 1)
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for each in sums.values():
                each.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done / size)
    return {name: each.hexdigest() for name, each in sums.items()}
