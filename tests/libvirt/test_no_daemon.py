"""Without a libvirtd nobody is dialled: where its network is not, the address of a guest is a stranger's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LAB = """\
name: no-daemon
hypervisor: lxc:///system
networks: {n: {mode: isolated, cidr: 10.77.0.0/24}}
hosts: {a: {networks: {n: 10.77.0.11}}}
"""
# A machine of its own, without a libvirtd; a stranger there has the guest's address, and counts who calls.
PLACE = """\
set -e
mount -t tmpfs none /run
ip link set lo up
ip address add 10.77.0.11/32 dev lo
exec "$@"
"""
STRANGER = """\
import select, socket, subprocess, sys
listener = socket.create_server(("10.77.0.11", 22), backlog=16)
done = subprocess.run([sys.executable, "-m", "labrun", *sys.argv[1:]])
called = bool(select.select([listener], [], [], 0)[0])
print("called" if called else "left alone")
sys.exit(done.returncode)
"""


@pytest.mark.parametrize("words", ["exec true", "ssh a true", "configure", "verify", "drift", "run task.py"])
def test_an_address_of_a_guest_is_not_dialled(tmp_path: Path, words: str) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    (tmp_path / "task.py").write_text("def task(task):\n    return 'ok'\n")
    stranger = [sys.executable, "-c", STRANGER, "--state-dir", str(tmp_path / "state"), *words.split()]
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", PLACE, "sh", *stranger],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "left alone\n"
    first, *hints = done.stderr.splitlines()
    assert first.startswith("error: libvirt: cannot open lxc:///system: Failed to connect socket")
    assert hints[-1] == "hint: `labrun doctor` checks this machine"
    assert done.returncode == 5
