"""`up` on real containers: it converges from wherever it was left, and touches nothing of others."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest

from labrun.key_pairs import make_host_key
from labrun.state import LabState
from tests.labs import RunningLab
from tests.leftovers import note

LXC = "lxc:///system"
SMALL = """\
name: e2e-small
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  left: {mode: isolated, cidr: 10.121.0.0/24}
  right: {mode: isolated, cidr: 10.122.0.0/24}
hosts:
  gate: {role: router, networks: {left: 10.121.0.254, right: 10.122.0.254}}
  one: {networks: {left: 10.121.0.11}}
  two: {networks: {right: dhcp}}
"""
# One machine, for what is not of several.
ONE = """\
name: e2e-small
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks: {left: {mode: isolated, cidr: 10.121.0.0/24}}
hosts: {one: {networks: {left: 10.121.0.11}}}
"""
Make = Callable[[str], RunningLab]


@pytest.fixture
def libvirtd() -> Iterator[libvirt.virConnect]:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open(LXC)
    yield connection
    connection.close()


def names(connection: libvirt.virConnect, prefix: str) -> list[str]:
    found = [domain.name() for domain in connection.listAllDomains()]
    found += [network.name() for network in connection.listAllNetworks()]
    return sorted(name for name in found if name.startswith(prefix))


def leftovers(lab: str) -> list[str]:
    """Return mounts, control groups and directories that carry the lab's name."""
    pid = Path("/run/libvirtd.pid").read_text(encoding="ascii").strip()
    script = (
        f"grep -o '/[^ ]*/{lab}/[^ ]*' /proc/mounts; find /sys/fs/cgroup /var/lib/labrun/labs "
        f"-name '*{lab}*' 2>/dev/null; true"
    )
    inside = ["nsenter", "-t", pid, "-m", "sh", "-c", script]
    outside = ["sh", "-c", script]
    done = [
        subprocess.run(command, capture_output=True, text=True, check=True) for command in (inside, outside)
    ]
    return sorted({line for one in done for line in one.stdout.splitlines()})


def test_up_makes_everything_and_a_second_up_changes_nothing(
    make_lab: Make, libvirtd: libvirt.virConnect
) -> None:
    lab = make_lab(SMALL)
    plan = lab.json("plan")
    assert plan.exit_code == 3
    first = lab.json("up")
    assert first.exit_code == 0, first.trouble()
    assert {row["name"] for row in first.of("network")} == {"left", "right"}
    assert {row["host"] for row in first.of("ready")} == {"gate", "one", "two"}
    assert first.statuses("network", "machine") == {"changed"}
    assert first.statuses("ready") == {"ok"}
    second = lab.json("up")
    assert second.exit_code == 0
    assert second.statuses() == {"ok"}, second.rows
    assert lab.json("plan").exit_code == 0

    assert lab.json("up", "--hosts", "one").statuses() == {"ok"}
    status = lab.json("status")
    assert status.exit_code == 0
    assert [entry["name"] for entry in status.document["hosts"]] == ["gate", "one", "two"]
    assert {entry["state"] for entry in status.document["hosts"]} == {"running"}
    assert {entry["ssh"] for entry in status.document["hosts"]} == {"ok"}
    assert {entry["driver"] for entry in status.document["hosts"]} == {"lxc"}

    stop = lab.json("stop", "--hosts", "one,two")
    assert (stop.exit_code, stop.statuses()) == (0, {"changed"})
    assert lab.json("stop", "--hosts", "one,two").statuses() == {"ok"}
    states = {entry["name"]: entry["state"] for entry in lab.json("status").document["hosts"]}
    assert states == {"gate": "running", "one": "shut off", "two": "shut off"}
    again = lab.json("up")
    assert again.exit_code == 0, again.trouble()
    assert {row["host"]: row["status"] for row in again.of("machine")} == {
        "gate": "ok",
        "one": "changed",
        "two": "changed",
    }

    down = lab.json("-y", "down")
    assert down.exit_code == 0, down.trouble()
    assert names(libvirtd, "e2e-small") == []
    assert leftovers("e2e-small") == []
    assert [path.name for path in lab.state.iterdir()] == ["history"]
    nothing = lab.json("-y", "down")
    assert (nothing.exit_code, nothing.statuses()) == (0, {"ok"})


