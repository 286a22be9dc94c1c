"""Further hypervisors for a test: a libvirtd and an sshd in namespaces of their own, a wire to the first.

Each has a network namespace that only the wire leads into, and a mount namespace with a /run, a
/var/lib/libvirt and an /etc/libvirt of its own. libvirt goes by the host's UUID, which its file gives.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from labrun.hypervisor import daemon_pid
from labrun.key_pairs import make_host_key
from labrun.state_files import write_private
from tests.loopback_sshd import SSHD

__all__ = ["FIRST", "FurtherHypervisor", "further_hypervisor", "in_first", "own_ssh", "with_ssh"]

FIRST = "qemu:///system"
PORT = 2222
_SECONDS = 120
_OWN = (
    "/run",
    "/var/lib/labrun",
    "/var/lib/libvirt",
    "/etc/libvirt",
    "/var/cache/libvirt",
    "/var/log/libvirt",
)
_SSHD_CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
"""
_BEGIN = """\
set -e
cd {folder}
for own in {own}; do mkdir -p "{folder}$own"; done
cp -a /etc/libvirt/. {folder}/etc/libvirt/
cp -a /var/cache/libvirt/. {folder}/var/cache/libvirt/
rm -rf {folder}/etc/libvirt/qemu/networks/autostart/* {folder}/etc/libvirt/qemu/networks/*.xml
printf 'host_uuid = "%s"\\n' {uuid} >> {folder}/etc/libvirt/libvirtd.conf
for own in {own}; do mount --bind "{folder}$own" "$own"; done
mkdir -p /run/sshd /run/lock /var/lib/libvirt/images
virtlogd -d
libvirtd -d
exec {sshd} -D -f {folder}/sshd_config -E {folder}/sshd.log
"""


@dataclass(frozen=True)
class FurtherHypervisor:
    """One that runs: ``address`` is its end of the wire, ``first`` that of the first hypervisor."""

    uri: str
    address: str
    first: str
    space: str
    wire: str
    folder: Path
    pid: int

    def inside(self, *words: str) -> str:
        """Run a command there and return its output."""
        command = ["nsenter", "-t", str(self.pid), "-m", "-n", "--wd=/", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS).stdout

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Take the wire down inside the block."""
        in_first("ip", "link", "set", self.wire, "down")
        try:
            yield
        finally:
            in_first("ip", "link", "set", self.wire, "up")


def in_first(*words: str) -> str:
    """Run a command in the network of the first hypervisor and return its output."""
    command = ["nsenter", f"--net=/proc/{daemon_pid(FIRST)}/ns/net", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS).stdout


def own_ssh(folder: Path) -> Path:
    """Make a ``~/.ssh`` of the test's own for commands that :func:`with_ssh` begins; return its path."""
    (folder / "ssh").mkdir(mode=0o700)
    own = make_host_key("user")
    write_private(folder / "ssh/id_ed25519", own.private)
    (folder / "ssh/id_ed25519.pub").write_text(own.public + "\n", encoding="utf-8")
    (folder / "ssh/known_hosts").touch()
    return folder / "ssh"


def with_ssh(ssh: Path) -> list[str]:
    """Return the words before a command that is to find this directory as root's ``~/.ssh``."""
    script = f'mkdir -p ~root/.ssh; mount --bind {shlex.quote(str(ssh))} ~root/.ssh; exec "$@"'
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]


@contextmanager
def further_hypervisor(
    folder: Path, ssh: Path, number: int = 2, mtu: int = 1500, host_uuid: str | None = None
) -> Iterator[FurtherHypervisor]:
    """Run one whose wire has this MTU; ``ssh`` is what :func:`own_ssh` yields.

    The subnet of the wire is 198.18.NUMBER.0/30.
    """
    folder.mkdir()
    space, wire = f"t-hv{number}", f"t-hv{number}w"
    first, address = f"198.18.{number}.1", f"198.18.{number}.2"
    key = make_host_key("hypervisor")
    write_private(folder / "host_key", key.private)
    shutil.copy(ssh / "id_ed25519.pub", folder / "authorized_keys")
    with (ssh / "known_hosts").open("a", encoding="utf-8") as known:
        known.write(f"[{address}]:{PORT} {key.public}\n")
    config = _SSHD_CONFIG.format(port=PORT, address=address, folder=folder)
    (folder / "sshd_config").write_text(config, encoding="utf-8")
    begin = _BEGIN.format(folder=folder, own=" ".join(_OWN), uuid=host_uuid or uuid.uuid4(), sshd=SSHD)
    (folder / "begin.sh").write_text(begin, encoding="utf-8")
    in_first(
        "ip", "link", "add", wire, "mtu", str(mtu), "type", "veth", "peer", "name", "eth0", "mtu", str(mtu)
    )
    in_first("ip", "address", "add", f"{first}/30", "dev", wire)
    in_first("ip", "link", "set", wire, "up")
    subprocess.run(["ip", "netns", "add", space], check=True)
    in_first("ip", "link", "set", "eth0", "netns", f"/run/netns/{space}")
    for words in (
        ["link", "set", "lo", "up"],
        ["address", "add", f"{address}/30", "dev", "eth0"],
        ["link", "set", "eth0", "up"],
    ):
        subprocess.run(["ip", "-n", space, *words], check=True)
    process = subprocess.Popen(
        [
            "nsenter",
            f"--net=/run/netns/{space}",
            "unshare",
            "-m",
            "--propagation",
            "private",
            "sh",
            str(folder / "begin.sh"),
        ]
    )
    there = FurtherHypervisor(
        f"qemu+ssh://root@{address}:{PORT}/system", address, first, space, wire, folder, process.pid
    )
    try:
        _wait(there, process)
        yield there
    finally:
        _end(there, process)


def _wait(there: FurtherHypervisor, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _SECONDS
    while True:
        assert process.poll() is None, "it did not start"
        with suppress(subprocess.SubprocessError):
            if f"{there.address}:{PORT}" in there.inside("ss", "-Htln"):
                # The first question makes libvirt try every QEMU that is there, which may take long.
                there.inside("virsh", "-q", "-c", FIRST, "capabilities")
                return
        assert time.monotonic() < until, "it does not answer"
        time.sleep(0.2)


def _end(there: FurtherHypervisor, process: subprocess.Popen[bytes]) -> None:
    """End everything in its network namespace, which is nobody else's."""
    listed = subprocess.run(["ip", "netns", "pids", there.space], capture_output=True, text=True, check=False)
    for pid in map(int, listed.stdout.split()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(_SECONDS)
    subprocess.run(["ip", "netns", "delete", there.space], check=False)
    with suppress(subprocess.SubprocessError):
        in_first("ip", "link", "delete", there.wire)
