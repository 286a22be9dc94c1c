"""NICs that would have another name after the next boot: news only where a profile goes by the name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Captured
from tests.unit.next_boot_host import PROFILE, fault, ok

BY_NAME = PROFILE.replace("type=ethernet\n", "type=ethernet\ninterface-name=eth0\n", 1)
CHAIN = "loader /boot/grub/grub.cfg\nkernel /vmlinuz there 7,100,1\nwords root=/dev/vda1 {}quiet\n"
OTHER = (
    "eth0 could have another name after the next boot, and profile left goes by its name: "
    "the boot loader tells the kernel "
)


def _words(before: str, now: str) -> dict[str, Captured]:
    return {"boot-chain-before": ok(CHAIN.format(before)), "boot-chain": ok(CHAIN.format(now))}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"boot-names": ok("eth0 lan0\n")},
            "eth0 would be called lan0 after the next boot, and profile left goes by its name",
        ),
        (_words("net.ifnames=0 ", "net.ifnames=1 "), f"{OTHER}net.ifnames=1"),
        (_words("net.ifnames=0 ", ""), f"{OTHER}no longer net.ifnames=0"),
        (_words("", "biosdevname=1 "), f"{OTHER}biosdevname=1"),
    ],
)
def test_a_profile_that_goes_by_the_name(changes: dict[str, Captured], why: str) -> None:
    assert fault(changes, old=BY_NAME, new=BY_NAME) == why
    # A profile that goes by the MAC finds its NIC whatever it is called.
    assert fault(changes) is None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"boot-names": ok()},
        {"boot-names": ok("eth1 lan0\n")},
        _words("net.ifnames=0 ", "net.ifnames=0 "),
        _words("", "mitigations=off "),
    ],
)
def test_names_that_stay_are_no_news(changes: dict[str, Captured]) -> None:
    assert fault(changes, old=BY_NAME, new=BY_NAME) is None


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("lan0: Network interface 'eth0' is already up, cannot rename to 'lan0'.", "eth0 lan0\n"),
        ("Network interface 'eth0' is already up, refusing to rename to 'lan0'.", "eth0 lan0\n"),
        ("eth0: Policies didn't yield a name and Name= is not given, not renaming.", ""),
    ],
)
def test_udev_is_asked_what_it_would_call_a_nic(tmp_path: Path, said: str, named: str) -> None:
    program = tmp_path / "udevadm"
    program.write_text(
        f'#!/bin/sh\n[ "$*" = "test --action=add /sys/class/net/eth0" ] || exit\ncat {tmp_path}/said >&2\n'
    )
    program.chmod(0o755)
    (tmp_path / "said").write_text(f"Reading rules file\n{said}\nINTERFACE=lan0\n")
    (tmp_path / "drivers").write_text("eth0 virtio_net virtio0 /sys/d /sys/p virtio:d1\n")
    script = f"PATH={tmp_path}:$PATH guard={tmp_path}\n{guest_script('try_boot')}try_names\n"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == named
    (tmp_path / "drivers").write_text("")
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == ""
