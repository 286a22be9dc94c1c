"""Download a file whose checksum is known: resumed where it broke off, and only whole if the checksum fits.

A partial file and the note about where it came from stay for the next try, also of another process. Whether
the server still has the same file is asked with If-Range (RFC 9110, section 13.1.5).
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Final

from labrun.errors import LabrunError
from labrun.state_files import DamagedFileError, parse_json, read_file, write_private
from labrun.tasks.provision.checksums import Digest, measure
from labrun.tasks.provision.http_client import DownloadError, opened, shown
from labrun.tasks.provision.image_integrity import require_room_for

__all__ = ["Patience", "Progress", "download", "forget", "read_text"]

_CHUNK: Final = 256 * 1024
_LARGEST_TEXT: Final = 1024 * 1024
_LARGEST_NOTE: Final = 16 * 1024
_PARTIAL, _NO_SUCH_RANGE = 206, 416
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Progress = Callable[[int, int | None], None]
"""Receives the bytes that are here, and those of the whole file if the server tells."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download waits and how much it takes.

    ``stall`` = seconds in which at least ``least`` bytes must come; ``tries`` in a row that bring nothing end
    it; ``largest`` in bytes.
    """

    stall: float = 30.0
    least: int = 4096
    tries: int = 3
    pause: float = 1.0
    largest: int = 32 * 2**30


@dataclass(frozen=True, slots=True)
class _Note:
    """What the partial file is the beginning of: the address, and the server's mark of that version."""

    url: str = ""
    mark: str = ""
    size: int | None = None


def download(
    urls: Sequence[str], target: Path, digest: Digest | None, *, progress: Progress, patience: Patience
) -> dict[str, str]:
    """Fetch a file from the first of ``urls`` that has it into ``target``; return its digests by algorithm.

    ``digest`` None = any content counts, and only HTTPS is trusted with that. What is there of ``target`` is
    the beginning of an earlier try. Raises DownloadError of the last address, the file then being partial;
    one with another checksum is deleted.
    """
    failed: DownloadError | None = None
    for url in urls:
        try:
            _from_one(url, target, digest is not None, progress, patience)
            return _verified(url, target, digest)
        except DownloadError as error:
            failed = error
    if failed is None:
        raise DownloadError("there is no address to download from", is_final=True)
    raise failed


def read_text(url: str, *, patience: Patience) -> str:
    """Return a small text, such as a list of checksums; only over HTTPS. Raises DownloadError."""
    with opened(url, proven=False, timeout=patience.stall) as response:
        data = response.read(_LARGEST_TEXT + 1)
        if len(data) > _LARGEST_TEXT:
            raise DownloadError(f"{shown(url)} is too large for a list of checksums", is_final=True)
        return data.decode("utf-8", "replace")


def _verified(url: str, target: Path, digest: Digest | None) -> dict[str, str]:
    found = measure(target, *dict.fromkeys(("sha256", digest.algorithm if digest else "sha256")))
    if digest is not None and found[digest.algorithm] != digest.value:
        forget(target)
        raise DownloadError(
            f"what came from {shown(url)} has another checksum: {digest.algorithm} "
            f"{found[digest.algorithm]}, and not {digest.value}",
            hint="it was changed at the vendor's or on the way: nothing of it is kept",
        )
    return found


def forget(target: Path) -> None:
    """Delete a partial file and its note."""
    target.unlink(missing_ok=True)
    _note_of(target).unlink(missing_ok=True)


def _from_one(url: str, target: Path, proven: bool, progress: Progress, patience: Patience) -> None:
    """Fetch the rest of a file; a try that brought something is followed by another."""
    furthest, vain = _size(target), 0
    while True:
        try:
            if _fetch(url, target, proven, progress, patience):
                return
            raise DownloadError(_too_short(url, target))
        except DownloadError as error:
            # What was begun anew counts only once it is further than before, and what drips does not.
            vain = 0 if _size(target) >= furthest + patience.least else vain + 1
            furthest = max(furthest, _size(target))
            if error.is_final or vain >= patience.tries:
                raise
        time.sleep(patience.pause)