@pytest.mark.full
def test_what_the_file_no_longer_has_is_named_and_removed_only_with_prune(
    make_lab: Make, libvirtd: libvirt.virConnect
) -> None:
    lab = make_lab(SMALL)
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    without = [line for line in SMALL.splitlines() if not line.startswith(("  two:", "  right:"))]
    lab.path.write_text("\n".join(without).replace(", right: 10.122.0.254", "") + "\n", encoding="utf-8")
    left = lab.json("plan").of("machine", "hypervisor") + lab.json("plan").of("network", name="right")
    assert [row["name"] for row in left] == ["two", "right"]
    assert {row["status"] for row in left} == {"skipped"}
    assert {row["why"] for row in left} == {"not in the file: left alone; `labrun up --prune` removes it"}
    kept = lab.json("up", "--no-wait")
    assert kept.exit_code == 0, kept.trouble()
    assert "e2e-small-two" in names(libvirtd, "e2e-small")
    refused = lab.run("up", "--prune")
    assert refused.exit_code == 2
    assert "-y confirms it" in refused.stderr
    pruned = lab.json("-y", "up", "--prune")
    assert pruned.exit_code == 0, pruned.trouble()
    expected = ["e2e-small-gate", "e2e-small-left", "e2e-small-one"]
    assert names(libvirtd, "e2e-small") == expected
    assert lab.json("-y", "up", "--prune").statuses() == {"ok"}


def test_recreate_keeps_addresses_and_macs_and_makes_a_new_machine(make_lab: Make) -> None:
    lab = make_lab(ONE)
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    assert lab.guest("one", "echo mine >/root/mark && cat /root/mark") == "mine\n"
    before = lab.guest("one", "cat /sys/class/net/eth0/address; cat /etc/ssh/ssh_host_ed25519_key.pub")
    answer = lab.json("-y", "up", "--recreate", "--hosts", "one")
    assert answer.exit_code == 0, answer.trouble()
    assert answer.of("machine", "one")[0]["status"] == "changed"
    after = lab.guest("one", "cat /sys/class/net/eth0/address; cat /etc/ssh/ssh_host_ed25519_key.pub")
    assert before.splitlines()[0] == after.splitlines()[0]
    assert before.splitlines()[1] != after.splitlines()[1]
    assert lab.guest("one", "test -e /root/mark || echo gone") == "gone\n"
    whole = lab.run("up", "--recreate")
    assert whole.exit_code == 2
    assert "--recreate needs --hosts" in whole.stderr


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (signal.SIGKILL, 0.4),
        pytest.param(signal.SIGINT, 0.9, marks=pytest.mark.full),
        pytest.param(signal.SIGKILL, 0.9, marks=pytest.mark.full),
        pytest.param(signal.SIGINT, 0.4, marks=pytest.mark.full),
    ],
)
def test_up_converges_after_it_was_ended_in_the_middle(
    make_lab: Make, libvirtd: libvirt.virConnect, number: signal.Signals, when: float
) -> None:
    lab = make_lab(SMALL)
    process = lab.start("up")
    # Not for luck: wherever the signal falls, the next run has to end where the first would have.
    time.sleep(when)
    process.send_signal(number)
    process.wait(timeout=120)
    assert process.returncode in (-number, 130, 0)
    answer = lab.json("up")
    assert answer.exit_code == 0, answer.trouble()
    assert lab.json("up").statuses() == {"ok"}


