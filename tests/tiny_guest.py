"""A guest of one boot sector: it writes a line to its console and then rests, so it costs no processor."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["BOOT_SECTOR", "GREETING", "tiny_disk"]

GREETING = "hello from the test guest"
# cli; cld; ds = 0; then each byte of the text to the first serial port; hlt for ever
BOOT_SECTOR = (
    bytes.fromhex("fafc31c08ed8be177cac84c07406baf803eeebf5f4ebfd")
    + b"firmware's line\r\nhello from \x1b[1;32mthe test\x1b[0m guest\r\n\0"
).ljust(510, b"\0") + b"\x55\xaa"


def tiny_disk(path: Path, size: int = 1024 * 1024) -> Path:
    """Write a qcow2 disk of ``size`` bytes with the boot sector to ``path``; return that."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(BOOT_SECTOR)
    with raw.open("r+b") as file:
        file.truncate(size)
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path