def _fetch(url: str, target: Path, proven: bool, progress: Progress, patience: Patience) -> bool:
    """Make one request for what is missing. Return whether the file is whole now, by what the server said."""
    note, have = _read_note(target), _size(target)
    is_begun = note.url == url and bool(note.mark) and have > 0
    if is_begun and note.size == have:
        return True
    headers = {"Range": f"bytes={have}-", "If-Range": note.mark} if is_begun else {}
    try:
        with opened(url, proven=proven, timeout=patience.stall, headers=headers) as response:
            start, size = _offered(response)
            if response.status != _PARTIAL:
                have = 0
            elif start != have:
                raise DownloadError(
                    f"{shown(url)} sends from byte {start}, and {have} was asked for", status=_NO_SUCH_RANGE
                )
            _require_size(url, size, have, target, patience)
            _write_note(target, _Note(url, _mark(response), size))
            return _write(response, target, have, size, url, progress, patience)
    except DownloadError as error:
        if error.status == _NO_SUCH_RANGE:
            # The next try begins anew.
            forget(target)
        raise


def _offered(response: HTTPResponse) -> tuple[int, int | None]:
    """Return the first byte that comes, and the size of the whole file if the server says it."""
    if response.status == _PARTIAL:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            return -1, None
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None


def _mark(response: HTTPResponse) -> str:
    """Return the server's mark of this version of the file, empty if it has none that If-Range takes."""
    mark = response.headers.get("ETag", "")
    if mark and not mark.startswith("W/"):
        return mark
    return response.headers.get("Last-Modified", "")


def _require_size(url: str, size: int | None, have: int, target: Path, patience: Patience) -> None:
    if size is not None and size > patience.largest:
        raise DownloadError(
            f"{shown(url)} has {size} bytes, and labrun takes {patience.largest}", is_final=True
        )
    require_room_for((size or 0) - have, target.parent)


class _Partial:
    """The file that grows; what goes wrong with it is not the server's fault."""

    def __init__(self, path: Path, have: int) -> None:
        self._path = path
        with self._explained():
            self._file = path.open("r+b" if have else "wb", buffering=0)
            self._file.truncate(have)
            self._file.seek(have)

    def __enter__(self) -> _Partial:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, chunk: bytes) -> None:
        with self._explained():
            while chunk:
                chunk = chunk[self._file.write(chunk) :]

    def sync(self) -> None:
        with self._explained():
            os.fsync(self._file.fileno())

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LabrunError(f"cannot write {self._path}: {error.strerror}", step="image") from error


def _write(
    response: HTTPResponse,
    target: Path,
    have: int,
    size: int | None,
    url: str,
    progress: Progress,
    patience: Patience,
) -> bool:
    """Write what comes behind the first ``have`` bytes. Return whether that is all."""
    since, came = time.monotonic(), 0
    with _Partial(target, have) as file:
        while chunk := response.read1(_CHUNK):
            file.append(chunk)
            have, came = have + len(chunk), came + len(chunk)
            if have > patience.largest:
                raise DownloadError(f"{shown(url)} sends more than {patience.largest} bytes", is_final=True)
            progress(have, size)
            now = time.monotonic()
            if now - since > patience.stall:
                if came < patience.least:
                    raise DownloadError(f"{shown(url)} sent only {came} bytes in {patience.stall:g} s")
                since, came = now, 0
        file.sync()
    return size is None or have == size


def _too_short(url: str, target: Path) -> str:
    size = _read_note(target).size
    return f"{shown(url)} broke off after {_size(target)} of {size} bytes"


def _size(target: Path) -> int:
    try:
        return target.stat().st_size
    except FileNotFoundError:
        return 0


def _note_of(target: Path) -> Path:
    return target.with_name(target.name + ".json")


def _read_note(target: Path) -> _Note:
    try:
        data = read_file(_note_of(target), largest=_LARGEST_NOTE)
        found = parse_json(data) if data else {}
    except (DamagedFileError, ValueError):
        return _Note()
    if not isinstance(found, dict):
        return _Note()
    url, mark, size = found.get("url"), found.get("mark"), found.get("size")
    return _Note(
        url if isinstance(url, str) else "",
        mark if isinstance(mark, str) else "",
        size if isinstance(size, int) else None,
    )


def _write_note(target: Path, note: _Note) -> None:
    # Only for its owner: an address may have a password in it.
    write_private(_note_of(target), json.dumps({"url": note.url, "mark": note.mark, "size": note.size}))