def test_a_foreign_domain_and_network_are_never_touched(make_lab: Make, libvirtd: libvirt.virConnect) -> None:
    foreign_net = "<network><name>e2e-small-left</name><ip address='10.129.0.1' prefix='24'/></network>"
    foreign_dom = (
        "<domain type='lxc'><name>e2e-small-one</name><memory>65536</memory>"
        "<os><type>exe</type><init>/bin/true</init></os></domain>"
    )
    for name in ("left", "one", "other"):
        note(f"e2e-small-{name}")
    network = libvirtd.networkDefineXML(foreign_net)
    domain = libvirtd.defineXML(foreign_dom)
    before = network.XMLDesc(0), domain.XMLDesc(0)
    try:
        lab = make_lab(SMALL)
        answer = lab.json("up")
        assert answer.exit_code == 5
        row = answer.of("network", name="left")[0]
        assert row["status"] == "failed"
        assert "the network e2e-small-left exists and is not this lab's" in row["why"]
        network.undefine()
        network = libvirtd.networkDefineXML(foreign_net.replace("e2e-small-left", "e2e-small-other"))
        answer = lab.json("up")
        assert answer.exit_code == 5
        row = answer.of("machine", "one")[0]
        assert "the domain e2e-small-one exists and is not this lab's" in row["why"]
        (gate,) = answer.of("machine", "gate")
        why = "nothing was started: machine one would be refused"
        assert (gate["status"], gate["actual"], gate["why"]) == ("skipped", "as before", why)
        assert names(libvirtd, "e2e-small") == ["e2e-small-one", "e2e-small-other"]
        down = lab.json("-y", "down")
        assert down.exit_code == 0, down.trouble()
        assert names(libvirtd, "e2e-small") == ["e2e-small-one", "e2e-small-other"]
        assert domain.XMLDesc(0) == before[1]
    finally:
        domain.undefine()
        network.undefine()


@pytest.mark.full
def test_a_lost_state_directory_is_recovered_from_out_of_band(make_lab: Make) -> None:
    lab = make_lab(ONE)
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    lab.state = lab.state.with_name("state-after-the-loss")
    answer = lab.json("up")
    assert answer.exit_code == 0, answer.trouble()
    ready = answer.of("ready", "one")[0]
    assert ready["why"] == "the lab's keys were lost: a new one was installed without a login"
    assert lab.guest("one", "id -un") == "root\n"
    assert lab.json("up").of("ready", "one")[0]["why"] is None


@pytest.mark.full
def test_a_key_pair_that_is_none_is_as_if_it_were_lost(make_lab: Make) -> None:
    lab = make_lab(ONE)
    assert lab.json("up").exit_code == 0
    key = next(lab.state.rglob("id_ed25519"))
    for damaged in (key.read_text()[:100], make_host_key("labrun-other").private):
        key.write_text(damaged, encoding="ascii")
        began = time.monotonic()
        answer = lab.json("up")
        assert answer.exit_code == 0, answer.trouble()
        assert time.monotonic() - began < 90
        assert (
            "id_ed25519: it is damaged, or not the key of the .pub file beside it; it was renamed to "
            in answer.stderr
        )
        why = {row["why"] for row in answer.of("ready")}
        assert why == {"the lab's keys were lost: a new one was installed without a login"}
    known = key.with_name("known_hosts")
    known.write_bytes(b"\xff")
    answer = lab.json("up")
    assert answer.exit_code == 0, answer.trouble()
    assert f"{known}: it is not what labrun wrote; it was renamed to " in answer.stderr
    key.chmod(0o644)
    last = lab.json("status")
    assert last.exit_code == 0, last.stderr
    assert last.stderr == f"{key} had the mode 0644: it is 0600 again\n"


def test_down_works_by_name_and_without_the_file(make_lab: Make, libvirtd: libvirt.virConnect) -> None:
    lab = make_lab(SMALL)
    assert lab.json("up", "--no-wait").exit_code == 0
    listed = lab.json("list").document["labs"]
    entry = next(found for found in listed if found["name"] == "e2e-small")
    assert set(entry["machines"]) == {"gate", "one", "two"}
    assert set(entry["networks"]) == {"left", "right"}
    lab.path.write_text("", encoding="utf-8")
    refused = lab.run("down", "--name", "e2e-small")
    assert refused.exit_code == 2
    answer = lab.json("-y", "down", "--name", "e2e-small")
    assert answer.exit_code == 0, answer.trouble()
    assert names(libvirtd, "e2e-small") == []
    assert leftovers("e2e-small") == []
    lab.path.write_text(SMALL, encoding="utf-8")


