"""A second hypervisor: a container whose systemd runs libvirtd, with its own sshd and network.

Whoever is beside the first libvirtd reaches it at its address, and from there nothing leads to its guests.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labrun.hypervisor import daemon_pid
from labrun.inventory.recipes import Recipe
from labrun.key_pairs import make_host_key
from labrun.state_files import write_private
from labrun.tasks.provision.image_build import build_image
from labrun.tasks.provision.image_store import image_directory
from tests import leftovers, places
from tests.e2e.guests import inside, wait_until
from tests.labs import Answer, RunningLab

__all__ = ["NEWER", "OLDER", "Kind", "SecondHypervisor", "lab_on", "second_hypervisor"]

_LAYERS = places.ROOT / "tests" / "hypervisor_image"
_LAB = """\
name: {name}
hypervisor: lxc:///system
defaults: {{image: {image}, memory: 6144, vcpus: 2}}
networks: {{wire: {{mode: isolated, cidr: {subnet}.0/24}}}}
hosts: {{far: {{networks: {{wire: {subnet}.11}}}}}}
"""
# libvirt makes the device in the container, and lets it be opened: every tap of a guest comes from there.
_TUN = """\
<hostdev mode='capabilities' type='misc'><source><char>/dev/net/tun</char></source></hostdev>
"""
# root, a user in the group libvirt, and one who is not.
_USERS = "root lab outsider"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is installed there, and on which subnet it is."""

    name: str
    recipe: Recipe
    subnet: str

    @property
    def address(self) -> str:
        return f"{self.subnet}.11"


OLDER = Kind(
    "older",
    Recipe("debian-12:hypervisor", "bookworm", ("debian-12", str(_LAYERS / "debian-12"))),
    "10.194.0",
)
"""Debian 12 with libvirt 9.0. Neither release has modular daemons: one libvirtd serves all drivers."""
NEWER = Kind(
    "newer",
    Recipe(
        "debian-13:hypervisor",
        "trixie",
        ("debian-12", "debian-13", str(_LAYERS / "debian-12"), str(_LAYERS / "debian-13")),
    ),
    "10.194.1",
)
"""Debian 13 with libvirt 11.3."""


