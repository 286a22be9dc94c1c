"""Words for the kernel that keep it from loading what a NIC or the root file system needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labrun.tasks.guest.scripts import guest_script
from tests.unit.next_boot_host import fault, ok


def test_a_module_that_is_barred_is_named() -> None:
    line = "modprobe.blacklist=virtio_net virtio-net\n"
    assert fault({"boot-words": ok(line)}) == (
        "the next boot would not load virtio-net: "
        "the boot loader tells the kernel modprobe.blacklist=virtio_net"
    )
    assert fault({"boot-words": ok()}) is None


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("quiet modprobe.blacklist=nouveau,virtio_net", "modprobe.blacklist=nouveau,virtio_net virtio-net\n"),
        ("module_blacklist=virtio-blk quiet", "module_blacklist=virtio-blk virtio-blk\n"),
        # Only the second kind keeps a module from being loaded for another one.
        ("module_blacklist=net_failover", "module_blacklist=net_failover net-failover\n"),
        ("modprobe.blacklist=net_failover", ""),
        ("modprobe.blacklist=nouveau module_blacklist=virtio", ""),
        # That is told already.
        ("modprobe.blacklist=ext4", ""),
        ("quiet", ""),
    ],
)
def test_only_new_words_about_modules_that_are_needed(tmp_path: Path, words: str, named: str) -> None:
    (tmp_path / "drivers").write_text("eth0 virtio_net virtio0 /sys/d /sys/p virtio:d1\n")
    (tmp_path / "chain").write_text("words root=/dev/vda1 modprobe.blacklist=ext4\n")
    program = tmp_path / "modprobe"
    program.write_text(
        "#!/bin/sh\necho insmod /lib/modules/6/net_failover.ko.xz\necho insmod /lib/modules/6/$2.ko.xz x=1\n"
    )
    program.chmod(0o755)
    script = f"PATH={tmp_path}:$PATH guard={tmp_path}\n{guest_script('try_boot')}"
    script += f"chain_state() {{ echo 'words root=/dev/vda1 {words}'; }}\n"
    script += "root_modules() { echo ext4; echo virtio-blk; }\ntry_words\n"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == named
