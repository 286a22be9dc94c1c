"""What to do about a hypervisor that cannot be reached: the right thing for each cause."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labrun.connection_hints import Refusal, User, connection_hint
from labrun.errors import HypervisorError
from labrun.hypervisor import connect

ANN = User("ann", is_root=False)
ROOT = User("root", is_root=True)
USERMOD = "`sudo usermod -aG libvirt ann` and log in again, or run labrun with sudo"
NOT_RUNNING = "libvirtd is not running here: `systemctl start libvirtd` starts it"
CERTIFICATES = "TLS needs libvirt's certificates on both sides; qemu+ssh needs only a login"
OTHERS = "labrun works with qemu and lxc: qemu:///system or lxc:///system"


@pytest.mark.parametrize(
    ("uri", "refusal", "user", "hint"),
    [
        # polkit without an agent, a cancelled question, a socket for the group only.
        ("qemu:///system", Refusal(94), ANN, USERMOD),
        ("qemu:///system", Refusal(79), ANN, USERMOD),
        ("lxc:///system", Refusal(45), ANN, USERMOD),
        ("qemu:///system", Refusal(88), ANN, USERMOD),
        ("qemu:///system", Refusal(38, errno.EACCES), ANN, USERMOD),
        (
            "qemu:///system",
            Refusal(94),
            User("ann", False, "libvirtd"),
            "`sudo usermod -aG libvirtd ann` and log in again, or run labrun with sudo",
        ),
        (
            "qemu:///system",
            Refusal(94),
            User("ann", False, account_is_in=True),
            "ann is in the group libvirt now, but was not at this login: log in again",
        ),
        (
            "qemu:///system",
            Refusal(88),
            User("ann", False, account_is_in=True, session_is_in=True),
            "libvirt denies ann access: see libvirtd.conf and polkit's rules",
        ),
        (
            "qemu:///system",
            Refusal(94),
            ROOT,
            "libvirt denies root access: see libvirtd.conf and polkit's rules",
        ),
        (
            "qemu:///session",
            Refusal(38, errno.EACCES),
            ANN,
            "HOME and XDG_RUNTIME_DIR must be directories that this user can write to",
        ),
        ("qemu:///system", Refusal(38, errno.ENOENT), ANN, NOT_RUNNING),
        ("lxc:///system", Refusal(38, errno.ECONNREFUSED), ROOT, NOT_RUNNING),
        (
            "lxc:///system",
            Refusal(5),
            ROOT,
            "libvirt's driver for lxc is missing: libvirt-daemon-driver-lxc has it",
        ),
        ("vbox:///session", Refusal(5), ROOT, OTHERS),
        ("foo:///system", Refusal(5), ROOT, OTHERS),
        ("qemu:///sytem", Refusal(1), ROOT, "the path is wrong: qemu:///system or qemu:///session"),
        ("lxc:///session", Refusal(1), ROOT, "the path is wrong: lxc:///system"),
        (
            "qemu+ssh://ann@h/sys",
            Refusal(1),
            ROOT,
            "the path is wrong: qemu+ssh://ann@h/system or qemu+ssh://ann@h/session",
        ),
        (
            "qemu+ssh://ann@host:2222/system",
            Refusal(38, errno.ECONNRESET),
            ROOT,
            "`ssh -p 2222 ann@host virsh -c qemu:///system list` must work without asking for anything",
        ),
        (
            "lxc+ssh://[fd00::1]/system",
            Refusal(38, errno.ECONNRESET),
            ROOT,
            "`ssh fd00::1 virsh -c lxc:///system list` must work without asking for anything",
        ),
        ("qemu+tls://host/system", Refusal(38, errno.ENOENT), ROOT, CERTIFICATES),
        (
            "lxc://host/system",
            Refusal(38, errno.ENOENT),
            ROOT,
            (
                "what follows // is a host, contacted over TLS: lxc:///system is this machine,"
                " lxc+ssh://host/system that host over ssh"
            ),
        ),
        (
            "qemu+unix:///system?socket=/x",
            Refusal(38, errno.ENOENT),
            ROOT,
            "is libvirtd running? `virsh -c 'qemu+unix:///system?socket=/x' list` must work",
        ),
        ("qemu://[x/system", Refusal(1), ROOT, "this is not a valid URI: Invalid IPv6 URL"),
    ],
)
def test_each_cause_has_its_own_remedy(uri: str, refusal: Refusal, user: User, hint: str) -> None:
    assert connection_hint(uri, refusal, user) == hint


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("lxc:///wrong", "the path is wrong: lxc:///system"),
        ("qemu:///sytem", "the path is wrong: qemu:///system or qemu:///session"),
        ("foo:///system", OTHERS),
        (
            "qemu+ssh://127.0.0.1:1/system",
            "start its sshd, or name the port: qemu+ssh://USER@HOST:PORT/system",
        ),
        ("qemu+tls://127.0.0.1/system", CERTIFICATES),
    ],
)
def test_libvirt_s_own_errors_are_told_apart(uri: str, hint: str) -> None:
    with pytest.raises(HypervisorError) as caught:
        connect(uri)
    assert caught.value.hint == hint
    assert caught.value.exit_code == 5


AS_NOBODY = """\
import os, sys
import libvirt
from labrun.errors import HypervisorError
from labrun.hypervisor import connect
from labrun.tasks.provision.hypervisor_choice import lab_uris
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for ask in (lambda: connect("qemu:///system"), lambda: lab_uris("no-such-lab")):
    try:
        ask()
    except HypervisorError as error:
        print(error.hint)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
@pytest.mark.skipif(not Path("/run/libvirt/libvirt-sock").exists(), reason="no libvirtd here")
def test_a_user_outside_the_group_is_told_how_to_get_in() -> None:
    done = subprocess.run([sys.executable, "-c", AS_NOBODY], capture_output=True, text=True, check=True)
    told = "`sudo usermod -aG libvirt nobody` and log in again, or run labrun with sudo"
    assert done.stdout.splitlines() == [told, told]


LAB = """\
name: no-such-lab
networks: {n: {cidr: 10.9.9.0/24}}
hosts: {a: {networks: {n: dhcp}}}
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="hiding libvirt's sockets takes root")
@pytest.mark.parametrize("words", ["down", "down --name no-such-lab", "plan", "list"])
def test_a_hypervisor_that_cannot_be_asked_is_not_an_empty_one(words: str, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    hidden = 'mount -t tmpfs none /run/libvirt && exec "$@"'
    labrun = [sys.executable, "-m", "labrun", "-y", "--state-dir", "state", *words.split()]
    command = ["unshare", "--mount", "sh", "-c", hidden, "sh", *labrun]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.endswith(f"hint: {NOT_RUNNING}\nhint: `labrun doctor` checks this machine\n")
