"""The login to a remote hypervisor: from the URI, for whom it leads to, and tried on a real sshd."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.hosts.exports import export
from labrun.inventory.hosts.hypervisor_login import HypervisorLogin, hypervisor_login
from labrun.inventory.hosts.locate import locate
from labrun.inventory.hosts.ssh_command import jump_options, proxy_command
from labrun.inventory.model import Lab
from labrun.state import LabState
from labrun.tasks.guest.jump_host import JumpHosts
from tests.loopback_sshd import LoopbackSshd, loopback_sshd

URI = "qemu+ssh://ann@far.test:2222/system"
LAB = """\
name: demo
hypervisor: qemu+ssh://ann@far.test:2222/system
networks:
  out: {mode: nat, cidr: 10.1.0.0/24}
  own: {mode: isolated, cidr: 10.2.0.0/24}
  deep: {mode: very-isolated, cidr: 10.3.0.0/24}
  lan: {mode: bridge, bridge: br0, cidr: 10.4.0.0/24}
hosts:
  gate: {role: router, networks: {out: 10.1.0.11, deep: 10.3.0.1}}
  near: {networks: {own: 10.2.0.11}}
  far: {networks: {deep: 10.3.0.11}}
  wide: {networks: {lan: 10.4.0.11}}
  both: {networks: {lan: 10.4.0.12, own: 10.2.0.12}}
  there: {address: 192.0.2.7}
"""


@pytest.fixture(scope="module")
def lab() -> Lab:
    return load_lab("-", stdin=io.StringIO(LAB))


@pytest.mark.parametrize(
    ("uri", "login"),
    [
        ("lxc:///system", None),
        ("qemu+tls://far.test/system", None),
        ("qemu+ssh:///system", None),
        ("", None),
        ("qemu+ssh://far.test/system", HypervisorLogin("far.test")),
        ("lxc+ssh://Far/system", HypervisorLogin("Far")),
        (URI, HypervisorLogin("far.test", "ann", 2222)),
        ("qemu+ssh://root@[fd00::1]/system", HypervisorLogin("fd00::1", "root")),
        (
            "qemu+libssh://far.test/system?keyfile=/k/id&known_hosts=/k/known&socket=/s",
            HypervisorLogin("far.test", identity="/k/id", known_hosts="/k/known"),
        ),
    ],
)
def test_what_a_uri_says(uri: str, login: HypervisorLogin | None) -> None:
    assert hypervisor_login(uri) == login


def test_whom_it_leads_to(lab: Lab) -> None:
    located = locate(lab, None, URI)
    # On a bridge there, or an existing machine: those are in networks that this machine may be in, too.
    assert {name: where.hops for name, where in located.items()} == {
        "gate": ("hypervisor",),
        "near": ("hypervisor",),
        "far": ("hypervisor", "gate"),
        "wide": (),
        "both": ("hypervisor",),
        "there": (),
    }
    assert {name: where.address for name, where in located.items()}["both"] == "10.2.0.12"
    for local in ("", "qemu:///system"):
        assert not any(where.hypervisor for where in locate(lab, None, local).values())


def test_it_is_the_first_of_all_hops(lab: Lab) -> None:
    located = locate(lab, None, URI)
    far = jump_options(lab, lab.hosts["far"], located, None)["jump"]
    assert isinstance(far, dict)
    assert far["name"] == "gate"
    first = far["jump"]
    assert isinstance(first, dict)
    login = {key: first[key] for key in ("name", "host", "port", "username", "ssh_strict")}
    assert login == {
        "name": "hypervisor",
        "host": "far.test",
        "port": 2222,
        "username": "ann",
        "ssh_strict": True,
    }
    own = proxy_command(lab, lab.hosts["near"], located, None)
    strict = "-o ConnectTimeout=10 -o StrictHostKeyChecking=yes"
    assert own == f"ssh {strict} -p 2222 -l ann -W '[%h]:%p' far.test"
    behind = proxy_command(lab, lab.hosts["far"], located, None)
    assert behind is not None
    assert f"ProxyCommand=ssh {strict} -p 2222 -l ann -W" in behind.replace("'\"'\"'", "'")
    config = export(lab, located, None, "ssh-config").split("\n\n")
    assert f"    ProxyCommand {own}" in config[2].splitlines()
    assert "    ProxyJump demo-gate" in config[3].splitlines()
    assert not any("Proxy" in block for block in config[4:5])


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("sshd")) as made:
        yield made


@pytest.fixture
def login(sshd: LoopbackSshd) -> HypervisorLogin:
    state: LabState = sshd.state
    return HypervisorLogin("127.0.0.1", sshd.user, sshd.port, str(state.identity), str(state.known_hosts))


def test_labrun_and_ssh_connect_through_it(sshd: LoopbackSshd, login: HypervisorLogin) -> None:
    with (
        closing(JumpHosts()) as jump_hosts,
        closing(jump_hosts.dial(login.options(), "127.0.0.1", sshd.port, 20)) as there,
    ):
        assert there.is_readable(10)
    options = ["-F", "none", "-o", f"ProxyCommand={login.proxy_command()}", "-o", "HostKeyAlias=loop"]
    options += ["-o", f"UserKnownHostsFile={sshd.state.known_hosts}", "-i", str(sshd.state.identity)]
    done = subprocess.run(
        ["ssh", *options, "-p", str(sshd.port), f"{sshd.user}@127.0.0.1", "echo there"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "there\n"), done.stderr


def test_what_is_in_the_configuration_of_ssh_holds_for_labrun(
    sshd: LoopbackSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in place of ssh names the file: otherwise it is in the home of this very account."""
    config = tmp_path / "config"
    config.write_text(
        f"Host Hv\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {sshd.user}\n"
        f"  IdentityFile {sshd.state.identity}x\n  IdentityFile {sshd.state.identity}\n"
        f"  UserKnownHostsFile {sshd.state.known_hosts}\n  HostKeyAlias loop\n",
        encoding="utf-8",
    )
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {config} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    options = HypervisorLogin("Hv").options()
    assert (options["host"], options["port"], options["username"]) == ("127.0.0.1", sshd.port, sshd.user)
    assert options["host_key_alias"] == "loop"
    with closing(JumpHosts()) as jump_hosts:
        assert jump_hosts.dial(options, "127.0.0.1", sshd.port, 20).is_readable(10)
