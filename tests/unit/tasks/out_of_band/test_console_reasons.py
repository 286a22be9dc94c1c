"""Why a virtual machine does not boot, by what its serial console showed."""

from __future__ import annotations

import pytest

from labrun.tasks.guest.reason import Reason
from labrun.tasks.out_of_band.console_reasons import console_reasons

# The last lines of real consoles, shortened.
SHOWN = {
    """
[    2.1] VFS: Cannot open root device "LABEL=labrun-root" or unknown-block(0,0): error -6
[    2.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
[    2.3] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) ]---
""": "kernel panic: VFS: Unable to mount root fs on unknown-block(0,0)",
    """
[    4.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100
[    4.1] CPU: 0 PID: 1 Comm: false Not tainted 6.1.0-42-cloud-amd64
[    4.2] Rebooting in 5 seconds..
""": "kernel panic: Attempted to kill init! exitcode=0x00000100",
    """
Gave up waiting for root file system device.  Common problems:
 - Boot args (cat /proc/cmdline)
ALERT!  LABEL=nothing does not exist.  Dropping to a shell!
(initramfs)
""": "it stopped in the initial RAM file system: its root was not mounted",
    """
You are in emergency mode. After logging in, type "journalctl -xb" to view
system logs, "systemctl reboot" to reboot, "systemctl default" or "exit"
""": "it is in emergency mode: part of its boot failed",
    """
Booting from Hard Disk...
Boot failed: not a bootable disk

No bootable device.
""": "its firmware finds nothing that boots",
    """
BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x1,0x0): Not Found
BdsDxe: No bootable option or device was found.
""": "its firmware finds nothing that boots",
    """
error: no such partition.
Entering rescue mode...
grub rescue>
""": "its boot loader (GRUB) finds no kernel",
    "[   20.1] reboot: System halted": "it shut down (System halted)",
    """
[    3.0] Out of memory: Killed process 88 (systemd-udevd) total-vm:23000kB
[    3.1] Kernel panic - not syncing: System is deadlocked on memory
""": "kernel panic: System is deadlocked on memory; it is out of memory: systemd-udevd was killed",
}


@pytest.mark.parametrize("shown", SHOWN)
def test_the_end_of_a_boot_is_named(shown: str) -> None:
    assert list(console_reasons(shown)) == [Reason(SHOWN[shown])]


def test_what_the_boot_goes_on_with_is_only_possible() -> None:
    shown = "[   30.0] Out of memory: Killed process 312 (NetworkManager) total-vm:250000kB\n"
    assert list(console_reasons(shown)) == [
        Reason("it is out of memory: NetworkManager was killed", is_sure=False)
    ]
    shown = "[    9.9] EXT4-fs (vda3): error count since last fsck: 4\n"
    (found,) = console_reasons(shown)
    assert (found.text, found.is_sure) == (
        "its file system has errors: EXT4-fs (vda3): error count since last fsck: 4",
        False,
    )


@pytest.mark.parametrize(
    "shown",
    [
        "",
        None,
        "Debian GNU/Linux 12 one ttyS0\n\none login: ",
        # It panicked, restarted, and is up.
        "[    4.0] Kernel panic - not syncing: Attempted to kill init!\nDebian GNU/Linux 12\none login: ",
        "[  OK  ] Started ssh.service - OpenBSD Secure Shell server.\n",
    ],
)
def test_a_console_of_a_boot_that_goes_on_says_nothing(shown: str | None) -> None:
    assert list(console_reasons(shown)) == []


def test_a_disk_that_nothing_boots_from() -> None:
    text = "its disk does not boot: 512 bytes of it were read since the start, and the console is empty"
    assert list(console_reasons("", 512)) == [Reason(text)]
    assert "36 KiB" in next(console_reasons("", 36_864)).text
    # A firmware that has not come to it yet, a boot, and what cannot be known.
    for read in (0, 30_000_000, None):
        assert list(console_reasons("", read)) == []
    assert list(console_reasons(None, 512)) == []
