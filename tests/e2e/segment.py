"""The hypervisor's own network, seen from a test."""

from __future__ import annotations

import subprocess

from labrun.hypervisor import daemon_pid

__all__ = ["on_hypervisor"]

URI = "lxc:///system"


def on_hypervisor(*words: str) -> str:
    """Run a command in the network that libvirtd is in; returns its output."""
    pid = daemon_pid(URI)
    assert pid is not None, "no libvirtd: run scripts/hypervisor start"
    done = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout
