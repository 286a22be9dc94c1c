"""Machines that labrun did not make: two containers of one lab, described by ``address:`` in another.

The second lab runs where libvirt cannot be imported: whatever asks for it leaves a mark.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from labrun.tasks.configure.lockout import PROBE
from tests.e2e.conftest import write_lab
from tests.labs import Answer, RunningLab

URI = "lxc:///system"
NETWORKS = """\
networks:
  left: {mode: isolated, cidr: 10.205.1.0/24}
  right: {mode: isolated, cidr: 10.205.2.0/24}
"""
BASE = f"""\
name: w4-s-base
hypervisor: {URI}
{NETWORKS}
hosts:
  gate: {{role: router, networks: {{left: 10.205.1.254, right: 10.205.2.254}}}}
  one: {{networks: {{left: 10.205.1.11}}}}
"""
TAKEN = "the profile would remove from eth0: `address` and `networks` must agree"
OUT_OF_REACH = """\
import pathlib
pathlib.Path(__file__).with_name("was-imported").touch()
raise ImportError("libvirt is out of reach here")
"""


@dataclass
class Inside(RunningLab):
    """A lab whose commands run in the network namespace that the machines are in."""

    pid: int = 0

    def arguments(self, *words: str) -> list[str]:
        """Return the whole command line, entered by hand: nothing asks libvirtd where it is."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *super().arguments(*words)]


def existing(base: RunningLab, known_hosts: Path | None = None) -> str:
    """Return the second lab file; ``left`` and ``right`` have no mode: they are nobody's to make."""
    (state,) = base.state.glob("*-*")
    ssh = {
        "user": "lab",
        "identity": str(state / "id_ed25519"),
        "known_hosts": str(known_hosts or state / "known_hosts"),
    }
    return f"""\
name: w4-s-existing
networks:
  left: {{cidr: 10.205.1.0/24}}
  right: {{cidr: 10.205.2.0/24}}
defaults: {{ssh: {json.dumps(ssh)}}}
hosts:
  gate:
    address: 10.205.1.254
    role: router
    networks: {{left: 10.205.1.254, right: 10.205.2.254}}
  one:
    address: 10.205.1.11
    networks: {{left: 10.205.1.11}}
    sysctl: {{net.ipv4.tcp_syncookies: 1}}
"""


