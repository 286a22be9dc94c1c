"""A lab whose hypervisor is another machine: its hosts are reached through that, by ssh alone.

The machine that labrun is on is a network namespace of its own: a wire leads to where libvirtd is, where an
sshd listens, and nothing leads from it to the lab's networks.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from labrun.key_pairs import make_host_key
from labrun.state import LabState
from labrun.state_files import write_private
from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside
from tests.labs import EXAMPLES, Answer, RunningLab
from tests.loopback_sshd import SSHD

pytestmark = pytest.mark.lxc

LOCAL, REMOTE = "lxc:///system", "lxc+ssh://root@198.18.7.1:2222/system"
SPACE, WIRE = "t-remote", "t-remote0"
NAME = "e2e-remote"
HOSTS = ("gate", "desk", "ledger", "backup")


def text_for(hypervisor: str) -> str:
    """Return the example with a jump host, on subnets of its own."""
    text = (EXAMPLES / "jump-host.yaml").read_text(encoding="utf-8")
    text = text.replace("10.34.", "10.219.").replace("fd00:34:", "fd00:219:")
    head = f"name: {NAME}\nhypervisor: {hypervisor}\ndefaults: {{memory: 128}}"
    return text.replace("name: jump-host", head)


CONFIG = """\
Port 2222
ListenAddress 198.18.7.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
AllowTcpForwarding {forwarding}
"""


@dataclass
class Elsewhere:
    """A machine from which the lab's hypervisor is remote, with a ~/.ssh of its own."""

    lab: RunningLab
    folder: Path

    def run(self, *words: str) -> Answer:
        """Run a command there; returns its output."""
        mine = f"mkdir -p ~root/.ssh; mount --bind {shlex.quote(str(self.folder / 'ssh'))} ~root/.ssh"
        script = f'{mine}; exec ip netns exec {SPACE} "$@"'
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *words]
        done = subprocess.run(
            command,
            env=self.lab.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def labrun(self, *words: str) -> Answer:
        return self.run(*self.lab.arguments(*words))


def beside_libvirtd(script: str) -> str:
    place = ["nsenter", f"--net=/proc/{daemon_pid(LOCAL)}/ns/net", "sh", "-c", script]
    return subprocess.run(place, capture_output=True, text=True, check=True, timeout=60).stdout


def recorded(lab: RunningLab, here: str, there: str) -> None:
    """Give the lab what is recorded of it for one hypervisor at another: keys and known_hosts."""
    old, new = (LabState.open(NAME, uri, lab.state).root for uri in (here, there))
    shutil.copytree(old, new, dirs_exist_ok=True)


def sshd(folder: Path, forwarding: str) -> subprocess.Popen[bytes]:
    (folder / "sshd_config").write_text(CONFIG.format(folder=folder, forwarding=forwarding), encoding="utf-8")
    place = ["nsenter", f"--net=/proc/{daemon_pid(LOCAL)}/ns/net"]
    process = subprocess.Popen(
        [*place, SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "sshd.log")]
    )
    until = time.monotonic() + 30
    while "198.18.7.1:2222" not in beside_libvirtd("ss -Htln"):
        assert process.poll() is None, (folder / "sshd.log").read_text(encoding="utf-8")
        assert time.monotonic() < until, "no sshd"
        time.sleep(0.1)
    return process


