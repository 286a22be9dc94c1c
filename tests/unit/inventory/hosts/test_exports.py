"""Exports, read back by the tools they are for: InitNornir, ansible-inventory, ssh, a real login."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from nornir.core.filter import F
from nornir.plugins.inventory import SimpleInventory

from labrun.errors import LabrunError
from labrun.inventory.file.load import load_lab
from labrun.inventory.hosts.exports import FORMATS, export, nornir_files
from labrun.inventory.hosts.locate import Located, locate
from labrun.inventory.hosts.plugin import inventory_of
from labrun.inventory.hosts.ssh_command import proxy_command, ssh_path
from labrun.inventory.hosts.yamltext import Unsafe, yaml_text
from labrun.inventory.model import Lab
from labrun.key_pairs import make_host_key
from labrun.runner.engine.nornir import build_nornir
from labrun.state import LabState
from tests.loopback_sshd import LoopbackSshd, loopback_sshd
from tests.unit.inventory.hosts.test_locate import Leases
from tests.unit.inventory.hosts.test_plugin import existing

SCRIPTS = Path(sysconfig.get_path("scripts"))
LAB = """\
name: "on"
hypervisor: test:///default
networks:
  net-1: {mode: isolated, cidr: 10.4.1.0/24}
  null6: {mode: isolated, cidr6: "fd04:6::/64"}
groups:
  web-a: {hosts: [host01, "yes"]}
hosts:
  host00: {role: router, networks: {net-1: 10.4.1.254, null6: "fd04:6::254"}}
  host01: {networks: {net-1: 10.4.1.11}}
  "yes": {networks: {null6: "fd04:6::11"}}
  late: {networks: {net-1: dhcp}}
  old: {address: 192.0.2.9, ssh: {user: me, port: 2022, identity: "keys/my id"}}
  older: {address: box.example.org}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    return load_lab(tmp_path / "lab.yaml")


@pytest.fixture
def located(lab: Lab) -> dict[str, Located]:
    return dict(locate(lab, Leases()))