@dataclass
class SecondHypervisor:
    """One that runs: the host ``far`` of the lab ``outer``.

    ``folder`` has ``ssh``, the ~/.ssh of who works from beside the first libvirtd.
    """

    outer: RunningLab
    folder: Path
    domain: str
    address: str

    def uri(self, user: str = "lab", *, port: int | None = None) -> str:
        return f"qemu+ssh://{user}@{self.address}{f':{port}' if port else ''}/system"

    def inside(self, script: str) -> str:
        """Run a script there as root, by no network."""
        return inside(self.domain, script)

    def version(self) -> str:
        """Return the version of libvirt there."""
        said = self.inside("virsh -c qemu:///system version --daemon")
        return next(line.split()[-1] for line in said.splitlines() if line.startswith("Running against"))

    def run(
        self,
        *words: str,
        env: dict[str, str] | None = None,
        stdin: str | None = None,
        seconds: float = 1700,
        ssh: Path | None = None,
    ) -> Answer:
        """Run a command beside the first libvirtd, with this ~/.ssh; returns its output."""
        done = subprocess.run(
            self.words(*words, ssh=ssh),
            env=env,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def words(self, *words: str, ssh: Path | None = None) -> list[str]:
        """Return the words of a command that runs another beside the first libvirtd, with this ~/.ssh."""
        mine = shlex.quote(str(ssh or self.folder / "ssh"))
        script = f'mkdir -p ~root/.ssh; mount --bind {mine} ~root/.ssh; exec "$@"'
        place = ["nsenter", f"--net=/proc/{daemon_pid('lxc:///system')}/ns/net", "--"]
        return [*place, "unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *words]

    def leftovers(self) -> str:
        """Return what of labs is there: machines, networks, pools, filters, files beside the images."""
        lists = "; ".join(
            f"virsh -q -c qemu:///system {each}"
            for each in ("list --all --name", "net-list --all --name", "pool-list --all --name")
        )
        files = "cd /var/lib/labrun; for each in pools labs; do test -d $each && ls -A $each; done"
        found = self.inside(f"({lists}; {files}) | sort -u")
        lines = [line.strip() for line in found.splitlines()]
        return " ".join(line for line in lines if line and line not in ("default", "labrun.images"))


@dataclass
class _Distant(RunningLab):
    """A lab on the second hypervisor; every command runs beside the first libvirtd."""

    second: SecondHypervisor | None = None
    ssh: Path | None = None

    def run(self, *words: str, stdin: str | None = None) -> Answer:
        assert self.second is not None
        command = super().arguments(*words)
        answer = self.second.run(*command, env=self.environment(), stdin=stdin, ssh=self.ssh)
        if answer.exit_code == 0 and "down" in words and "--hosts" not in words:
            leftovers.forget(leftovers.lab_name(self.path) or "")
        return answer


def lab_on(second: SecondHypervisor, folder: Path, text: str) -> RunningLab:
    """Return a lab with this file whose commands run where the second hypervisor is another machine."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lab.yaml").write_text(text, encoding="utf-8")
    return _Distant(folder / "lab.yaml", folder / "state", second=second)


@contextmanager
def second_hypervisor(folder: Path, kind: Kind) -> Iterator[SecondHypervisor]:
    """Bring a hypervisor up, from an image that is built where it is missing (two minutes)."""
    only_tree = frozenset({"lxc"})
    build_image(kind.recipe, image_directory(), progress=lambda _stage, _share: None, which=only_tree)
    name = f"e2e-second-{kind.name}"
    text = _LAB.format(name=name, image=kind.recipe.stored, subnet=kind.subnet)
    outer = RunningLab(folder / "outer" / "lab.yaml", folder / "outer" / "state")
    outer.path.parent.mkdir()
    outer.path.write_text(text, encoding="utf-8")
    made = SecondHypervisor(outer, folder, f"{name}-far", kind.address)
    try:
        # Until its first boot is over: stopped in the middle of it, it may never get its account.
        _done(outer, "up")
        _give_tun(made)
        _equip(made)
        yield made
    finally:
        outer.run("-y", "down")


def _done(outer: RunningLab, *words: str) -> None:
    done = outer.json(*words)
    assert done.exit_code == 0, done.trouble()


def _give_tun(made: SecondHypervisor) -> None:
    device = made.folder / "tun.xml"
    device.write_text(_TUN, encoding="utf-8")
    # Not while it runs: libvirt 9.0 would make a block device of it.
    attach = ["virsh", "-q", "-c", "lxc:///system", "attach-device", made.domain, str(device), "--config"]
    subprocess.run(attach, check=True, capture_output=True)
    _done(made.outer, "-y", "stop")
    _done(made.outer, "up")


def _equip(made: SecondHypervisor) -> None:
    own = make_host_key("user")
    (made.folder / "ssh").mkdir(mode=0o700)
    write_private(made.folder / "ssh/id_ed25519", own.private)
    made.inside(
        "set -e; usermod -aG libvirt lab; useradd -m -s /bin/bash outsider\n"
        f"for user in {_USERS}; do home=$(getent passwd $user | cut -d : -f 6)\n"
        f"install -d -m 700 $home/.ssh; echo {shlex.quote(own.public)} >>$home/.ssh/authorized_keys\n"
        "chown -R $user: $home/.ssh; done"
    )
    # libvirt 11 asks logind at each start of a VM, and in a container of labrun that is off: 25 seconds each.
    made.inside(
        "rm -f /etc/systemd/system/systemd-logind.service.d/labrun.conf; systemctl daemon-reload 2>&1;"
        " systemctl start systemd-logind 2>&1"
    )
    wait_until(made.domain, "virsh -c qemu:///system version >/dev/null 2>&1")
    host_key = made.inside("cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub").strip()
    (made.folder / "ssh/known_hosts").write_text(f"{made.address} {host_key}\n", encoding="utf-8")
