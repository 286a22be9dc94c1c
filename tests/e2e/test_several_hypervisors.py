"""One lab over two hypervisors and over three: what is where, the networks that span, and what goes wrong.

The further hypervisors are namespaces with a libvirtd and an sshd of their own. The machines are of one boot
sector: frames are sent by namespaces that are put on the bridges with the machines' MACs and addresses.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.further_hypervisor import FIRST, FurtherHypervisor, further_hypervisor, in_first, own_ssh, with_ssh
from tests.labs import RunningLab
from tests.tiny_guest import tiny_disk

pytestmark = pytest.mark.vm

NAME = "e2e-span"
LARGE = 200_000
_SERVE = """\
import socket
s = socket.create_server(("{at}", 7000))
s.settimeout(30)
c, n = s.accept()[0], 0
while d := c.recv(65536):
    n += len(d)
print(n)
"""
_SEND = "import socket; c = socket.create_connection(('{at}', 7000), 20); c.sendall(bytes({size})); c.close()"


@dataclass
class SpanningLab(RunningLab):
    """A lab whose commands find the test's own keys of the further hypervisors."""

    ssh: Path = field(default=Path())

    def arguments(self, *words: str) -> list[str]:
        return [*with_ssh(self.ssh), *super().arguments(*words)]


def write(folder: Path, ssh: Path, image: Path, others: list[FurtherHypervisor], text: str) -> SpanningLab:
    """Write a lab over the first hypervisor, ``a``, and these, ``b`` and ``c``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'  a: {{uri: "{FIRST}", tunnel: {others[0].first}}}\n']
    lines += [
        f'  {name}: {{uri: "{each.uri}", tunnel: {each.address}}}\n'
        for name, each in zip("bc", others, strict=False)
    ]
    head = f"name: {NAME}\nhypervisors:\n{''.join(lines)}defaults: {{memory: 64, disk: 1, image: tiny}}\n"
    head += f"images: {{tiny: {{path: {image.name}}}}}\n"
    if not (folder / image.name).exists():
        (folder / image.name).write_bytes(image.read_bytes())
    path = folder / "lab.yaml"
    path.write_text(head + text, encoding="utf-8")
    return SpanningLab(path, folder / "state", {}, ssh)


TWO = """\
networks:
  lan: {mode: isolated, cidr: 10.195.1.0/24}
hosts:
  one: {hypervisor: a, networks: {lan: 10.195.1.11}}
  two: {hypervisor: b, networks: {lan: 10.195.1.12}}
