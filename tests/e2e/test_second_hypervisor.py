"""A lab of VMs on a real remote hypervisor, from the first `up` to a `down` that leaves nothing there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.labs import Answer, RunningLab
from tests.second_hypervisor import SecondHypervisor, lab_on

# Two VMs without KVM, in a container: two minutes until they answer, and more on a machine that is busy.
pytestmark = [pytest.mark.lxc, pytest.mark.vm, pytest.mark.full, pytest.mark.timeout(1800)]

PATIENT = ("--timeout", "1500")
HOSTS = ("gate", "desk")
LAB = """\
name: {name}
hypervisor: {uri}
defaults: {{image: debian-12, memory: 384, disk: 3}}
networks:
  lan: {{mode: isolated, cidr: {net}.1.0/24}}
  out: {{mode: nat, cidr: {net}.2.0/24}}
hosts:
  gate: {{role: router, networks: {{lan: {net}.1.254, out: {net}.2.5}}}}
  desk: {{networks: {{lan: dhcp}}}}
"""


@pytest.fixture(scope="module")
def up(
    older: SecondHypervisor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningLab, Answer]]:
    """The lab, as a user in the group libvirt makes it, and what its first `up` said."""
    text = LAB.format(name="e2e-distant", uri=older.uri("lab"), net="10.195")
    made = lab_on(older, tmp_path_factory.mktemp("far"), text)
    # Another module's lab may have sent the image already.
    older.inside(
        "cd /var/lib/labrun/pool-images 2>/dev/null && rm -f debian-12-*"
        " && virsh -q -c qemu:///system pool-refresh labrun.images; true"
    )
    try:
        yield made, made.json(*PATIENT, "up")
    finally:
        made.run("-y", "down")


@pytest.fixture(scope="module")
def lab(up: tuple[RunningLab, Answer]) -> RunningLab:
    made, answer = up
    assert answer.exit_code == 0, answer.trouble()
    return made


def test_up_makes_all_of_it_and_a_second_up_nothing(up: tuple[RunningLab, Answer]) -> None:
    made, first = up
    assert first.exit_code == 0, first.trouble()
    assert {row["host"] for row in first.of("ready") if row["status"] == "ok"} == set(HOSTS)
    (image,) = first.of("image")
    assert (image["status"], image["actual"]) == ("changed", "qemu: uploaded")
    assert made.json("up").statuses() <= {"ok", "skipped"}
    assert made.json("plan").exit_code == 0


def test_another_lab_there_uploads_nothing(
    lab: RunningLab, older: SecondHypervisor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = LAB.format(name="e2e-distant-too", uri=older.uri("root"), net="10.196")
    other = lab_on(older, tmp_path_factory.mktemp("other"), text)
    before = older.inside("ls -i /var/lib/labrun/pool-images")
    try:
        up = other.json("up", "--no-wait", "--hosts", "desk")
        assert up.exit_code == 0, up.trouble()
        assert [row["status"] for row in up.of("image")] == ["ok"]
        assert older.inside("ls -i /var/lib/labrun/pool-images") == before
    finally:
        down = other.run("-y", "down")
    assert down.exit_code == 0, down.stderr
    assert "e2e-distant-too" not in older.leftovers()


def test_configure_verify_and_drift_are_as_on_this_machine(lab: RunningLab) -> None:
    configured = lab.json("configure")
    assert configured.exit_code == 0, [row["why"] for row in configured.bad()]
    assert "changed" in configured.statuses()
    assert lab.json("configure").statuses() <= {"ok", "skipped"}
    verified = lab.json("verify")
    assert verified.exit_code == 0, [row["why"] for row in verified.bad()]
    paths = {row["name"]: row["actual"] for row in verified.of("path")}
    assert set(paths) == {"gate -> desk", "desk -> gate"}
    assert lab.json("drift").exit_code == 0
    lab.guest("gate", "sysctl -q -w net.ipv4.ip_forward=0")
    drift = lab.json("drift")
    assert drift.exit_code == 3
    assert [row["name"] for row in drift.of("sysctl") if row["status"] == "drifted"] == [
        "net.ipv4.ip_forward"
    ]
    assert lab.json("configure").exit_code == 0
    assert lab.json("drift").exit_code == 0


def test_every_way_into_a_machine_works(lab: RunningLab) -> None:
    assert lab.run("ssh", "desk", "hostname; exit 7") == Answer(7, "desk\n", "")
    for via in ((), ("--via", "agent"), ("--via", "console")):
        asked = lab.run("exec", *via, "hostname")
        assert asked.stdout.splitlines() == [f"{host}: {host}" for host in HOSTS], asked.stderr
    # Beyond its echo, a console shows what was typed and what came of it.
    console = lab.run("console", "desk", stdin="echo $((6 * 7))-$(hostname)\n")
    assert console.exit_code == 0, console.stderr
    assert "42-desk" in console.stdout
    status = lab.run("status").stdout
    assert status.count("ok, through hypervisor") == len(HOSTS), status


def test_other_programs_get_there_by_what_labrun_exports(lab: RunningLab, older: SecondHypervisor) -> None:
    config = lab.path.with_name("exported")
    config.write_text(lab.run("inventory", "--format", "ssh-config").stdout, encoding="utf-8")
    exported = older.run("ssh", "-F", str(config), "desk", "hostname")
    assert exported.stdout == "desk\n", exported.stderr
    # A person who types it has the lab's key and host keys from the same file.
    known = dict(
        line.split(maxsplit=1) for line in config.read_text(encoding="utf-8").splitlines() if line[:1] == " "
    )
    words = ["-i", known["IdentityFile"], "-o", f"UserKnownHostsFile={known['UserKnownHostsFile']}"]
    words += ["-o", "HostKeyAlias=gate", "-o", "StrictHostKeyChecking=yes"]
    # ssh's -J takes no options of the second hop for the first, whose host key is in ~/.ssh/known_hosts.
    typed = older.run("ssh", *words, "-J", f"lab@{older.address}", "lab@10.195.1.254", "hostname")
    assert typed.stdout == "gate\n", typed.stderr


def test_down_leaves_nothing_there_but_the_image(lab: RunningLab, older: SecondHypervisor) -> None:
    assert "e2e-distant" in older.leftovers()
    down = lab.json("-y", "down")
    assert down.exit_code == 0, down.trouble()
    assert older.leftovers() == ""
    assert older.inside("ls /var/lib/labrun/pool-images").startswith("debian-12-")
    # The brackets keep the shell that looks out of it.
    assert older.inside("pgrep -l -f '[q]emu-system|[e]2e-distant'; true").strip() == ""
    assert lab.json("-y", "down").statuses() <= {"ok", "skipped"}
