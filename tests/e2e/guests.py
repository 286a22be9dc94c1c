"""Guests from outside: a root shell that needs no network, and everything that a change may touch."""

from __future__ import annotations

import subprocess
import time

__all__ = ["STATE", "inside", "wait_until"]

# By other commands than labrun's own.
STATE = r"""
cd /etc; grep -r . NetworkManager/system-connections ssh/sshd_config.d ssh/sshd_config sysctl.d sudoers.d
find NetworkManager ssh sysctl.d systemd/system -name '*labrun*' -printf '%p %m %u\n' | sort
ip -brief -4 address show dev eth0 | sed 's/@[^ ]*//' | tr -s ' '
ip route; cat /proc/sys/net/ipv4/ip_default_ttl
nmcli -t -f UUID,DEVICE,STATE connection show --active | grep -v :lo:
sshd -T | sort
nft list ruleset; ls /etc/labrun /etc/systemd/system | grep labrun-nft; ls /run | grep labrun-guard
ls -A /var/lib/labrun | grep -vE 'rolled-back|^begun$'
systemctl list-units --all --no-legend 'labrun-guard-*'
busctl get-property org.freedesktop.NetworkManager /org/freedesktop/NetworkManager \
org.freedesktop.NetworkManager Checkpoints
true
"""


def inside(domain: str, script: str) -> str:
    """Run a script as root in a container, whatever its network and its sshd do; returns its output.

    Fails with virsh's own words when there is no way into the container.
    """
    output, error = _entered(domain, script)
    assert error == "", error
    return output


def _entered(domain: str, script: str) -> tuple[str, str]:
    """Return what a script printed in a container, and why virsh could not run it there, else ''."""
    words = ["virsh", "-c", "lxc:///system", "lxc-enter-namespace", domain, "--noseclabel", "--"]
    done = subprocess.run(
        [*words, "/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    # virsh adds a line of its own to what the script printed, and one about how it ended.
    output = done.stdout.removesuffix("\n")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    errors = [line for line in errors if "Child process" not in line]
    return output, f"{domain}: {' '.join(errors)}" if errors else ""


def wait_until(domain: str, condition: str, *, seconds: float = 120.0) -> None:
    """Wait until a shell condition holds in a container; fails when ``seconds`` have passed."""
    until = time.monotonic() + seconds
    script = f"if {condition}; then echo yes; fi"
    # A container that starts has no way in for a moment.
    while "yes" not in (answer := _entered(domain, script))[0]:
        assert time.monotonic() < until, f"{domain}: not in {seconds} s: {condition} {answer[1]}"
        time.sleep(0.1)
