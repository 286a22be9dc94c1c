"""The inventory of a real lab: leases of a real dnsmasq, logins by the real tools, a guest that dies."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labrun.hypervisor import daemon_pid
from labrun.inventory.file.load import load_lab
from labrun.inventory.hosts.leases import LibvirtLeases
from labrun.inventory.hosts.locate import locate
from labrun.inventory.hosts.plugin import LabInventory
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

LXC = "lxc:///system"
SCRIPTS = Path(sysconfig.get_path("scripts"))
LAB = """\
name: inv-real
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  left: {mode: isolated, cidr: 10.4.21.0/24}
  right: {mode: isolated, cidr: 10.4.22.0/24}
hosts:
  gate: {role: router, networks: {left: 10.4.21.254, right: 10.4.22.254}}
  dyn: {networks: {right: dhcp}}
  late: {networks: {right: dhcp}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab of which `late` is not up."""
    directory = tmp_path_factory.mktemp("inventory")
    (directory / "lab.yaml").write_text(LAB, encoding="utf-8")
    running = RunningLab(directory / "lab.yaml", directory / "state")
    try:
        up = running.json("up", "--hosts", "gate,dyn")
        assert up.exit_code == 0, up.trouble()
        yield running
    finally:
        down = running.run("-y", "down")
        assert down.exit_code == 0, down.stderr


def near(lab: RunningLab, *command: str | Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in the network namespace in which libvirtd and the guests are."""
    pid = daemon_pid(LXC)
    prefix = ["nsenter", "-t", str(pid), "-n", "--"] if pid is not None else []
    done = subprocess.run(
        [*prefix, *(str(part) for part in command)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=lab.path.parent,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCAL_TEMP": str(lab.path.parent)},
        check=False,
        timeout=120,
    )
    assert done.returncode == 0 or not ok, done.stderr + done.stdout
    return done


def near_python(lab: RunningLab, code: str, host: str = "dyn") -> Any:
    """Run Python near the guests, ``host`` and the transport at hand; return what it prints."""
    preamble = f"""
        from labrun.errors import *
        from labrun.inventory.hosts.plugin import LabInventory
        from labrun.tasks.guest.transport import fresh_transport, transport_of
        host = LabInventory({str(lab.path)!r}, state_dir={str(lab.state)!r}).load().hosts[{host!r}]
    """
    script = textwrap.dedent(preamble) + textwrap.dedent(code)
    return ast.literal_eval(near(lab, sys.executable, "-c", script).stdout)


def exported(lab: RunningLab, kind: str) -> Path:
    answer = lab.run("inventory", "--format", kind)
    assert answer.exit_code == 0, answer.stderr
    # Ansible passes over inventory files whose ending it does not know.
    file = lab.path.parent / f"{kind}.yaml"
    file.write_text(answer.stdout, encoding="utf-8")
    return file


def test_a_lease_is_read_by_mac(lab: RunningLab) -> None:
    nic = load_lab(lab.path).hosts["dyn"].interfaces[0]
    leases = LibvirtLeases(LXC, agents=False).leases(["inv-real-right", "inv-real-left"])
    assert nic.ipv4 is not None
    assert [(each.mac, each.address, each.source) for each in leases] == [(nic.mac, nic.ipv4.ip, "lease")]
    assert LibvirtLeases(LXC, agents=False).leases(["inv-real-left", "nobody-s"]) == ()
    # Looked into are the guests without a lease, and only those on the networks that were asked about.
    both = LibvirtLeases(LXC).leases(["inv-real-right", "inv-real-left"])
    assert both[0] == leases[0]
    gate = {str(each.address) for each in both if each.source == "agent"}
    assert {"10.4.21.254", "10.4.22.254"} <= gate
    assert str(nic.ipv4.ip) not in gate
    assert LibvirtLeases(LXC).leases(["nobody-s"]) == ()


def test_hosts_are_located_from_file_and_leases(lab: RunningLab) -> None:
    located = locate(load_lab(lab.path), LibvirtLeases(LXC))
    assert [(name, each.source, each.network) for name, each in located.items()] == [
        ("gate", "file", "left"),
        ("dyn", "lease", "right"),
        ("late", None, None),
    ]
    assert located["late"].reason == "no lease on right"


def test_the_plugin_loads_the_lab_and_keeps_who_has_no_address(lab: RunningLab) -> None:
    hosts = LabInventory(lab.path, state_dir=lab.state).load().hosts
    assert hosts["dyn"].data["labrun"]["address_source"] == "lease"
    assert (hosts["late"].hostname, hosts["late"].data["labrun_unreachable"]) == (None, "no lease on right")


def test_ssh_logs_in_with_the_exported_config(lab: RunningLab) -> None:
    file = exported(lab, "ssh-config")
    assert near(lab, "ssh", "-F", file, "dyn", "hostname; sudo -n id -u").stdout == "dyn\n0\n"
    assert near(lab, "ssh", "-F", file, "inv-real-gate", "hostname").stdout == "gate\n"
    assert near(lab, "ssh", "-F", file, "late", "true", ok=False).returncode == 255


def test_ansible_works_with_the_exported_inventory(lab: RunningLab) -> None:
    file = exported(lab, "ansible")
    told = near(lab, SCRIPTS / "ansible", "-i", file, "right:!labrun_unreachable", "-m", "ping", "-o").stdout
    assert sorted(line.split(" => ")[0] for line in told.splitlines()) == ["dyn | SUCCESS", "gate | SUCCESS"]


PLAIN = """
import sys
from nornir import InitNornir
from nornir.core.filter import F
from nornir_netmiko.tasks import netmiko_send_command
nornir = InitNornir(inventory=INVENTORY, logging={"enabled": False})
result = nornir.filter(F(groups__contains="right") & ~F(name="late")).run(
    netmiko_send_command, command_string="hostname"
)
nornir.close_connections()
print({name: each.result.strip() for name, each in result.items()})
"""


def test_a_plain_init_nornir_works_with_the_exported_files(lab: RunningLab) -> None:
    directory = lab.path.parent / "nornir"
    assert lab.run("inventory", "--format", "nornir", "--output", str(directory)).exit_code == 0
    files = {f"{key}_file": str(directory / f"{name}.yaml") for key, name in (
        ("host", "hosts"), ("group", "groups"), ("defaults", "defaults"),
    )}  # fmt: skip
    inventory = {"plugin": "SimpleInventory", "options": files}
    done = near(lab, sys.executable, "-c", f"INVENTORY = {inventory!r}\n{PLAIN}")
    assert ast.literal_eval(done.stdout) == {"gate": "gate", "dyn": "dyn"}


def test_a_plain_init_nornir_works_with_the_plugin(lab: RunningLab) -> None:
    inventory = {"plugin": "labrun", "options": {"lab_file": str(lab.path), "state_dir": str(lab.state)}}
    done = near(lab, sys.executable, "-c", f"INVENTORY = {inventory!r}\n{PLAIN}")
    assert ast.literal_eval(done.stdout) == {"gate": "gate", "dyn": "dyn"}


def test_json_and_hosts_name_the_lease(lab: RunningLab) -> None:
    told = json.loads(exported(lab, "json").read_text(encoding="utf-8"))
    dyn = next(host for host in told["hosts"] if host["name"] == "dyn")
    assert (dyn["address_source"], dyn["user"]) == ("lease", "lab")
    assert (
        f"{dyn['address']}\tdyn dyn.right" in exported(lab, "hosts").read_text(encoding="utf-8").splitlines()
    )


def test_a_script_runs_as_the_user_and_as_root(lab: RunningLab) -> None:
    code = """
        transport = transport_of(host)
        print([transport.run("id -un; hostname", timeout=60, sudo=sudo).stdout for sudo in (False, True)])
    """
    assert near_python(lab, code) == ["lab\ndyn\n", "root\ndyn\n"]


def test_large_output_and_input_pass_through_sudo(lab: RunningLab) -> None:
    code = """
        transport = transport_of(host)
        filler = "".join(f"# {n:060d}\\n" for n in range(40_000))
        script = "head -c 1048576 /dev/zero | tr '\\\\0' o; head -c 1048576 /dev/zero | tr '\\\\0' e >&2\\n"
        done = transport.run(filler + script, timeout=60, sudo=True)
        print((done.exit_status, len(done.stdout), len(done.stderr), set(done.stdout), set(done.stderr)))
    """
    assert near_python(lab, code) == (0, 1048576, 1048576, {"o"}, {"e"})


def test_sudo_that_is_refused_is_named(lab: RunningLab) -> None:
    code = """
        set_up = '''
            id plain >/dev/null 2>&1 || useradd -m -s /bin/sh plain
            mkdir -p ~plain/.ssh && cp ~lab/.ssh/authorized_keys ~plain/.ssh/ && chown -R plain: ~plain/.ssh
        '''
        assert transport_of(host).run(set_up, timeout=60, sudo=True).exit_status == 0
        host.close_connections()
        host.username = "plain"
        try:
            transport_of(host).run("id", timeout=60, sudo=True)
        except UnreachableError as error:
            print((str(error), error.exit_code))
    """
    text, code_of_exit = near_python(lab, code)
    assert text == (
        "dyn: sudo: sudo does not work for plain without a password: sudo: a password is required"
        " (labrun needs `plain ALL=(ALL) NOPASSWD: ALL` in the guest's sudoers)"
    )
    assert code_of_exit == 4


@pytest.mark.full
def test_a_guest_that_is_switched_off_in_the_middle_is_unknown_and_comes_back(lab: RunningLab) -> None:
    code = """
        import threading, libvirt
        domain = libvirt.open("lxc:///system").lookupByName("inv-real-dyn")
        off = threading.Timer(1, domain.destroy)
        off.start()
        try:
            transport_of(host).run("sleep 60", timeout=6)
        except ConnectionLostError as error:
            print((error.host, error.step))
        off.join()
    """
    assert near_python(lab, code) == ("dyn", "script")
    again = lab.json("up", "--hosts", "dyn")
    assert again.exit_code == 0, again.trouble()
    assert near_python(lab, "print([transport_of(host).run('hostname', timeout=60).stdout])") == ["dyn\n"]
