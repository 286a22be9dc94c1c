"""Commands that ask the hypervisors themselves, in a lab over two real ones, and a wire that is cut.

The container is on the first, and labrun reaches it through the other one, which is the home of its
network: so the wire between the two is the way to it. The machine on the other is of one boot sector.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.guests import STATE, inside, wait_until
from tests.e2e.test_several_hypervisors import SpanningLab
from tests.further_hypervisor import FIRST, FurtherHypervisor, further_hypervisor, own_ssh
from tests.tiny_guest import tiny_disk

pytestmark = [pytest.mark.vm, pytest.mark.lxc, pytest.mark.full]

NAME = "e2e-cmds"
LAB = """\
name: e2e-cmds
hypervisors:
  b: {{uri: "{uri}", tunnel: {address}}}
  a: {{uri: "lxc:///system", tunnel: {first}}}
defaults: {{memory: 64, disk: 1, image: tiny}}
images: {{tiny: {{path: tiny.qcow2}}}}
networks:
  lan: {{mode: isolated, cidr: 10.186.1.0/24}}
  own: {{mode: isolated, cidr: 10.186.2.0/24}}
hosts:
  one:
    hypervisor: a
    image: debian-12
    memory: 128
    networks: {{lan: {{ipv4: 10.186.1.11, filter: web}}}}
    sysctl: {{net.ipv4.ip_default_ttl: 64}}
  two: {{hypervisor: b, networks: {{lan: 10.186.1.12, own: 10.186.2.12}}}}
filters:
  web: [{{deny: in, proto: tcp, port: 99, log: true}}]
