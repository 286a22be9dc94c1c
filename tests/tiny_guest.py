"""A guest of one boot sector: it writes to its console and then rests or restarts; it costs no processor."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["BOOT_SECTOR", "GREETING", "boot_sector", "tiny_disk"]

GREETING = "hello from the test guest"
# cli; cld; ds = 0; si = the text behind the code; then each byte to the first serial port, up to a 0
_PRINT = "fafc31c08ed8be{text:04x}ac84c07406baf803eeebf5"
_REST = "f4ebfd"  # hlt for ever
_RESET = "b0fee664"  # as a keyboard controller does it: 0xfe to port 0x64
_AT = 0x7C00


def boot_sector(text: bytes, *, restarts: bool = False) -> bytes:
    """Return a sector that writes ``text`` to the first serial port, then rests, or restarts the machine."""
    rest = bytes.fromhex((_RESET if restarts else "") + _REST)
    length = len(bytes.fromhex(_PRINT.format(text=0))) + len(rest)
    where = int.from_bytes((_AT + length).to_bytes(2, "little"), "big")
    code = bytes.fromhex(_PRINT.format(text=where)) + rest
    return (code + text + b"\0").ljust(510, b"\0") + b"\x55\xaa"


BOOT_SECTOR = boot_sector(b"firmware's line\r\nhello from \x1b[1;32mthe test\x1b[0m guest\r\n")


def tiny_disk(path: Path, size: int = 1024 * 1024, sector: bytes = BOOT_SECTOR) -> Path:
    """Write a qcow2 disk of ``size`` bytes with the boot sector to ``path``; return that."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(sector)
    with raw.open("r+b") as file:
        file.truncate(size)
    command = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path
