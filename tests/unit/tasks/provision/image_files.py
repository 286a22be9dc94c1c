"""Small disk images that qemu-img makes, for tests: each has a boot mark, like a disk that starts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
SIZE = 1024 * 1024
"""Bytes of each disk."""


def boot_disk(content: bytes = b"one") -> bytes:
    """Return a disk that begins with ``content`` and has the mark of a boot sector."""
    return (content.ljust(510, b"\0") + b"\x55\xaa").ljust(SIZE, b"\0")


def qcow2(path: Path, *options: str, content: bytes = b"one", to: str = "qcow2") -> Path:
    """Write a disk with ``content`` to ``path``, in the format ``to``."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(boot_disk(content))
    return converted(raw, path, *options, to=to)


def converted(raw: Path, path: Path, *options: str, to: str = "qcow2") -> Path:
    """Convert a raw disk to ``path``."""
    command = ["qemu-img", "convert", "-f", "raw", "-O", to, *options, str(raw), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path
