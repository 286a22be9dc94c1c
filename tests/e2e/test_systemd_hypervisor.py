"""labrun on a machine whose systemd runs libvirtd, as a user who is in the group libvirt and not root."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from tests.inside import LABRUN, PYTHON_FITS, put_labrun_into
from tests.second_hypervisor import SecondHypervisor, lab_on

pytestmark = [
    pytest.mark.lxc,
    pytest.mark.vm,
    pytest.mark.full,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not PYTHON_FITS, reason="Debian 12 has Python 3.11"),
]

LAB = """\
name: e2e-systemd
hypervisor: {uri}
defaults: {{image: debian-12, memory: 384, disk: 3}}
networks: {{n: {{mode: nat, cidr: 10.216.1.0/24}}}}
hosts: {{one: {{networks: {{n: dhcp}}}}}}
"""


class There:
    """labrun in there, started by one of its users."""

    def __init__(self, second: SecondHypervisor):
        self.second = second
        put_labrun_into(second.outer, "far", extra="libvirt")
        # The image comes as to any remote hypervisor; labrun in there finds it in libvirt's pool.
        text = LAB.format(uri=second.uri("lab"))
        self.remote = lab_on(second, second.folder / "systemd", text)
        sent = self.remote.json("up", "--no-wait")
        assert sent.exit_code == 0, sent.trouble()
        assert self.remote.run("-y", "down").exit_code == 0
        there = shlex.quote(LAB.format(uri="qemu:///system"))
        for user in ("lab", "outsider"):
            second.inside(f"install -d -o {user} /srv/{user}; printf %s {there} >/srv/{user}/lab.yaml")

    def run(self, user: str, *words: str) -> tuple[int, str]:
        """Return the exit code, and what both outputs said."""
        command = shlex.join([LABRUN, "--lab", f"/srv/{user}/lab.yaml", *words])
        line = f"su - {user} -c {shlex.quote(f'{command}; echo code $?')} 2>&1"
        # Not by `inside`, which takes what labrun says of an error for its own.
        done = self.second.run(
            "ssh", f"root@{self.second.address}", f"cd /; {line}", env=self.remote.environment()
        )
        said, _, code = done.stdout.rpartition("code ")
        assert code.strip().isdigit(), done.stdout + done.stderr
        return int(code), said


@pytest.fixture(scope="module")
def there(older: SecondHypervisor) -> Iterator[There]:
    made = There(older)
    yield made
    made.run("lab", "-y", "down")


def test_whoever_is_not_in_the_group_is_told_so(there: There) -> None:
    code, said = there.run("outsider", "plan")
    assert code == 5
    assert "hint: `sudo usermod -aG libvirt outsider` and log in again, or run labrun with sudo" in said


def test_a_member_of_the_group_needs_no_root(there: There) -> None:
    code, said = there.run("lab", "--timeout", "1500", "up", "--configure", "--verify")
    assert code == 0, said
    for words in (["ssh", "one"], ["exec"], ["exec", "--via", "agent"]):
        code, said = there.run("lab", "-q", *words, "hostname")
        assert (code, said.split()[-1]) == (0, "one"), said
    code, said = there.run("lab", "-q", "--json", "up", "--configure")
    assert code == 0, said
    assert {row["status"] for row in json.loads(said)["results"]} <= {"ok", "skipped"}
    assert there.run("lab", "drift")[0] == 0


def test_it_removes_all_of_it_again(there: There, older: SecondHypervisor) -> None:
    code, said = there.run("lab", "-y", "down")
    assert code == 0, said
    assert older.leftovers() == ""