def test_changes_in_place_and_what_only_a_new_machine_can_carry(make_lab: Make) -> None:
    lab = make_lab(SMALL)
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    changed = SMALL.replace(
        "  one: {networks: {left: 10.121.0.11}}", "  one: {memory: 300, networks: {left: 10.121.0.11}}"
    )
    changed += "  new: {networks: {left: 10.121.0.77}}\n"
    lab.path.write_text(changed, encoding="utf-8")
    plan = lab.json("plan")
    assert plan.exit_code == 3
    assert plan.of("machine", "one")[0]["diff"] == "- memory: 256\n+ memory: 300"
    assert plan.of("network", name="left")[0]["actual"] == "would be changed in place"
    answer = lab.json("up")
    assert answer.exit_code == 0, answer.trouble()
    assert answer.of("network", name="left")[0]["actual"] == "changed in place"
    assert answer.of("machine", "one")[0]["actual"] == "changed in place"
    assert answer.of("machine", "gate")[0]["status"] == "ok"
    assert lab.json("up").statuses() == {"ok"}
    moved = changed.replace("10.121.0.", "10.123.0.")
    lab.path.write_text(moved, encoding="utf-8")
    followed = lab.json("up")
    assert followed.exit_code == 0, followed.trouble()
    assert followed.of("network", name="left")[0]["actual"] == "restarted"
    assert followed.of("ready", "one")[0]["why"] == "its address had moved: left set without a login"
    assert lab.json("up").statuses() == {"ok"}
    lab.path.write_text(changed, encoding="utf-8")


@pytest.mark.full
def test_a_host_that_does_not_get_there_says_where_it_hangs_and_the_others_go_on(make_lab: Make) -> None:
    lab = make_lab(SMALL)
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    lab.guest("one", "systemctl disable --quiet ssh.service; systemctl mask --quiet ssh.service")
    assert lab.json("stop", "--hosts", "one,two").exit_code == 0
    answer = lab.json("up", "--timeout", "15")
    assert answer.exit_code == 4
    row = answer.of("ready", "one")[0]
    assert (row["status"], row["actual"]) == ("unreachable", "stage ssh")
    # What was seen inside goes first, whether it ended the wait or the time was up.
    cause = r"sshd is not running: ssh\.service is masked; seen out of band, over SSH: "
    assert re.match(cause + r"no login at 10\.121\.0\.11 after \d+ s: ", row["why"])
    assert "last lines of its console:" in row["why"]
    assert "systemd" in row["why"].split("last lines of its console:")[1]
    assert answer.of("ready", "two")[0]["status"] == "ok"
    assert {entry["host"] for entry in answer.of("ready")} == {"gate", "one", "two"}


def test_a_full_state_directory_is_named_before_anything_is_made(
    libvirtd: libvirt.virConnect, tmp_path: Path
) -> None:
    (tmp_path / "lab.yaml").write_text(SMALL.replace("e2e-small", "e2e-full"), encoding="utf-8")
    script = (
        "mkdir state && mount -t tmpfs -o size=64k none state && labrun=$1 && shift;"
        ' mkdir state/history; "$labrun" -c "$1"; head -c 1000000 /dev/zero >state/filler 2>/dev/null;'
        ' exec "$labrun" -m labrun --state-dir state -y up'
    )
    made = (
        "from pathlib import Path; from labrun.state import LabState;"
        f"LabState.open('e2e-full', {LXC!r}, Path('state'))"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, made],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    root = LabState.open("e2e-full", LXC, tmp_path / "elsewhere").root.name
    reason = f"cannot write to the state directory state/{root}: No space left on device"
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert f"error: {reason}\nhint: --state-dir chooses another\n" in done.stderr
    assert names(libvirtd, "e2e-full") == []