@pytest.fixture(params=["state", 'my state\'s "{{ x }}" 100%/ä', "~/# $HOME `id` a\\b;*"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> LabState:
    """A state directory with an easy name, and some with hard ones."""
    return LabState.open("on", "test:///default", tmp_path / str(request.param))


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("sshd 100% ä")) as server:
        yield server


@pytest.fixture
def loop(sshd: LoopbackSshd, tmp_path: Path) -> Lab:
    (tmp_path / "lab.yaml").write_text(existing(sshd), encoding="utf-8")
    return load_lab(tmp_path / "lab.yaml")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


# --- Nornir


def test_the_three_files_give_what_the_plugin_gives(
    lab: Lab, located: dict[str, Located], state: LabState, tmp_path: Path
) -> None:
    for name, text in nornir_files(lab, located, state).items():
        write(tmp_path, name, text)
    read = SimpleInventory(
        host_file=str(tmp_path / "hosts.yaml"),
        group_file=str(tmp_path / "groups.yaml"),
        defaults_file=str(tmp_path / "defaults.yaml"),
    ).load()
    assert read.dict()["hosts"] == inventory_of(lab, located, state).dict()["hosts"]
    nornir = build_nornir(read)
    assert list(nornir.filter(F(groups__contains="web-a")).inventory.hosts) == ["host01", "yes"]


def test_the_printed_one_stands_alone(
    lab: Lab, located: dict[str, Located], state: LabState, tmp_path: Path
) -> None:
    file = write(tmp_path, "hosts.yaml", export(lab, located, state, "nornir"))
    read = SimpleInventory(host_file=str(file), group_file="/none", defaults_file="/none").load()
    assert list(read.hosts) == list(lab.hosts)
    assert read.hosts["yes"].hostname == "fd04:6::11"
    assert read.hosts["late"].hostname is None
    assert read.hosts["late"].data["labrun_unreachable"] == "no lease on net-1"
    assert read.hosts["host00"].data["labrun"]["groups"] == ["router", "net-1", "null6", "on"]


PLAIN = """
import sys
from nornir import InitNornir
from nornir_netmiko.tasks import netmiko_send_command
nornir = InitNornir(
    inventory={"plugin": "SimpleInventory", "options": {"host_file": sys.argv[1]}}, logging={"enabled": False}
)
result = nornir.run(netmiko_send_command, command_string="echo $((6 * 7))")
nornir.close_connections()
print({name: each.result.strip() for name, each in result.items()})
"""


def test_a_plain_init_nornir_logs_in_with_it(loop: Lab, tmp_path: Path) -> None:
    file = write(tmp_path, "hosts.yaml", export(loop, locate(loop, None), None, "nornir"))
    assert run(sys.executable, "-c", PLAIN, file, cwd=tmp_path) == "{'box': '42'}\n"


# --- Ansible


def ansible(file: Path, *arguments: str) -> Any:
    """Return what ansible-inventory makes of a file, without a warning."""
    done = subprocess.run(
        [str(SCRIPTS / "ansible-inventory"), "-i", str(file), *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=file.parent,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_ansible_reads_hosts_and_groups(
    lab: Lab, located: dict[str, Located], state: LabState, tmp_path: Path
) -> None:
    file = write(tmp_path, "ansible.yaml", export(lab, located, state, "ansible"))
    told = ansible(file, "--list")
    assert set(told["_meta"]["hostvars"]) == set(lab.hosts)
    assert told["web_a"]["hosts"] == ["host01", "yes"]
    assert told["router"]["hosts"] == ["host00"]
    assert told["labrun_unreachable"]["hosts"] == ["late"]
    assert set(told["all"]["children"]) == {
        "ungrouped", "router", "host", "net_1", "null6", "web_a", "on", "labrun_unreachable",
    }  # fmt: skip
    late = told["_meta"]["hostvars"]["late"]
    assert (late["ansible_host"], late["labrun_unreachable"]) == ("late.invalid", "no lease on net-1")


def test_ansible_takes_paths_as_they_are(
    lab: Lab, located: dict[str, Located], state: LabState, tmp_path: Path
) -> None:
    file = write(tmp_path, "ansible.yaml", export(lab, located, state, "ansible"))
    variables = ansible(file, "--host", "host01")
    variables = {
        key: value.get("__ansible_unsafe", value) if isinstance(value, dict) else value
        for key, value in variables.items()
    }
    if set(str(state.root)) & set('%"\\'):
        assert "ansible_ssh_private_key_file" not in variables  # Ansible would hand it to ssh as it is
        assert "IdentityFile=" in variables["ansible_ssh_common_args"]
    else:
        assert variables["ansible_ssh_private_key_file"] == str(state.identity)
    assert variables["ansible_host"] == "10.4.1.11"


def test_groups_whose_ansible_names_would_be_one_stay_apart(lab: Lab, located: dict[str, Located]) -> None:
    hosts = {
        **lab.hosts,
        "host00": replace(lab.hosts["host00"], groups=("a-b", "all")),
        "host01": replace(lab.hosts["host01"], groups=("a_b", "1st")),
    }
    children = yaml.safe_load(export(replace(lab, hosts=hosts), located, None, "ansible"))["all"]["children"]
    assert {"a_b", "a_b_2", "all_2", "_1st"} <= set(children)
    assert children["a_b_2"] == {"hosts": {"host01": {}}}


def test_no_ansible_group_has_a_host_s_name(lab: Lab, located: dict[str, Located]) -> None:
    hosts = {**lab.hosts, "host00": replace(lab.hosts["host00"], groups=("host01", "b"))}
    children = yaml.safe_load(export(replace(lab, hosts=hosts), located, None, "ansible"))["all"]["children"]
    assert not set(children) & set(hosts)
    assert children["host01_2"] == children["b"] == {"hosts": {"host00": {}}}


# Through jump hosts it logs in too: below.
@pytest.mark.full
def test_ansible_logs_in_with_it(loop: Lab, tmp_path: Path) -> None:
    file = write(tmp_path, "ansible.yaml", export(loop, locate(loop, None), None, "ansible"))
    command = (SCRIPTS / "ansible", "-i", file, "box", "-m", "ansible.builtin.raw", "-a", "echo $((6 * 7))")
    told = run(*command, cwd=tmp_path, ANSIBLE_NOCOLOR="1", ANSIBLE_LOCAL_TEMP=str(tmp_path))
    assert told.splitlines()[0] == "box | CHANGED | rc=0 >>"
    assert "42" in told.splitlines()


# --- ssh_config


def ssh_settings(file: Path, host: str) -> dict[str, str]:
    lines = run("ssh", "-G", "-F", file, host, cwd=file.parent).splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


def test_ssh_reads_strict_settings(
    lab: Lab, located: dict[str, Located], state: LabState, tmp_path: Path
) -> None:
    file = write(tmp_path, "ssh_config", export(lab, located, state, "ssh-config"))
    for name in ("host01", "on-host01"):
        settings = ssh_settings(file, name)
        wanted = {
            "hostname": "10.4.1.11",
            "user": "lab",
            "port": "22",
            "stricthostkeychecking": "true",
            "identitiesonly": "yes",
            "hostkeyalias": "host01",
            "globalknownhostsfile": "/dev/null",
        }
        assert {key: settings[key] for key in wanted} == wanted
    assert ssh_settings(file, "yes")["hostname"] == "fd04:6::11"
    assert ssh_settings(file, "late")["hostname"] == "late.invalid"
    assert "# late: no lease on net-1\n" in file.read_text(encoding="utf-8")
    old = ssh_settings(file, "old")
    assert (old["user"], old["port"], old["hostname"]) == ("me", "2022", "192.0.2.9")
    assert old["identityfile"] == str(tmp_path / "keys/my id")
    assert ssh_settings(file, "older")["hostname"] == "box.example.org"


def test_ssh_gets_paths_that_it_turns_back(
    lab: Lab, located: dict[str, Located], state: LabState, tmp_path: Path
) -> None:
    file = write(tmp_path, "ssh_config", export(lab, located, state, "ssh-config"))
    settings = ssh_settings(file, "host01")
    # `ssh -G` shows them before it expands %, where %% stands for one.
    assert settings["identityfile"].replace("%%", "%") == str(state.identity)
    assert settings["userknownhostsfile"].replace("%%", "%") == str(state.known_hosts)


def test_a_path_that_ssh_would_expand_is_refused(
    lab: Lab, located: dict[str, Located], tmp_path: Path
) -> None:
    state = LabState.open("on", "test:///default", tmp_path / "${HOME}")
    with pytest.raises(
        LabrunError, match=r"^ssh_config cannot name the path '.+\$\{HOME\}.+' \(--state-dir chooses"
    ):
        export(lab, located, state, "ssh-config")


def test_ssh_logs_in_with_it(loop: Lab, tmp_path: Path) -> None:
    file = write(tmp_path, "ssh_config", export(loop, locate(loop, None), None, "ssh-config"))
    assert run("ssh", "-F", file, "box", "echo $((6 * 7))", cwd=tmp_path) == "42\n"


def test_ssh_refuses_another_host_key_with_it(loop: Lab, sshd: LoopbackSshd, tmp_path: Path) -> None:
    box = loop.hosts["box"]
    other = write(tmp_path, "known_hosts", "")
    strict = replace(loop, hosts={"box": replace(box, ssh=replace(box.ssh, known_hosts=str(other)))})
    file = write(tmp_path, "ssh_config", export(strict, locate(strict, None), None, "ssh-config"))
    done = subprocess.run(
        ["ssh", "-F", str(file), "box", "true"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


# --- /etc/hosts and JSON


def test_etc_hosts_has_a_line_per_address(lab: Lab, located: dict[str, Located]) -> None:
    assert export(lab, located, None, "hosts").splitlines() == [
        "# on",
        "10.4.1.254\thost00 host00.net-1",
        "fd04:6::254\thost00.null6",
        "10.4.1.11\thost01 host01.net-1",
        "fd04:6::11\tyes yes.null6",
        "# late: no lease on net-1",
        "192.0.2.9\told",
        "# older: answers as box.example.org",
    ]


def test_json_says_everything_once(lab: Lab, located: dict[str, Located], state: LabState) -> None:
    told = json.loads(export(lab, located, state, "json"))
    assert (told["schema"], told["lab"]) == (1, "on")
    assert told["groups"]["web-a"] == ["host01", "yes"]
    hosts = {host["name"]: host for host in told["hosts"]}
    assert list(hosts) == list(lab.hosts)
    assert hosts["host00"]["addresses"] == {
        "net-1": {"address": "10.4.1.254", "source": "file"},
        "null6": {"address": "fd04:6::254", "source": "file"},
    }
    assert (hosts["late"]["address"], hosts["late"]["unreachable"]) == (None, "no lease on net-1")
    assert hosts["host01"]["known_hosts"] == str(state.known_hosts)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_inventory_gives_the_same_text(lab: Lab, located: dict[str, Located], name: str) -> None:
    text = export(lab, located, None, name)
    assert text == export(lab, located, None, name)
    assert text.endswith("\n")


# --- YAML


WORDS = "yes No on null ~ y N 1 0o17 0x1f 1_000 12:34:56 1e3 .inf 2026-01-01 !tag &a *a {a} [a] %a @a `a << ="
ODD = [
    "",
    " a",
    "a ",
    "a: b",
    "a #b",
    "- a",
    "'",
    '"',
    "\\",
    "a\nb",
    "\t",
    "ä",
    "...",
    "---",
    "\u2028",
    "\x07",
]


@pytest.mark.parametrize("text", [*WORDS.split(), *ODD])
def test_every_string_comes_back_from_every_yaml_reader(text: str) -> None:
    from ruamel.yaml import YAML

    written = yaml_text({text: [text], "k": {"v": text}})
    wanted = {text: [text], "k": {"v": text}}
    assert yaml.safe_load(written) == wanted
    assert YAML(typ="safe").load(written) == wanted


def test_unsafe_strings_carry_ansibles_tag() -> None:
    assert yaml_text({"a": Unsafe("{{ b }}")}) == 'a: !unsafe "{{ b }}"\n'


@pytest.mark.parametrize("user", ["john.doe", "CORP\\alice", "a@b", "SVC$", "John Doe", "Jürgen", "1000"])
def test_every_login_that_ssh_takes_reaches_ssh_unchanged(user: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(f"name: demo\nhosts: {{box: {{address: 192.0.2.1, ssh: {{user: '{user}'}}}}}}\n")
    lab = load_lab(path)
    assert lab.hosts["box"].ssh.user == user
    file = tmp_path / "config"
    file.write_text(export(lab, locate(lab, None), None, "ssh-config"))
    for options in (["-F", str(file)], ["-F", "none", "-l", user]):
        assert f"user {user}\n" in run("ssh", "-G", *options, "box", cwd=tmp_path)


# --- through jump hosts


@pytest.fixture
def chain(sshd: LoopbackSshd, tmp_path: Path) -> Lab:
    """Return a lab in which one sshd is three machines, the last of them behind the two others."""
    parsed = yaml.safe_load(existing(sshd))
    box = parsed["hosts"].pop("box")
    parsed["hosts"] = {
        "gate": box,
        "inner": {**box, "access": {"via": "gate"}},
        "end": {**box, "access": {"via": "inner"}},
    }
    (tmp_path / "chain.yaml").write_text(yaml.safe_dump(parsed, sort_keys=False), encoding="utf-8")
    return load_lab(tmp_path / "chain.yaml")


@pytest.fixture
def connections(sshd: LoopbackSshd) -> Callable[[], int]:
    """Return what counts the logins at that sshd since the test began."""
    log = sshd.directory / "sshd.log"
    before = log.read_text(encoding="utf-8").count("Accepted publickey")
    return lambda: log.read_text(encoding="utf-8").count("Accepted publickey") - before


def test_ssh_goes_through_jump_hosts_with_it(
    chain: Lab, connections: Callable[[], int], tmp_path: Path
) -> None:
    file = write(tmp_path, "ssh_config", export(chain, locate(chain, None), None, "ssh-config"))
    assert ssh_settings(file, "end")["proxyjump"] == "loop-inner"
    assert run("ssh", "-F", file, "end", "echo there", cwd=tmp_path).strip() == "there"
    assert connections() == 3


def test_ansible_goes_through_jump_hosts_with_it(
    chain: Lab, connections: Callable[[], int], tmp_path: Path
) -> None:
    file = write(tmp_path, "ansible.yaml", export(chain, locate(chain, None), None, "ansible"))
    command = (SCRIPTS / "ansible", "-i", file, "end", "-m", "ansible.builtin.raw", "-a", "echo $((6 * 7))")
    # Ansible keeps connections, by address and port: those of other tests go to the same.
    alone = {
        "ANSIBLE_LOCAL_TEMP": str(tmp_path),
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o ControlPath=none",
    }
    told = run(*command, cwd=tmp_path, ANSIBLE_NOCOLOR="1", **alone)
    assert "42" in told.splitlines()
    assert connections() == 3


def test_a_jump_host_with_another_key_is_refused_with_it(
    chain: Lab, sshd: LoopbackSshd, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text(f"[127.0.0.1]:{sshd.port} {make_host_key('another').public}\n", encoding="utf-8")
    gate = chain.hosts["gate"]
    gate = replace(gate, ssh=replace(gate.ssh, known_hosts=str(other)))
    strict = replace(chain, hosts={**chain.hosts, "gate": gate})
    located = locate(chain, None)
    proxy = proxy_command(strict, strict.hosts["end"], located, None)
    assert proxy is not None
    for command in (proxy, proxy_command(chain, chain.hosts["end"], located, None)):
        options = ["-F", "none", "-o", f"ProxyCommand={command}", "-o", "StrictHostKeyChecking=yes"]
        options += ["-o", f"UserKnownHostsFile={ssh_path(str(sshd.state.known_hosts))}"]
        options += ["-o", f"IdentityFile={ssh_path(str(sshd.state.identity))}", "-p", str(sshd.port)]
        done = subprocess.run(
            ["ssh", *options, f"{sshd.user}@127.0.0.1", "echo there"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == ((255, "") if command == proxy else (0, "there\n")), (
            done.stderr
        )


def test_json_and_nornir_name_the_jump_hosts(chain: Lab, sshd: LoopbackSshd) -> None:
    located = locate(chain, None)
    told = json.loads(export(chain, located, None, "json"))["hosts"]
    assert [each["through"] for each in told] == [[], ["gate"], ["gate", "inner"]]
    hosts = yaml.safe_load(export(chain, located, None, "nornir"))
    jump = hosts["end"]["connection_options"]["labrun-ssh"]["extras"]["jump"]
    assert (jump["name"], jump["port"], jump["jump"]["name"]) == ("inner", sshd.port, "gate")
    assert "jump" not in hosts["end"]["connection_options"]["netmiko"]["extras"]