"""


@dataclass(frozen=True)
class Bed:
    """The further hypervisors and what labs over them need."""

    ssh: Path
    image: Path
    b: FurtherHypervisor

    def lab(self, folder: Path, text: str) -> SpanningLab:
        return write(folder, self.ssh, self.image, [self.b], text)


@pytest.fixture(scope="module")
def bed(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("span")
    ssh = own_ssh(folder)
    with further_hypervisor(folder / "b", ssh, 2) as b:
        yield Bed(ssh, tiny_disk(folder / "tiny.qcow2"), b)


@pytest.fixture(scope="module")
def lab(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpanningLab]:
    made = bed.lab(tmp_path_factory.mktemp("two") / "lab", TWO)
    try:
        up = made.json("-y", "up", "--no-wait")
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        assert made.run("-y", "down").exit_code == 0


def domains(words: str) -> list[str]:
    return sorted(name for name in words.split() if name.startswith(NAME))


def bridge_of(xml: str) -> str:
    return xml.partition("<bridge name='")[2].partition("'")[0]


@contextmanager
def member(place: list[str], mac: str, address: str, mtu: int, lab: str = NAME) -> Iterator[list[str]]:
    """Put a namespace on the bridge of lan; yield the words that run a command in it.

    ``place`` are those that run a command on the hypervisor.
    """
    name = f"t-{address.rpartition('.')[2]}"

    def run(script: str) -> str:
        done = subprocess.run([*place, "sh", "-ec", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    bridge = bridge_of(run(f"virsh -c {FIRST} net-dumpxml {lab}-lan"))
    pid = subprocess.Popen([*place, "unshare", "-n", "sleep", "600"])
    inside = ["nsenter", "-t", str(pid.pid), "-n"]
    try:
        theirs, mine = f"/proc/{pid.pid}/ns/net", "/proc/self/ns/net"
        run(f"until [ $(readlink {theirs}) != $(readlink {mine}) ]; do sleep 0.1; done")
        own = f"nsenter -t {pid.pid} -n ip"
        run(
            f"ip link add {name} mtu {mtu} type veth peer name eth0 mtu {mtu} address {mac} netns {pid.pid};"
            f" ip link set {name} master {bridge} up; {own} link set lo up;"
            f" {own} address add {address}/24 dev eth0; {own} link set eth0 up"
        )
        yield inside
    finally:
        pid.terminate()
        pid.wait(10)


def first_place() -> list[str]:
    from labrun.hypervisor import daemon_pid

    return ["nsenter", "-t", str(daemon_pid(FIRST)), "-n"]


def place_of(other: FurtherHypervisor) -> list[str]:
    return ["nsenter", "-t", str(other.pid), "-m", "-n", "--wd=/"]


def mac_of(xml: str) -> str:
    return xml.partition("<mac address='")[2].partition("'")[0]


def talk(one: list[str], two: list[str], at: str, mtu: int) -> None:
    """Send the largest packets that fit, and TCP with full segments, from one namespace to the other."""
    ping = ["ping", "-M", "do", "-c", "1", "-W", "5", "-s", str(mtu - 28), at]
    done = subprocess.run([*one, *ping], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    too_large = subprocess.run([*one, *ping[:-2], str(mtu - 27), at], capture_output=True, check=False)
    assert too_large.returncode != 0
    server = subprocess.Popen(
        [*two, "python3", "-c", _SERVE.format(at=at)], stdout=subprocess.PIPE, text=True
    )
    wait = f"until ss -Htln | grep -q {at}:7000; do sleep 0.1; done"
    subprocess.run([*two, "sh", "-c", wait], check=True, timeout=30)
    subprocess.run([*one, "python3", "-c", _SEND.format(at=at, size=LARGE)], check=True, timeout=60)
    assert server.communicate(timeout=60)[0].strip() == str(LARGE)


def left_on(run: list[str]) -> str:
    script = (
        f"ip -o link show type vxlan; nft list ruleset inet | grep lrv; virsh -q -c {FIRST} net-list --all; "
    )
    script += f"virsh -q -c {FIRST} list --all; virsh -q -c {FIRST} pool-list --all"
    done = subprocess.run([*run, "sh", "-c", script], capture_output=True, text=True, check=False)
    return "".join(line for line in done.stdout.splitlines(True) if NAME in line or "lrv" in line)


def test_machines_are_where_the_file_puts_them_and_reach_each_other(lab: SpanningLab, bed: Bed) -> None:
    assert domains(in_first("virsh", "-q", "-c", FIRST, "list", "--name")) == [f"{NAME}-one"]
    assert domains(bed.b.inside("virsh", "-q", "-c", FIRST, "list", "--name")) == [f"{NAME}-two"]
    first = in_first("virsh", "-c", FIRST, "net-dumpxml", f"{NAME}-lan")
    second = bed.b.inside("virsh", "-c", FIRST, "net-dumpxml", f"{NAME}-lan")
    assert "<mtu size='1450'/>" in first
    assert "<mtu size='1450'/>" in second
    assert "address='10.195.1.1'" in first
    assert "<ip " not in second
    one = mac_of(in_first("virsh", "-c", FIRST, "dumpxml", f"{NAME}-one"))
    two = mac_of(bed.b.inside("virsh", "-c", FIRST, "dumpxml", f"{NAME}-two"))
    with (
        member(first_place(), one, "10.195.1.11", 1450) as here,
        member(place_of(bed.b), two, "10.195.1.12", 1450) as there,
    ):
        talk(here, there, "10.195.1.12", 1450)
        talk(there, here, "10.195.1.11", 1450)
    again = lab.json("-y", "up", "--no-wait")
    assert again.exit_code == 0
    assert "changed" not in again.statuses(), again.rows
    plan = lab.json("plan")
    assert plan.exit_code == 0, plan.trouble()
    assert plan.document["placement"] == {
        "one": {"hypervisor": "a", "why": "set in the lab file"},
        "two": {"hypervisor": "b", "why": "set in the lab file"},
    }


@pytest.mark.full
def test_commands_ask_the_hypervisor_that_a_host_is_on(lab: SpanningLab, bed: Bed) -> None:
    net = lab.json("net")
    assert net.exit_code == 0, net.trouble()
    ports = {each["on"]: [port["host"] for port in each["ports"]] for each in net.document["networks"]}
    assert ports == {"a": ["one"], "b": ["two"]}
    slow = lab.json("tc", "two:lan", "rate", "2mbit")
    assert [row["status"] for row in slow.of("tc", "two")] == ["changed"], slow.trouble()
    assert "1ab0:" in bed.b.inside("tc", "qdisc", "show")
    assert lab.json("tc", "two:lan", "--clear").exit_code == 0
    saved = lab.json("snapshot", "save", "ci")
    assert saved.exit_code == 0, saved.trouble()
    assert bed.b.inside("ls", f"/var/lib/labrun/snapshots/{NAME}/ci").split() == ["two"]
    removed = lab.json("-y", "snapshot", "remove", "ci")
    assert removed.exit_code == 0, removed.trouble()


def device_of(other: FurtherHypervisor) -> str:
    return other.inside("sh", "-c", "ip -o link show type vxlan").split(":")[1].strip()


@pytest.mark.full
@pytest.mark.parametrize(
    ("damage", "differs"),
    [
        ("ip link delete {device}", None),
        ("bridge fdb delete 00:00:00:00:00:00 dev {device} dst {peer}", "peers"),
        ("nft delete table inet {device}", "firewall"),
        ("ip link set {device} nomaster", "bridge"),
        ("ip link set {device} mtu 1400", "mtu"),
    ],
)
def test_an_end_that_was_changed_by_hand_is_found_and_put_right(
    lab: SpanningLab, bed: Bed, damage: str, differs: str | None
) -> None:
    bed.b.inside("sh", "-c", damage.format(device=device_of(bed.b), peer=bed.b.first))
    (planned,) = lab.json("plan").of("tunnel", name="lan on b")
    assert planned["status"] == "would-change"
    if differs is None:
        assert planned["actual"] == "would be created"
    else:
        changed = {line[2:].partition(":")[0] for line in planned["diff"].splitlines()}
        assert changed == {differs}
    mended = lab.json("-y", "up", "--no-wait")
    assert [row["status"] for row in mended.of("tunnel", name="lan on b")] == ["changed"]
    assert "changed" not in lab.json("-y", "up", "--no-wait").statuses()


@pytest.mark.full
def test_drift_tells_of_an_end_and_mends_it(lab: SpanningLab, bed: Bed) -> None:
    device = device_of(bed.b)
    bed.b.inside("ip", "link", "delete", device)
    (row,) = lab.json("--timeout", "20", "drift").of("tunnel", name="lan on b")
    assert (row["status"], row["actual"]) == ("drifted", "absent")
    (row,) = lab.json("-y", "--timeout", "20", "drift", "--fix").of("tunnel", name="lan on b")
    assert row["status"] == "changed"
    assert device_of(bed.b) == device


@pytest.mark.full
def test_one_that_is_gone_leaves_the_others(lab: SpanningLab, bed: Bed) -> None:
    with bed.b.cut():
        up = lab.json("-y", "--timeout", "5", "up", "--no-wait")
        assert up.exit_code == 5
        (gone,) = up.of("hypervisor", name="b")
        assert gone["status"] == "failed"
        assert up.of("machine", "two")[0]["status"] == "unknown"
        assert up.of("machine", "two")[0]["why"].startswith("its hypervisor b does not answer: ")
        assert up.of("machine", "one")[0]["status"] == "ok"
        (row,) = up.of("tunnel", name="lan on a")
        assert row["status"] == "unreachable"
        assert row["why"] == f"a gets no answer from {bed.b.address}, the tunnel of b"
        status = lab.json("--timeout", "5", "status")
        states = {host["name"]: host["state"] for host in status.document["hosts"]}
        assert states == {"one": "running", "two": "unknown"}
        assert status.exit_code == 4
    assert "changed" not in lab.json("-y", "up", "--no-wait").statuses()


@pytest.mark.full
def test_down_by_name_finds_every_hypervisor(bed: Bed, tmp_path: Path) -> None:
    lab = bed.lab(tmp_path / "named", TWO.replace("10.195.", "10.196."))
    lab.path.write_text(lab.path.read_text().replace(NAME, f"{NAME}-n"), encoding="utf-8")
    assert lab.run("-y", "up", "--no-wait").exit_code == 0
    lab.path.rename(lab.path.with_suffix(".gone"))
    down = subprocess.run(
        [*lab.arguments("-y", "down", "--name", f"{NAME}-n")],
        env=lab.environment(),
        capture_output=True,
        check=False,
    )
    assert down.returncode == 0, down.stdout
    for place in (first_place(), place_of(bed.b)):
        assert f"{NAME}-n" not in left_on(place)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("tunnel: {b}", "tunnel: 198.18.2.3"), 5, "no device of b has 198.18.2.3 (hypervisors.b.tunnel)"),
        pytest.param(
            ("one: {hypervisor: a", "one: {memory: 16000000"),
            5,
            "it needs 16000000 MiB, and a has ",
            marks=pytest.mark.full,
        ),
        pytest.param(
            (":2222", ":2229"),
            5,
            "cannot open qemu+ssh://root@198.18.2.2:2229/system: ",
            marks=pytest.mark.full,
        ),
    ],
    ids=["a tunnel address nobody has", "a host that fits nowhere", "nobody there"],
)
def test_nothing_is_half_made(
    bed: Bed, tmp_path: Path, change: tuple[str, str], code: int, said: str
) -> None:
    lab = bed.lab(tmp_path / "bad", TWO.replace("10.195.", "10.197."))
    text = lab.path.read_text(encoding="utf-8").replace(NAME, f"{NAME}-bad")
    old, new = change[0].replace("{b}", bed.b.address), change[1]
    assert old in text
    lab.path.write_text(text.replace(old, new), encoding="utf-8")
    up = lab.json("-y", "up", "--no-wait")
    assert up.exit_code == code, up.rows
    whys = [str(row["why"]) for row in up.rows] + [str(up.document.get("error"))]
    assert any(said in why for why in whys), whys
    assert "changed" not in up.statuses()
    for place in (first_place(), place_of(bed.b)):
        assert f"{NAME}-bad" not in left_on(place)


@pytest.mark.full
def test_the_same_machine_twice_is_refused(bed: Bed, tmp_path: Path) -> None:
    own = bed.b.inside("virsh", "-c", FIRST, "capabilities").partition("<uuid>")[2].partition("<")[0]
    assert str(uuid.UUID(own)) == own
    with further_hypervisor(tmp_path / "c", bed.ssh, 3, host_uuid=own) as c:
        lab = write(tmp_path / "lab", bed.ssh, bed.image, [bed.b, c], TWO.replace("10.195.", "10.198."))
        up = lab.run("-y", "up", "--no-wait")
        assert up.exit_code == 5
        assert f"the hypervisors b and c are the same machine: both say {own}" in up.stderr
        assert "10.198" not in left_on(first_place())


@pytest.mark.full
def test_three_with_a_narrow_wire(bed: Bed, tmp_path: Path) -> None:
    with ExitStack() as stack:
        c = stack.enter_context(further_hypervisor(tmp_path / "c", bed.ssh, 3, mtu=1400))
        # The two others have a way to each other through the first one, which has an address on each wire.
        before = in_first("sysctl", "-n", "net.ipv4.ip_forward").strip()
        in_first("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        stack.callback(in_first, "sysctl", "-q", "-w", f"net.ipv4.ip_forward={before}")
        bed.b.inside("ip", "route", "replace", f"{c.address}/32", "via", bed.b.first)
        c.inside("ip", "route", "replace", f"{bed.b.address}/32", "via", c.first)
        text = TWO.replace("10.195.", "10.199.") + "  three: {hypervisor: c, networks: {lan: 10.199.1.13}}\n"
        lab = write(tmp_path / "lab", bed.ssh, bed.image, [bed.b, c], text)
        lab.path.write_text(lab.path.read_text().replace(NAME, f"{NAME}-3"), encoding="utf-8")
        # The tunnel address of the first is on one wire only; the others get there by it.
        c.inside("ip", "route", "replace", f"{bed.b.first}/32", "via", c.first)
        stack.callback(lambda: lab.run("-y", "down"))
        up = lab.json("-y", "up", "--no-wait")
        assert up.exit_code == 0, up.trouble()
        for run in (in_first, bed.b.inside, c.inside):
            xml = run("virsh", "-c", FIRST, "net-dumpxml", f"{NAME}-3-lan")
            assert "<mtu size='1350'/>" in xml
        assert "changed" not in lab.json("-y", "up", "--no-wait").statuses()
        assert lab.run("-y", "down").exit_code == 0
        for place in (first_place(), place_of(bed.b), place_of(c)):
            assert f"{NAME}-3" not in left_on(place)


@pytest.mark.full
def test_down_leaves_nothing(bed: Bed, tmp_path: Path) -> None:
    lab = bed.lab(tmp_path / "lab", TWO.replace("10.195.", "10.194."))
    lab.path.write_text(lab.path.read_text().replace(NAME, f"{NAME}-d"), encoding="utf-8")
    assert lab.run("-y", "up", "--no-wait").exit_code == 0
    before = left_on(first_place())
    assert "lrv" in before
    assert lab.run("-y", "down").exit_code == 0
    for place in (first_place(), place_of(bed.b)):
        assert f"{NAME}-d" not in left_on(place)
    assert lab.run("-y", "down").exit_code == 0


MIXED = """\
networks:
  lan: {mode: isolated, cidr: 10.193.1.0/24}