@pytest.fixture(scope="module")
def base(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """The two machines, only just booted."""
    lab = write_lab(tmp_path_factory.mktemp("base"), BASE)
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        # Something that the second lab file will not name.
        lab.guest("one", "nmcli device modify eth0 ipv4.dns 10.205.1.1")
        yield lab
    finally:
        lab.path.write_text(BASE, encoding="utf-8")
        down = lab.run("-y", "down")
        assert down.exit_code == 0, down.stderr + down.stdout


@pytest.fixture(scope="module")
def lab(base: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """The same machines by their addresses."""
    nowhere = tmp_path_factory.mktemp("no-libvirt")
    for name in ("libvirt", "libvirt_qemu", "libvirt_lxc"):
        (nowhere / f"{name}.py").write_text(OUT_OF_REACH, encoding="utf-8")
    made = write_lab(tmp_path_factory.mktemp("existing"), existing(base))
    pid = daemon_pid(URI)
    assert pid is not None
    return Inside(
        made.path,
        made.state,
        {"PYTHONPATH": str(nowhere), "LIBVIRT_DEFAULT_URI": "nonsense:///nowhere"},
        pid=pid,
    )


@dataclass
class Runs:
    """What one command after the other said."""

    dry: Answer
    again: Answer
    first: Answer
    second: Answer


@pytest.fixture(scope="module")
def configured(lab: Inside) -> Runs:
    """The machines as the second file says, by way of dry runs."""
    return Runs(
        lab.json("configure", "--dry-run"),
        lab.json("configure", "--dry-run"),
        lab.json("configure"),
        lab.json("configure"),
    )


def test_a_dry_run_says_what_would_change_and_changes_nothing(configured: Runs) -> None:
    assert configured.dry.exit_code == configured.again.exit_code == 3, configured.dry.trouble()
    assert {row["name"] for row in configured.dry.of("nmcli", "gate")} == {"left", "right"}
    assert configured.dry.statuses("nmcli") == {"would-change"}
    seen = [
        [(row["host"], row["name"], row["status"]) for row in run.rows]
        for run in (configured.dry, configured.again)
    ]
    assert seen[0] == seen[1]


def test_configure_does_what_the_dry_run_said_and_a_second_run_changes_nothing(configured: Runs) -> None:
    assert configured.first.exit_code == 0, configured.first.trouble()
    would = {(row["host"], row["name"]) for row in configured.dry.rows if row["status"] == "would-change"}
    did = {(row["host"], row["name"]) for row in configured.first.rows if row["status"] == "changed"}
    assert would == did
    assert configured.second.exit_code == 0
    assert configured.second.statuses() == {"ok"}, configured.second.trouble()


def test_the_machines_hold_the_addresses_of_the_file_and_keep_what_it_does_not_name(
    lab: Inside, configured: Runs
) -> None:
    profiles = lab.guest("gate", "nmcli -g NAME connection show --active").split()
    assert {"labrun-left", "labrun-right"} <= set(profiles)
    # The file names no name server; the one that was in use stays.
    assert lab.guest("one", "nmcli -g ipv4.dns connection show labrun-left") == "10.205.1.1\n"


def test_the_door_is_not_closed_from_inside(lab: Inside, configured: Runs, tmp_path: Path) -> None:
    text = lab.path.read_text(encoding="utf-8").replace("left: 10.205.1.11}", "left: 10.205.1.12}")
    answer = elsewhere(lab, tmp_path, text).json("configure", "--hosts", "one", "--only", "nmcli")
    assert answer.exit_code == 1
    assert [(row["name"], row["status"], row["why"]) for row in answer.rows] == [
        (
            "left",
            "failed",
            f"labrun reaches this machine at 10.205.1.11, which {TAKEN}",
        )
    ]
    assert lab.json("configure", "--dry-run", "--hosts", "one").statuses() == {"ok"}


def test_a_script_run_by_sudo_still_learns_where_its_session_comes_from(lab: Inside) -> None:
    # As the transport does it, with the framing left out.
    script = f'capture() {{ shift; "$@"; }}\n{PROBE}'
    said = lab.run("ssh", "one", "env LC_ALL=C.UTF-8 sudo -n sh -s", stdin=script).stdout.split()
    assert [said[0], *said[2:]] == ["10.205.1.1", "10.205.1.11", "22"]


def test_verify_finds_the_nics_by_their_addresses(lab: Inside, configured: Runs) -> None:
    verified = lab.json("verify")
    assert verified.exit_code == 0, verified.trouble()
    assert {(row["host"], row["name"], row["actual"]) for row in verified.of("address")} == {
        ("gate", "left", "10.205.1.254/24"),
        ("gate", "right", "10.205.2.254/24"),
        ("one", "left", "10.205.1.11/24"),
    }
    assert verified.of("path", name="one -> gate")[0]["status"] == "ok"


def test_keys_of_people_are_let_in_and_taken_out_and_others_stay(
    lab: Inside, configured: Runs, tmp_path: Path
) -> None:
    keys = "/home/lab/.ssh/authorized_keys"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "ann")], check=True)
    ann = (tmp_path / "ann.pub").read_text(encoding="utf-8").strip()
    text = lab.path.read_text(encoding="utf-8")
    address = "    address: 10.205.1.11\n"
    asking = elsewhere(lab, tmp_path, text.replace(address, f'{address}    ssh_keys: ["{ann}"]\n'))
    lab.guest("one", f"echo '# by hand' >>{keys}")
    before = lab.guest("one", f"cat {keys}")
    for expected in ("changed", "ok"):
        answer = asking.json("configure", "--hosts", "one")
        assert answer.exit_code == 0, answer.trouble()
        assert [row["status"] for row in answer.of("ssh_keys")] == [expected]
    assert lab.guest("one", f"cat {keys}") == f"{before}{ann}\n"
    assert asking.json("verify", "--hosts", "one").statuses("ssh_keys") == {"ok"}
    # The lab file no longer has it; the other keys are not labrun's.
    for statuses in (["changed"], []):
        answer = lab.json("configure", "--hosts", "one")
        assert answer.exit_code == 0, answer.trouble()
        assert [row["status"] for row in answer.of("ssh_keys")] == statuses
    assert lab.guest("one", f"cat {keys}") == before


def test_verify_says_what_is_wrong_with_an_existing_router(lab: Inside, configured: Runs) -> None:
    lab.guest("gate", "sysctl -q net.ipv4.ip_forward=0")
    try:
        verified = lab.json("verify")
        assert verified.exit_code == 1
        assert verified.of("sysctl", "gate", "net.ipv4.ip_forward")[0]["status"] == "failed"
    finally:
        lab.guest("gate", "sysctl -q net.ipv4.ip_forward=1")


