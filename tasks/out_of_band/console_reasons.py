"""Why a virtual machine does not boot, as its serial console shows it; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from labrun.tasks.guest.reason import Reason

__all__ = ["console_reasons"]

_LONGEST = 200
# What firmware reads where nothing boots: the first sectors of the disk, both
# tables, and a boot loader's first stage.
_BOOTS_NOTHING = 1 << 20
# Of a boot that ended, from the firmware to the login.
# The last line that fits counts: a machine may have restarted.
_ENDS = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"Kernel panic - not syncing: (?P<said>.*?)(?: \]---)?$", "kernel panic: {said}"),
        (
            r"(?P<said>Gave up waiting for (?:root|suspend/resume).*?device)",
            "its kernel finds no root: {said}",
        ),
        (r"(?P<said>VFS: Unable to mount root fs.*)", "its kernel finds no root: {said}"),
        (r"^\(initramfs\)", "it stopped in the initial RAM file system: its root was not mounted"),
        (r"(?P<said>[Dd]racut.*(?:Could not boot|emergency).*|Entering emergency mode.*)", "{said}"),
        (r"You are in (?P<said>emergency|rescue) mode", "it is in {said} mode: part of its boot failed"),
        (r"Boot failed: not a bootable disk|No bootable device", "its firmware finds nothing that boots"),
        (
            r"BdsDxe: (?P<said>No bootable option or device was found)|UEFI Interactive Shell|^Shell> ",
            "its firmware finds nothing that boots",
        ),
        (r"^grub rescue>|^grub> *$", "its boot loader (GRUB) finds no kernel"),
        (r"(?P<said>error: (?:no such partition|unknown filesystem|file .* not found).*)", "GRUB: {said}"),
        (r"reboot: (?P<said>System halted|Power down)", "it shut down ({said})"),
    )
)
# What the kernel says of its troubles while the boot goes on.
_TROUBLES = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"Out of memory: Killed process \d+ \((?P<said>[^)]*)\)", "it is out of memory: {said} was killed"),
        (
            r"(?P<said>(?:EXT4|XFS|BTRFS)[^:]*: .*(?:error|corrupt|failed).*)",
            "its file system has errors: {said}",
        ),
        (r"(?P<said>I/O error, dev \w+.*)", "its disk has errors: {said}"),
    )
)


def console_reasons(shown: str | None, read: int | None = None) -> Iterator[Reason]:
    """Yield why no login is possible, by the end of the console of a VM; None = it could not be read.

    ``read`` is how much the VM has read of its disk since its start, in bytes. A console that shows
    a prompt for a login says nothing of an earlier end.
    """
    if shown is None:
        return
    lines = [line.strip()[:_LONGEST] for line in shown.splitlines() if line.strip()]
    if not lines and read is not None and 0 < read < _BOOTS_NOTHING:
        yield Reason(
            f"its disk does not boot: {_size(read)} of it were read since the start, and the console is empty"
        )
        return
    end = _last(lines, _ENDS)
    trouble = _last(lines, _TROUBLES)
    if end and trouble and end != trouble:
        yield Reason(f"{end}; {trouble}")
    elif end:
        yield Reason(end)
    elif trouble:
        yield Reason(trouble, is_sure=False)


def _last(lines: list[str], kinds: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for line in reversed(lines):
        for pattern, text in kinds:
            match = pattern.search(line)
            if match is not None:
                return text.format(**match.groupdict())
        if re.search(r"(?:^|\s)login: *$", line) and kinds is _ENDS:
            return ""
    return ""


def _size(count: int) -> str:
    return f"{count} bytes" if count < 1024 else f"{count // 1024} KiB"
