"""The keys of people on machines that exist: who gets in is tried with a login."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.labs import RunningLab

Make = Callable[[str], RunningLab]
LAB = """\
name: e2e-keys
hypervisor: lxc:///system
defaults: {{image: debian-12, memory: 256, user: {user}}}
ssh_keys: [{keys}]
networks:
  net: {{cidr: 10.143.1.0/24}}
hosts:
  one: {{exclusive: {exclusive}, networks: {{net: 10.143.1.11}}}}
"""


def pair(directory: Path, name: str) -> Path:
    path = directory / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
    return path


def write(lab: RunningLab, *keys: Path, user: str = "lab", exclusive: bool = False) -> None:
    public = ", ".join(f'"{key.with_suffix(".pub").read_text().strip()}"' for key in keys)
    lab.path.write_text(
        LAB.format(user=user, keys=public, exclusive=str(exclusive).lower()), encoding="utf-8"
    )


def gets_in(key: Path, user: str = "lab") -> bool:
    """Tell whether a login with this key alone works; the guests' network is that of the tests' libvirtd."""
    options = ("BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=no")
    words = [f"-o{each}" for each in (*options, "UserKnownHostsFile=/dev/null")]
    done = subprocess.run(
        ["scripts/hypervisor", "enter", "ssh", "-i", str(key), *words, f"{user}@10.143.1.11", "id", "-un"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 or "Permission denied (publickey" in done.stderr, done.stderr
    return done.stdout == f"{user}\n"


def test_keys_are_followed_and_strangers_are_named(make_lab: Make, tmp_path: Path) -> None:
    alice, bob, mallory = (pair(tmp_path, name) for name in ("alice", "bob", "mallory"))
    lab = make_lab(LAB.format(user="lab", keys="", exclusive="false"))
    write(lab, alice)
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    assert (gets_in(alice), gets_in(bob)) == (True, False)

    write(lab, bob)
    dry = lab.json("configure", "--only", "ssh_keys", "--dry-run")
    assert (dry.exit_code, dry.statuses()) == (3, {"would-change"})
    changed = lab.json("configure")
    assert changed.exit_code == 0, changed.trouble()
    assert (gets_in(alice), gets_in(bob)) == (False, True)
    again = lab.json("configure")
    assert (again.exit_code, again.statuses()) == (0, {"ok"})
    for verb in ("verify", "drift"):
        answer = lab.json(verb)
        assert answer.exit_code == 0, answer.trouble()

    line = mallory.with_suffix(".pub").read_text().strip()
    lab.guest("one", f"echo 'restrict,pty {line}' >>/home/lab/.ssh/authorized_keys")
    lab.guest("one", f"install -d -m 700 /root/.ssh; echo '{line}' >>/root/.ssh/authorized_keys")
    lab.guest("one", f"useradd -m eve; install -d -o eve ~eve/.ssh; echo '{line}' >~eve/.ssh/authorized_keys")
    found = {}
    for verb, code in (("configure", 0), ("verify", 1), ("drift", 3)):
        answer = lab.json(verb)
        assert answer.exit_code == code, answer.rows
        found[verb] = [(row["name"].split()[0], row["status"]) for row in answer.of("ssh_keys")][1:]
        assert all("neither the lab file nor labrun put it there" in row["why"] for row in answer.bad())
    assert found == {
        "configure": [(user, "warning") for user in ("lab", "root", "eve")],
        "verify": [(user, "failed") for user in ("lab", "root", "eve")],
        "drift": [(user, "drifted") for user in ("lab", "root", "eve")],
    }
    assert gets_in(mallory)
    assert gets_in(mallory, "eve")
    write(lab, bob, exclusive=True)
    answer = lab.json("configure")
    assert answer.exit_code == 0, answer.trouble()
    assert (gets_in(mallory), gets_in(mallory, "eve"), gets_in(bob)) == (False, False, True)
    assert lab.json("configure").statuses() == {"ok"}
    assert lab.json("drift").exit_code == 0


@pytest.mark.full
def test_another_user_is_made_with_the_keys(make_lab: Make, tmp_path: Path) -> None:
    alice = pair(tmp_path, "alice")
    lab = make_lab(LAB.format(user="lab", keys="", exclusive="false"))
    write(lab, alice)
    assert lab.json("up").exit_code == 0
    # The new user's keys are where sshd reads them.
    lab.guest(
        "one",
        "printf 'AuthorizedKeysFile /etc/ssh/keys/%%u %%h/.ssh/authorized_keys\\n'"
        " >/etc/ssh/sshd_config.d/10-keys.conf; systemctl reload ssh",
    )
    write(lab, alice, user="carl")
    plan = lab.json("plan")
    assert plan.exit_code == 3
    assert plan.of("machine", "one")[0]["diff"] == "- user: lab\n+ user: carl"
    began = time.monotonic()
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    assert time.monotonic() - began < 90
    assert gets_in(alice, "carl")
    assert lab.guest("one", "id -un") == "root\n"
    assert lab.json("plan").exit_code == 0
    assert lab.json("up").statuses() == {"ok"}
    assert lab.json("configure").exit_code == 0
    # A key that the file drops is out for the former user as well.
    write(lab, user="carl")
    assert lab.json("configure").exit_code == 0
    assert (gets_in(alice, "carl"), gets_in(alice, "lab")) == (False, False)
    assert lab.json("drift").exit_code == 0


@pytest.mark.full
def test_a_user_whom_sshd_would_refuse_is_said_at_once(make_lab: Make) -> None:
    lab = make_lab(LAB.format(user="lab", keys="", exclusive="false"))
    assert lab.json("up").exit_code == 0
    lab.guest("one", "echo 'AllowUsers lab' >/etc/ssh/sshd_config.d/10-a.conf; systemctl reload ssh")
    write(lab, user="carl")
    began = time.monotonic()
    up = lab.json("up")
    assert (up.exit_code, time.monotonic() - began < 90) == (1, True)
    assert up.of("machine", "one")[0]["why"] == "login as carl: sshd lets in only lab (AllowUsers)"
    write(lab, user="lab")
    assert lab.json("up").exit_code == 0
