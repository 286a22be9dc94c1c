"""Read and write libvirt volumes over the libvirt connection, which may be remote."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from labrun.errors import HypervisorError
from labrun.tasks.provision.volumes import create_raw, delete_volume, find_volume

__all__ = ["is_complete", "read_tail", "read_volume", "upload_image", "write_volume"]

# libvirt carries at most 256 KiB in one stream message, including its header.
_CHUNK = 256 * 1024 - 64
_QCOW2_MAGIC = b"QFI\xfb"
_HEADER = 64 * 1024
_OTHERS_DEADLINE = 900.0
_POLL = 0.2


def write_volume(connection: Any, volume: Any, data: bytes, offset: int = 0) -> None:
    """Write ``data`` into a volume at ``offset``."""
    stream = connection.newStream(0)
    try:
        volume.upload(stream, offset, len(data), 0)
        _send(stream, data)
        stream.finish()
    except BaseException:
        _abort(stream)
        raise


def _send(stream: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        sent = stream.send(bytes(view[:_CHUNK]))
        view = view[sent:]


def _abort(stream: Any) -> None:
    import contextlib

    import libvirt

    # The stream may be over already; the first error is the one to report.
    with contextlib.suppress(libvirt.libvirtError):
        stream.abort()


def read_volume(connection: Any, volume: Any, offset: int = 0, length: int = 0) -> bytes:
    """Return ``length`` bytes from ``offset``, all up to the end for 0."""
    stream = connection.newStream(0)
    parts: list[bytes] = []
    try:
        volume.download(stream, offset, length, 0)
        while part := stream.recv(_CHUNK):
            parts.append(part)
        stream.finish()
    except BaseException:
        _abort(stream)
        raise
    return b"".join(parts)


def read_tail(connection: Any, volume: Any, most: int) -> bytes:
    """Return the last ``most`` bytes of a volume that may be growing."""
    # info() looks at the file; XMLDesc() would report the size at the last refresh.
    size = int(volume.info()[1])
    return read_volume(connection, volume, max(0, size - most)) if size else b""


def is_complete(connection: Any, volume: Any) -> bool:
    """Tell whether an image's upload is complete: its first block is sent last."""
    return read_volume(connection, volume, 0, len(_QCOW2_MAGIC)) == _QCOW2_MAGIC


def upload_image(
    connection: Any, pool: Any, name: str, path: Path, progress: Callable[[float], None] = lambda _share: None
) -> bool:
    """Upload a qcow2 file into the pool as volume ``name``; return False if it is there.

    Safe against a kill halfway and against a parallel upload by another labrun: an abandoned upload is
    replaced, one in progress is waited for. Raises HypervisorError.
    """
    deadline = time.monotonic() + _OTHERS_DEADLINE
    with path.open("rb") as file:
        # The file itself is the lock: the lock ends with the process, and both upload from the same file.
        # Against another controller only libvirt protects, which deletes no volume while a stream fills it.
        while not _try_lock(file.fileno()):
            _wait(name, deadline, "another labrun on this machine is uploading it")
        volume = find_volume(pool, name)
        if volume is not None and is_complete(connection, volume):
            return False
        volume = _make_anew(pool, name, os.fstat(file.fileno()).st_size, deadline)
        _upload(connection, volume, file, progress)
        return True


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(name: str, deadline: float, why: str) -> None:
    if time.monotonic() > deadline:
        raise HypervisorError(f"the volume {name} is not finished: {why}", step="image")
    time.sleep(_POLL)


def _make_anew(pool: Any, name: str, size: int, deadline: float) -> Any:
    import libvirt

    while True:
        try:
            delete_volume(pool, name)
            return create_raw(pool, name, size)
        except libvirt.libvirtError as error:
            _wait(name, deadline, error.get_error_message() or str(error))


def _upload(connection: Any, volume: Any, file: BinaryIO, progress: Callable[[float], None]) -> None:
    """Send a file with its holes, the header last, as the sign that the rest is complete."""
    import libvirt

    header = file.read(_HEADER)
    size = os.fstat(file.fileno()).st_size
    if size > len(header):
        stream = connection.newStream(0)
        try:
            flags = libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM
            volume.upload(stream, len(header), size - len(header), flags)
            _send_sparse(stream, file.fileno(), len(header), size, progress)
            stream.finish()
        except BaseException:
            _abort(stream)
            raise
    write_volume(connection, volume, header)


def _send_sparse(stream: Any, file: int, start: int, size: int, progress: Callable[[float], None]) -> None:
    position = start
    while position < size:
        data = _next_data(file, position, size)
        if data > position:
            stream.sendHole(data - position, 0)
        end = os.lseek(file, data, os.SEEK_HOLE) if data < size else size
        for at in range(data, end, _CHUNK):
            _send(stream, os.pread(file, min(_CHUNK, end - at), at))
            progress(at / size)
        position = end
    progress(1.0)


def _next_data(file: int, position: int, size: int) -> int:
    try:
        return os.lseek(file, position, os.SEEK_DATA)
    except OSError:
        # ENXIO: only a hole up to the end.
        return size