def test_the_other_commands_work_without_libvirt(lab: Inside) -> None:
    validated = lab.run("validate")
    assert (validated.exit_code, validated.stderr) == (0, "")
    status = lab.json("status")
    assert status.exit_code == 0
    assert [(host["state"], host["ssh"]) for host in status.document["hosts"]] == [("existing", "ok")] * 2
    assert status.document["hypervisor"] is None
    assert "no hypervisor: every host is an existing machine" in lab.run("status").stdout
    assert lab.run("ssh", "one", "hostname").stdout == "one\n"
    assert {row["actual"] for row in lab.json("exec", "hostname").rows} == {"gate", "one"}
    (gate, _) = json.loads(lab.run("inventory").stdout)["hosts"]
    assert (gate["address"], gate["user"], gate["macs"]) == ("10.205.1.254", "lab", {})


@pytest.mark.parametrize(
    "words", [("up",), ("plan",), ("start",), ("stop",), ("restart",), ("-y", "down"), ("up", "--prune")]
)
def test_nothing_is_provisioned_started_or_removed(lab: Inside, words: tuple[str, ...]) -> None:
    answer = lab.json(*words)
    assert answer.exit_code == 0
    assert [(row["host"], row["section"], row["status"], row["why"]) for row in answer.rows] == [
        (host, "machine", "skipped", "an existing machine is never provisioned") for host in ("gate", "one")
    ]


def elsewhere(lab: Inside, directory: Path, text: str) -> Inside:
    """Return the lab with another file."""
    path = directory / "lab.yaml"
    path.write_text(text, encoding="utf-8")
    return replace(lab, path=path, state=directory / "state")


def test_a_machine_whose_key_is_not_on_record_is_not_entered(
    base: RunningLab, lab: Inside, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    answer = elsewhere(lab, tmp_path, existing(base, known)).json("verify", "--hosts", "one")
    assert answer.exit_code == 4
    assert answer.statuses() == {"unreachable"}
    (row,) = answer.of("address", "one")
    assert row["why"].startswith(f"no host key is known for 10.205.1.11 in {known} (it shows SHA256:")
    assert row["why"].endswith("`ssh-keyscan 10.205.1.11` gives the line)")


def test_a_machine_with_another_key_than_the_one_on_record_is_not_entered(
    base: RunningLab, lab: Inside, tmp_path: Path
) -> None:
    (state,) = base.state.glob("*-*")
    lines = (state / "known_hosts").read_text().splitlines()
    keys = {line.split()[0].split(",")[0]: line.split()[1:] for line in lines}
    known = tmp_path / "known_hosts"
    known.write_text(f"10.205.1.11 {' '.join(keys['gate'])}\n10.205.1.254 {' '.join(keys['gate'])}\n")
    wrong = elsewhere(lab, tmp_path, existing(base, known))
    answer = wrong.json("configure", "--dry-run")
    assert {row["host"] for row in answer.rows if row["status"] == "unreachable"} == {"one"}
    assert {row["why"].split(": SHA256")[0] for row in answer.rows if row["host"] == "one"} == {
        "host key: its host key is not the one on record"
    }
    assert wrong.run("ssh", "one", "true").exit_code == 255


def test_nobody_asked_for_libvirt(lab: Inside, configured: Runs) -> None:
    assert lab.run("verify", "--hosts", "one").exit_code == 0
    assert not (Path(lab.env["PYTHONPATH"]) / "was-imported").exists()


def test_made_and_existing_machines_share_networks(
    base: RunningLab, configured: Runs, tmp_path: Path
) -> None:
    (state,) = base.state.glob("*-*")
    known = tmp_path / "known_hosts"
    known.write_text((state / "known_hosts").read_text())
    ssh = {"user": "lab", "identity": str(state / "id_ed25519"), "known_hosts": str(known)}
    mixed = BASE.replace(
        "gate: {role: router,", f"gate: {{address: 10.205.1.254, ssh: {json.dumps(ssh)}, role: router,"
    )
    assert mixed != BASE
    base.path.write_text(mixed, encoding="utf-8")
    up = base.json("up")
    assert up.exit_code == 0, up.trouble()
    (row,) = up.of("machine", "gate")
    assert (row["status"], row["why"]) == ("skipped", "an existing machine is never provisioned")
    assert base.json("configure").exit_code == 0
    verified = base.json("verify")
    assert verified.exit_code == 0, verified.trouble()