hosts:
  one: {hypervisor: a, image: debian-12, memory: 128, networks: {lan: 10.193.1.11}}
  two: {hypervisor: b, networks: {lan: 10.193.1.12}}
"""


@pytest.mark.lxc
@pytest.mark.full
def test_a_guest_sends_no_more_than_gets_through(bed: Bed, tmp_path: Path) -> None:
    lab = bed.lab(tmp_path / "lab", MIXED)
    text = lab.path.read_text(encoding="utf-8").replace(f'"{FIRST}"', '"lxc:///system"')
    lab.path.write_text(text.replace(NAME, f"{NAME}-m"), encoding="utf-8")
    try:
        assert lab.run("-y", "up", "--no-wait").exit_code == 0
        up = lab.json("-y", "up", "--configure", "--hosts", "one")
        assert up.exit_code == 0, up.trouble()
        again = lab.json("configure", "--hosts", "one")
        assert "changed" not in again.statuses()
        assert "mtu 1450" in lab.guest("one", "ip -o link show | grep -v lo:")
        mac = mac_of(bed.b.inside("virsh", "-c", FIRST, "dumpxml", f"{NAME}-m-two"))
        with member(place_of(bed.b), mac, "10.193.1.12", 1450, lab=f"{NAME}-m"):
            lab.guest("one", "ping -M do -c 1 -W 5 -s 1422 10.193.1.12")
    finally:
        assert lab.run("-y", "down").exit_code == 0
