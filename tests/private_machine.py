"""A machine of a test's own: namespaces with a libvirtd, where it may break filter, routes and services."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from labrun.tasks.provision.image_store import image_directory
from tests import places

__all__ = ["Doctor", "PrivateMachine", "private_machine"]

HYPERVISOR = str(places.ROOT / "scripts" / "hypervisor")
# Private files of libvirtd, labrun and scripts/hypervisor.
_FURNISH = r"""
# Mounts of a hypervisor that runs here would still be listed, and be taken for mounts below the new /run.
awk '$5 ~ "^/run/" {print $5}' /proc/self/mountinfo | tac | while read -r there; do umount -l "$there"; done
if [ -n "$2" ]; then mkdir "$1/images" && mount --bind "$2" "$1/images" || exit 1; fi
for folder in /run /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /var/lib/labrun; do
    mkdir -p $folder && mount -t tmpfs tmpfs $folder || exit 1
done
if [ -n "$2" ]; then mkdir -p "$2" && mount --bind "$1/images" "$2" || exit 1; fi
# Of libvirt's settings its files, but not what others define there.
mkdir /run/settings && cp /etc/libvirt/*.conf /run/settings && mount -t tmpfs tmpfs /etc/libvirt || exit 1
mkdir -p /etc/libvirt/storage/autostart && cp /run/settings/*.conf /etc/libvirt || exit 1
# Somebody's hook, which runs what a test puts into /run/hook: libvirtd looks for hooks only when it starts.
mkdir -p /etc/libvirt/hooks/network.d
printf '#!/bin/sh\n[ ! -x /run/hook ] || exec /run/hook "$@"\n' >/etc/libvirt/hooks/network.d/others
chmod 755 /etc/libvirt/hooks/network.d/others
mkdir -p /run/lock /run/netns /run/libvirt /var/log/libvirt/qemu /var/log/libvirt/lxc
echo ready
exec sleep 1000
"""


@dataclass(frozen=True)
class Doctor:
    """What one ``labrun doctor`` said: as text, and its findings by name."""

    exit_code: int
    stdout: str
    stderr: str
    document: Mapping[str, Any]

    def finding(self, name: str) -> dict[str, str]:
        """Return the finding with this name; the checks of one kind begin alike."""
        found = [each for each in self.document["doctor"] if each["name"] == name]
        assert len(found) == 1, self.document["doctor"]
        return dict(found[0])

    def bad(self, *names: str) -> list[str]:
        """Return the names of those that are neither ok nor skipped; only those that begin with ``names``."""
        return [
            each["name"]
            for each in self.document["doctor"]
            if each["status"] in ("warning", "failed") and each["name"].startswith(names or "")
        ]


@dataclass(frozen=True)
class PrivateMachine:
    """Namespaces that the process ``pid`` keeps; ``folder`` is for labs and state."""

    pid: int
    folder: Path

    def run(
        self,
        *command: str,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        cwd: Path | None = None,
        network: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program there, with ``network`` in libvirtd's network namespace."""
        inside = [HYPERVISOR, "enter"] if network else []
        return subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", f"--wdns={cwd or self.folder}", "--", *inside, *command],
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=check,
            stdin=subprocess.DEVNULL,
        )

    def type(self, line: str) -> None:
        """Type a line of shell, as it is printed; root needs no sudo."""
        done = self.run("sh", "-c", line.replace("sudo ", ""), check=False, network=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"

    def doctor(self, lab: str | None = None, *words: str, env: Mapping[str, str] | None = None) -> Doctor:
        """Run ``labrun doctor`` for a lab file's text, or without one."""
        if lab is not None:
            (self.folder / "given.yaml").write_text(lab)
            words = ("--lab", "given.yaml", *words)
        labrun = [sys.executable, "-m", "labrun", "--state-dir", "state", "--json", "doctor", *words]
        return self.said(self.run(*labrun, env=env, check=False))

    @staticmethod
    def said(done: subprocess.CompletedProcess[str]) -> Doctor:
        """Return what a doctor with ``--json`` said."""
        assert done.stdout, done.stderr
        return Doctor(done.returncode, done.stdout, done.stderr, json.loads(done.stdout))


@contextmanager
def private_machine(*, with_images: bool = False) -> Iterator[PrivateMachine]:
    """Yield a machine whose libvirtd answers, and end everything on it afterwards.

    With ``with_images``, it has the images that are here.
    """
    folder = Path(mkdtemp(prefix="labrun-machine-"))
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", _FURNISH]
    command += ["sh", str(folder), str(image_directory()) if with_images else ""]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            machine = PrivateMachine(holder.pid, folder)
            try:
                machine.run(HYPERVISOR, "start")
                yield machine
            finally:
                machine.run(HYPERVISOR, "stop", "--force", check=False)
        finally:
            holder.kill()
            shutil.rmtree(folder)
