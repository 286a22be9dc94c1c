"""`down` takes a lab away whatever state its machines are in, and a second one finds nothing to do."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from labrun.hypervisor import in_daemon_namespace
from labrun.tasks.provision.overlay import LABS, Overlay
from tests.e2e.conftest import write_lab

NAME, LXC = "e2e-teardown", "lxc:///system"
HOSTS = ("paused", "console", "undefined", "forgotten", "mounted", "emptied", "held")
LAB = f"""\
name: {NAME}
hypervisor: {LXC}
defaults: {{image: debian-12, memory: 256}}
networks: {{n: {{mode: very-isolated, cidr: 10.137.0.0/24}}}}
hosts:
""" + "".join(
    f"  {host}: {{networks: {{n: 10.137.0.{number}}}}}\n" for number, host in enumerate(HOSTS, start=11)
)


@pytest.fixture
def connection(hypervisor: None) -> Iterator[libvirt.virConnect]:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    opened = libvirt.open(LXC)
    yield opened
    opened.close()


def in_daemon(*words: str) -> str:
    command = [*in_daemon_namespace(LXC), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def left(connection: libvirt.virConnect) -> list[str]:
    found = [each.name() for each in connection.listAllDomains()]
    found += [each.name() for each in connection.listAllNetworks()]
    found += [line.split()[1] for line in in_daemon("cat", "/proc/mounts").splitlines()]
    found += [str(path) for path in LABS.glob(f"{NAME}*")]
    return [name for name in found if NAME in name]


def paused(domain: libvirt.virDomain) -> None:
    """Pause a machine; a container's processes cannot be stopped while its init still groups them."""
    deadline = time.monotonic() + 30
    while True:
        try:
            domain.suspend()
        except libvirt.libvirtError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def test_down_in_whatever_state_the_machines_are(connection: libvirt.virConnect, tmp_path: Path) -> None:
    lab = write_lab(tmp_path, LAB)
    try:
        up = lab.json("up", "--no-wait")
        assert up.exit_code == 0, up.trouble()
        domains = {host: connection.lookupByName(f"{NAME}-{host}") for host in HOSTS}
        paused(domains["paused"])
        # Somebody looks at its console, and somebody stands in its files.
        console = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
        domains["console"].openConsole(None, console, 0)  # type: ignore[arg-type]
        holder = subprocess.Popen(
            [
                *in_daemon_namespace(LXC),
                "sh",
                "-c",
                'cd "$1" && exec sleep 300',
                "sh",
                f"{LABS}/{NAME}/held/root",
            ]
        )
        domains["undefined"].undefine()
        for host in ("forgotten", "mounted", "emptied"):
            domains[host].destroy()
        domains["forgotten"].undefine()
        Overlay.of(NAME, "mounted", LXC).mount()
        assert f"{LABS}/{NAME}/mounted/root" in in_daemon("cat", "/proc/mounts")
        Overlay.of(NAME, "emptied", LXC).unmount()
        shutil.rmtree(LABS / NAME / "emptied")
        try:
            down = lab.json("-y", "down")
        finally:
            holder.kill()
            holder.wait()
            console.abort()
        assert down.exit_code == 0, down.trouble()
        gone = {row["name"] for row in down.of("machine")}
        assert gone == set(HOSTS) - {"forgotten"}
        assert left(connection) == []
        assert lab.json("-y", "down").statuses() == {"ok"}
    finally:
        lab.run("-y", "down")