@pytest.fixture(scope="module")
def elsewhere(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    folder = tmp_path_factory.mktemp("remote")
    made = write_lab(folder / "lab", text_for(LOCAL))
    Path("/run/sshd").mkdir(exist_ok=True)
    key, own = make_host_key("hypervisor"), make_host_key("user")
    write_private(folder / "host_key", key.private)
    (folder / "ssh").mkdir(mode=0o700)
    write_private(folder / "ssh/id_ed25519", own.private)
    (folder / "authorized_keys").write_text(own.public + "\n", encoding="utf-8")
    (folder / "ssh/known_hosts").write_text(f"[198.18.7.1]:2222 {key.public}\n", encoding="utf-8")
    listening = None
    try:
        up = made.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        # Containers are made from beside libvirtd; what is recorded of the lab goes to where labrun is now.
        recorded(made, LOCAL, REMOTE)
        made.path.write_text(text_for(REMOTE), encoding="utf-8")
        beside_libvirtd(
            f"ip netns add {SPACE}; ip link add {WIRE} type veth peer name eth0 netns {SPACE};"
            f" ip address add 198.18.7.1/30 dev {WIRE}; ip link set {WIRE} up;"
            f" ip -n {SPACE} address add 198.18.7.2/30 dev eth0; ip -n {SPACE} link set eth0 up"
        )
        listening = sshd(folder, "local")
        yield Elsewhere(made, folder)
    finally:
        if listening is not None:
            listening.terminate()
            listening.wait(10)
        beside_libvirtd(f"ip netns delete {SPACE}; ip link delete {WIRE}; :")
        made.path.write_text(text_for(LOCAL), encoding="utf-8")
        made.run("-y", "down")


def test_hosts_are_reached_through_it(elsewhere: Elsewhere) -> None:
    assert elsewhere.run("ping", "-c", "1", "-W", "1", "10.219.1.254").exit_code != 0
    asked = elsewhere.labrun("exec", "hostname")
    assert asked.stdout.splitlines() == [f"{host}: {host}" for host in HOSTS], asked.stderr
    for host in ("desk", "ledger"):
        assert elsewhere.labrun("ssh", host, "hostname").stdout.strip() == host
    verified = elsewhere.labrun("verify")
    assert verified.exit_code == 0, verified.stdout
    status = elsewhere.labrun("status").stdout
    assert "ok, through hypervisor and gate" in status


@pytest.mark.full
def test_what_was_changed_by_hand_is_found_and_put_right_through_it(elsewhere: Elsewhere) -> None:
    inside(f"{NAME}-gate", "sysctl -q -w net.ipv4.conf.all.rp_filter=0")
    assert elsewhere.labrun("drift").exit_code == 3
    configured = elsewhere.labrun("configure")
    assert configured.exit_code == 0, configured.stdout
    assert elsewhere.labrun("drift").exit_code == 0
    again = elsewhere.labrun("--json", "configure")
    assert '"status": "changed"' not in again.stdout


@pytest.mark.full
def test_the_exported_configuration_leads_ssh_there(elsewhere: Elsewhere) -> None:
    config = elsewhere.folder / "exported"
    config.write_text(elsewhere.labrun("inventory", "--format", "ssh-config").stdout, encoding="utf-8")
    for host in ("desk", "backup"):
        done = elsewhere.run("ssh", "-F", str(config), host, "hostname")
        assert done.stdout.strip() == host, done.stderr


@pytest.mark.full
def test_one_that_lets_nobody_through_is_named(elsewhere: Elsewhere, tmp_path: Path) -> None:
    known = elsewhere.folder / "ssh/known_hosts"
    before = known.read_text(encoding="utf-8")
    (shut := tmp_path / "shut").mkdir()
    for name in ("host_key", "authorized_keys"):
        shutil.copy(elsewhere.folder / name, shut / name)
    text = CONFIG.format(folder=shut, forwarding="no").replace("2222", "2223")
    (shut / "sshd_config").write_text(text, encoding="utf-8")
    place = ["nsenter", f"--net=/proc/{daemon_pid(LOCAL)}/ns/net"]
    process = subprocess.Popen([*place, SSHD, "-D", "-f", str(shut / "sshd_config")])
    other = REMOTE.replace("2222", "2223")
    try:
        known.write_text(before + before.replace("2222", "2223"), encoding="utf-8")
        recorded(elsewhere.lab, LOCAL, other)
        elsewhere.lab.path.write_text(text_for(other), encoding="utf-8")
        asked = elsewhere.labrun("exec", "hostname")
        assert asked.exit_code == 4
        said = "(unreachable) connect: its jump host hypervisor does not forward connections"
        hint = "(AllowTcpForwarding of the sshd on hypervisor must be yes or local)"
        assert asked.stdout.splitlines() == [f"{host}: {said} {hint}" for host in HOSTS]
    finally:
        process.terminate()
        process.wait(10)
        known.write_text(before, encoding="utf-8")
        elsewhere.lab.path.write_text(text_for(REMOTE), encoding="utf-8")