"""
GONE = "its hypervisor b does not answer: "


@pytest.fixture(scope="module")
def place(
    hypervisor: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, FurtherHypervisor]]:
    folder = tmp_path_factory.mktemp("cmds")
    ssh = own_ssh(folder)
    with further_hypervisor(folder / "b", ssh, 23) as b:
        yield ssh, b


@pytest.fixture
def b(place: tuple[Path, FurtherHypervisor]) -> FurtherHypervisor:
    return place[1]


@pytest.fixture(scope="module")
def lab(
    place: tuple[Path, FurtherHypervisor], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SpanningLab]:
    ssh, b = place
    folder = tmp_path_factory.mktemp("cmds-lab")
    tiny_disk(folder / "tiny.qcow2")
    path = folder / "lab.yaml"
    path.write_text(LAB.format(uri=b.uri, address=b.address, first=b.first), encoding="utf-8")
    made = SpanningLab(path, folder / "state", {}, ssh)
    try:
        up = made.json("-y", "up", "--no-wait")
        assert up.exit_code == 0, up.trouble()
        up = made.json("-y", "up", "--configure", "--hosts", "one")
        assert up.exit_code == 0, up.trouble()
        yield made
        assert made.json("snapshot", "save", "kept").exit_code == 0
    finally:
        assert made.run("-y", "down").exit_code == 0
    assert not kept_there(b, "")


def kept_there(b: FurtherHypervisor, name: str) -> str:
    """Return what the other hypervisor has of a snapshot, or of all of the lab."""
    return b.inside("sh", "-c", f"ls -A /var/lib/labrun/snapshots/{NAME}/{name} 2>/dev/null || true")


def by_name(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {f"{row['host']}:{row['name']}": row["status"] for row in rows}


def test_networks_of_both_and_the_rules_there(lab: SpanningLab, b: FurtherHypervisor) -> None:
    net = lab.json("net", "--rules")
    assert net.exit_code == 0, net.trouble()
    states = {row["name"]: row["actual"] for row in net.rows}
    assert states == {"lan on b": "active", "lan on a": "active", "own on b": "active"}
    found = {(each["name"], each["on"]): each for each in net.document["networks"]}
    assert [port["host"] for port in found["lan", "a"]["ports"]] == ["one"]
    assert [port["host"] for port in found["lan", "b"]["ports"]] == ["two"]
    uuid = b.inside("virsh", "-c", FIRST, "net-uuid", f"{NAME}-own").strip()
    assert found["own", "b"]["uuid"] == uuid
    assert "nothing else comes in" in [rule["does"] for rule in found["own", "b"]["rules"]]
    assert set(net.document["hypervisors"]) == {"a", "b"}
    shown = lab.run("net", "--rules")
    assert "own on b (isolated, " in shown.stdout


def test_what_a_filter_has_refused_is_asked_where_the_host_is(lab: SpanningLab, b: FurtherHypervisor) -> None:
    mac = inside(f"{NAME}-one", "cat /sys/class/net/eth0/address").strip()
    assert mac
    log = lab.json("log", "one")
    assert (log.exit_code, log.document["refused"]) == (0, []), log.trouble()
    dial = "import socket; s = socket.socket(); s.settimeout(2); print(s.connect_ex(('10.186.1.11', 99)))"
    subprocess.run(
        ["nsenter", "-t", str(b.pid), "-n", "python3", "-c", dial], check=True, capture_output=True
    )
    log = lab.json("log", "one")
    (entry,) = log.document["refused"]
    assert (entry["from"], entry["port"]) == ("10.186.1.1", 99)
    assert lab.run("log", "two").stdout == (
        "two: nothing is logged: no filter of its NICs has a rule with log: true\n"
    )


def programs(space: str) -> list[str]:
    """Return the names of what runs in a network namespace."""
    listed = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=True)
    paths = [Path(f"/proc/{pid}/comm") for pid in listed.stdout.split()]
    return [path.read_text(encoding="utf-8").strip() for path in paths if path.exists()]


def test_packets_at_nics_of_both(lab: SpanningLab, b: FurtherHypervisor, tmp_path: Path) -> None:
    def captured(*words: str) -> tuple[int, str]:
        process = subprocess.Popen(
            lab.arguments(*words),
            env=lab.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert process.stderr.readline() == "capturing at one:lan, two:lan; Ctrl-C stops\n"
        # Nobody has this address: its neighbours are asked, on every hypervisor.
        inside(
            f"{NAME}-one", "ip neigh flush to 10.186.1.99; ping -c 3 -W 1 10.186.1.99 >/dev/null 2>&1; true"
        )
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        return process.returncode, out

    _, out = captured(
        "--json", "--timeout", "20", "capture", "one:lan", "two:lan", "arp", "host", "10.186.1.99"
    )
    document = json.loads(out)
    assert {row["status"] for row in document["results"]} == {"ok"}
    assert {each["host"] for each in document["packets"]} == {"one", "two"}
    assert all("who-has 10.186.1.99" in each["packet"] for each in document["packets"])
    file = tmp_path / "both.pcapng"
    captured("--timeout", "20", "capture", "one:lan", "two:lan", "arp", "-o", str(file))
    read = subprocess.run(["tcpdump", "-n", "-r", str(file)], capture_output=True, text=True, check=True)
    assert "who-has 10.186.1.99" in read.stdout
    until = time.monotonic() + 60
    while "tcpdump" in programs(b.space):
        assert time.monotonic() < until, "a tcpdump is left there"
        time.sleep(0.1)


def test_a_link_there_gets_slow_and_back(lab: SpanningLab, b: FurtherHypervisor) -> None:
    def tc(*words: str) -> tuple[int, dict[str, str], dict[str, str]]:
        said = lab.json("tc", *words)
        actual = {f"{row['host']}:{row['name']}": row["actual"] for row in said.of("tc")}
        return said.exit_code, by_name(said.of("tc")), actual

    slow = ("two:own", "rate", "2mbit")
    assert tc(*slow) == (0, {"two:own": "changed"}, {"two:own": "rate 2mbit"})
    assert "1ab0:" in b.inside("tc", "qdisc", "show")
    assert tc(*slow)[1] == {"two:own": "ok"}
    shown = tc()[2]
    assert shown == {"one:lan": "none", "two:lan": "none", "two:own": "rate 2mbit"}
    assert tc("two:own", "--clear") == (0, {"two:own": "changed"}, {"two:own": "none"})
    assert tc("two:own", "--clear")[1] == {"two:own": "ok"}
    assert "1ab0:" not in b.inside("tc", "qdisc", "show")


def test_a_fork_is_refused(lab: SpanningLab) -> None:
    fork = lab.run("fork", "x")
    assert fork.exit_code == 2
    assert fork.stderr == (
        "error: `labrun fork` works only in a lab of one hypervisor\n"
        "hint: the lab file has b, a; `hypervisor` in place of `hypervisors` puts all on one\n"
    )


def test_one_that_is_gone_costs_its_own_rows_alone(lab: SpanningLab, b: FurtherHypervisor) -> None:
    with b.cut():
        net = lab.json("--timeout", "5", "net")
        assert net.exit_code == 4
        states = {row["name"]: row["status"] for row in net.rows}
        assert states == {"lan on a": "ok", "lan on b": "unknown", "own on b": "unknown"}
        tc = lab.json("--timeout", "5", "tc")
        assert by_name(tc.of("tc")) == {"one:lan": "ok", "two:lan": "unknown", "two:own": "unknown"}
        assert {row["why"].startswith(GONE) for row in tc.of("tc", "two")} == {True}
        assert lab.json("--timeout", "5", "log", "one").exit_code == 0
        capture = lab.json("--timeout", "5", "capture", "one:lan", "two:lan")
        assert by_name(capture.of("capture")) == {"one:lan": "ok", "two:lan": "unknown"}
        assert capture.exit_code == 4
        lost = lab.json("--timeout", "5", "capture", "two:lan")
        assert by_name(lost.rows) == {"two:lan": "unknown"}
    assert lab.json("net").exit_code == 0


def disk_there(b: FurtherHypervisor) -> str:
    listed = b.inside("virsh", "-c", FIRST, "domblklist", f"{NAME}-two").splitlines()
    return next(line.split()[1] for line in listed if line.endswith(".qcow2"))


def written(b: FurtherHypervisor, disk: str, number: int) -> bool:
    """Tell whether 512 bytes far behind the boot sector have this value each."""
    look = f"qemu-io -r -U -c 'read -P {number} 512k 512' {disk} 2>&1 || true"
    read = b.inside("sh", "-c", look)
    assert "read 512/512 bytes" in read, read
    return "verification failed" not in read


def test_a_snapshot_has_the_machines_of_both(lab: SpanningLab, b: FurtherHypervisor) -> None:
    domain, disk = f"{NAME}-one", disk_there(b)
    inside(domain, "echo before >/var/mark")
    saved = lab.json("snapshot", "save", "first")
    assert saved.exit_code == 0, saved.trouble()
    actual = {row["host"]: row["actual"] for row in saved.of("snapshot")}
    assert "MiB of memory" in actual["two"]
    assert set(actual) == {"one", "two"}
    files = kept_there(b, "first/two").split()
    assert {"disk0", "domain.xml", "memory"} <= set(files), files
    assert not Path(f"/var/lib/labrun/snapshots/{NAME}/first/two").exists()
    assert lab.run("snapshot", "save", "first").exit_code == 2
    (listed,) = lab.json("snapshot", "list").document["snapshots"]
    assert listed["machines"] == {"one": "running", "two": "running"}
    assert listed["memory"] is True
    assert lab.json("snapshot", "diff", "first").of("machine", "two")[0]["status"] == "ok"

    inside(domain, "echo after >/var/mark")
    assert lab.json("stop", "--hosts", "two").exit_code == 0
    b.inside("qemu-io", "-c", "write -P 7 512k 512", disk)
    assert written(b, disk, 7)
    for _ in range(2):
        restored = lab.json("-y", "snapshot", "restore", "first", "--no-wait")
        assert restored.exit_code == 0, restored.trouble()
        assert not written(b, disk, 7)
        assert f"{NAME}-two" in b.inside("virsh", "-q", "-c", FIRST, "list", "--name")
        wait_until(domain, "[ -e /var/mark ]")
        assert inside(domain, "cat /var/mark") == "before\n"
    ready = lab.json("up", "--hosts", "one")
    assert ready.exit_code == 0, ready.trouble()
    with b.cut():
        lost = lab.json("--timeout", "5", "snapshot", "save", "second")
        assert by_name(lost.of("snapshot")) == {"one:one": "skipped", "two:two": "unknown"}
        assert lost.of("snapshot", "two")[0]["why"].startswith(GONE)
        lost = lab.json("--timeout", "5", "snapshot", "restore", "first", "--no-wait")
        assert by_name(lost.of("snapshot")) == {"one:one": "skipped", "two:two": "unknown"}
        lost = lab.json("-y", "--timeout", "5", "snapshot", "remove", "first")
        assert by_name(lost.rows) == {"hypervisor:first on b": "unknown"}
        lost = lab.json("--timeout", "5", "snapshot", "list")
        assert by_name(lost.rows) == {"hypervisor:first on b": "unknown"}
        assert [each["name"] for each in lost.document["snapshots"]] == ["first"]
    removed = lab.json("-y", "snapshot", "remove", "first")
    assert removed.exit_code == 0, removed.trouble()
    assert not kept_there(b, "")


HELD = """\
#!/bin/sh
if [ -e /var/lib/labrun/guard/changed ]; then touch /var/held; until [ -e /var/go ]; do sleep 0.1; done; fi
exec /bin/ip "$@"
"""


def test_a_wire_cut_in_the_middle_of_configure(lab: SpanningLab, b: FurtherHypervisor) -> None:
    domain, guard = f"{NAME}-one", "[ ! -e /var/lib/labrun/guard ]"
    path = "/usr/local/bin/ip"
    text = lab.path.read_text(encoding="utf-8")
    first = lab.json("--hosts", "one", "configure")
    assert first.exit_code == 0, first.trouble()
    before = inside(domain, STATE)
    inside(domain, f"rm -f /var/held /var/go; printf %s {shlex.quote(HELD)} >{path}; chmod 755 {path}")
    new = text.replace("filter: web}", "filter: web, nmcli: {ipv4.dns-search: x.example}}")
    assert new != text
    lab.path.write_text(new, encoding="utf-8")
    try:
        process = subprocess.Popen(
            lab.arguments("--json", "--hosts", "one", "configure", "--confirm-timeout", "20"),
            env=lab.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_until(domain, "[ -e /var/held ]")
        with b.cut():
            inside(domain, "touch /var/go")
            out, _ = process.communicate(timeout=600)
            wait_until(domain, guard, seconds=300)
        document = json.loads(out)
        assert process.returncode == 4, out
        assert "unknown" in {row["status"] for row in document["results"]}, out
        # Nobody confirmed what was done meanwhile.
        assert inside(domain, STATE) == before
        inside(domain, f"rm {path}")
        again = lab.json("--hosts", "one", "configure")
        assert again.exit_code == 0, again.trouble()
        assert "changed" in again.statuses()
        again = lab.json("--hosts", "one", "configure")
        assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    finally:
        inside(domain, f"rm -f {path}; touch /var/go")
        lab.path.write_text(text, encoding="utf-8")
