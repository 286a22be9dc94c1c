"""What decides whether a login gets in: as a real shell shows it here, and as a guest may print it."""

from __future__ import annotations

import random
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from labrun.errors import CommandError
from labrun.tasks.guest.facts.login import KeyFile, Listener, LoginState, login_state, probe
from labrun.tasks.guest.scripts import wrapped
from labrun.tasks.guest.shell import gather_script, parse_facts

MARK = "labrun-test"
OUTPUT = f"""
{MARK} out boot
starting

{MARK} status boot 1

{MARK} out jobs
 12 cloud-init.service start running
 13 multi-user.target  start waiting

{MARK} status jobs 0

{MARK} out units
Id=ssh.service
LoadState=masked
ActiveState=inactive
UnitFileState=masked

{MARK} status units 0

{MARK} out sockets
LISTEN 0      128          0.0.0.0:22   0.0.0.0:* users:(("sshd",pid=61,fd=3))
LISTEN 0      128             [::]:22      [::]:* users:(("sshd",pid=61,fd=4))
LISTEN 0      5    127.0.0.53%lo:53   0.0.0.0:*
LISTEN 0      5      [fe80::1]%eth0:80      [::]:* users:(("nginx",pid=7,fd=4),("nginx",pid=8,fd=4))

{MARK} status sockets 0

{MARK} err sshd-check
/etc/ssh/a.conf: line 1: Bad configuration option: Rubbish
/etc/ssh/a.conf: terminating, 1 bad configuration options

{MARK} status sshd-check 255

{MARK} out disks
Filesystem     1024-blocks  Used Available Capacity Mounted on
/dev/vda1           102400 102400         0     100% /
tmpfs                 4096     0      4096       0% /run

{MARK} status disks 0

{MARK} home /home/lab

{MARK} shell /bin/bash

{MARK} groups lab wheel

{MARK} expires 19000

{MARK} today 20000

{MARK} keys others /home/lab/.ssh/authorized_keys

{MARK} keys absent /home/lab/.ssh/authorized_keys2

{MARK} mode 1777 lab /home/lab

{MARK} file /etc/ssh/ssh_host_ed25519_key.pub
ssh-ed25519 AAAA root@one

{MARK} files
/etc/ssh/ssh_host_ed25519_key.pub

{MARK} end
"""


def test_everything_is_read() -> None:
    found = login_state(parse_facts(OUTPUT, MARK))
    assert (found.boot, found.is_booting) == ("starting", True)
    assert found.jobs == ("cloud-init.service", "multi-user.target")
    assert found.sshd_unit is not None
    assert found.sshd_unit.load == "masked"
    assert found.listeners == (
        Listener(None, 22, "sshd"),
        Listener(None, 22, "sshd"),
        Listener(ip_address("127.0.0.53"), 53, ""),
        Listener(ip_address("fe80::1"), 80, "nginx"),
    )
    assert found.complaint == "/etc/ssh/a.conf: line 1: Bad configuration option: Rubbish"
    assert found.full == ("/",)
    assert found.account is not None
    assert (found.account.groups, found.account.expires, found.account.today) == (
        ("lab", "wheel"),
        19000,
        20000,
    )
    assert found.keys == (
        KeyFile("/home/lab/.ssh/authorized_keys2", False, False),
        KeyFile("/home/lab/.ssh/authorized_keys", True, False),
    )
    assert [(mode.path, mode.bits) for mode in found.modes] == [("/home/lab", 0o1777)]
    assert found.host_keys == ("ssh-ed25519 AAAA",)
    assert found.devices is None


@pytest.mark.parametrize("account", ["root", "nobody-of-that-name"])
def test_the_script_runs_in_a_real_shell(account: str, tmp_path: Path) -> None:
    script = gather_script([probe(account, "AAAA'$(touch x)", "127.0.0.1", "127.0.0.1", 22)], MARK)
    done = subprocess.run(
        ["/bin/sh", "-s"], input=wrapped(script).encode(), capture_output=True, check=False, cwd=tmp_path
    )
    found = login_state(parse_facts(done.stdout.decode(errors="replace"), MARK))
    assert (found.account is not None) is (account == "root")
    assert list(tmp_path.iterdir()) == []


LEVELS = {
    "": "initializing",
    "sysinit": "starting",
    "boot": "starting",
    "default": "running",
    "own": "running",
    "single": "maintenance",
    "shutdown": "stopping",
}


@pytest.mark.parametrize(("level", "state"), LEVELS.items())
def test_openrc_tells_how_far_the_boot_is(level: str, state: str, tmp_path: Path) -> None:
    for path in ("etc/runlevels/default", "etc/init.d", "run/openrc"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "etc/init.d/sshd").touch(0o755)
    (tmp_path / "rc-service").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "rc-service").chmod(0o755)
    if level:
        (tmp_path / "run/openrc/softlevel").write_text(level)
    found = login_state_there(tmp_path)
    assert (found.init, found.boot) == ("OpenRC", state)
    assert found.sshd_unit is not None
    assert (found.sshd_unit.name, found.sshd_unit.active) == ("sshd", "inactive")
    if level == "default":
        (tmp_path / "run/openrc/rc.starting").mkdir()
        assert login_state_there(tmp_path).is_booting


def login_state_there(root: Path) -> LoginState:
    """Return what a host with these folders in place of its own shows."""
    script = gather_script([probe("root", "AAAA", "127.0.0.1", "127.0.0.1", 22)], MARK)
    for path in ("/etc/runlevels", "/etc/init.d", "/run/openrc", "/run/systemd/system"):
        script = script.replace(path, f"{root}{path}")
    script = script.replace('PATH="$PATH', f'PATH="{root}:$PATH')
    done = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True)
    return login_state(parse_facts(done.stdout.decode(errors="replace"), MARK))


def test_whatever_a_guest_prints_ends_in_facts_or_in_a_reason() -> None:
    dice = random.Random(7)
    for _ in range(300):
        text = list(OUTPUT)
        for _ in range(dice.randrange(1, 30)):
            text[dice.randrange(len(text))] = dice.choice('\n\0é9[]:%"{}' + MARK)
        try:
            login_state(parse_facts("".join(text), MARK))
        except CommandError:
            continue
