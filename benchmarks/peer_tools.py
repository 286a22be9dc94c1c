"""The peer tools: installed with pip on demand, and given their input files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.openssh import ssh_config
from benchmarks.peer_work import APPLY, CHECK, HostWork, Prepared

__all__ = [
    "ansible_command",
    "end_masters",
    "install_peers",
    "naive_command",
    "pyinfra_command",
    "versions",
]

_VENV = Path(__file__).resolve().parent / ".peers"
_PACKAGES = ("ansible-core>=2.18,<2.19", "pyinfra>=3.5,<4")

_ANSIBLE_CFG = """\
[defaults]
inventory = inventory.json
forks = {forks}
gathering = explicit
strategy = free
host_key_checking = True
interpreter_python = /usr/bin/python3
timeout = 30
[ssh_connection]
pipelining = True
ssh_args = -F {directory}/ssh_config -o ControlMaster=auto -o ControlPersist=30s
control_path_dir = {directory}/masters
"""

_PLAYBOOK = """\
- hosts: all
  gather_facts: false
  become: true
  tasks:
    - name: old profiles
      ansible.builtin.file: {path: "{{ item }}", state: absent}
      loop: "{{ remove }}"
      notify: profile
    - name: profiles
      ansible.builtin.copy: {src: "{{ item.src }}", dest: "{{ item.dest }}", mode: "{{ item.mode }}"}
      loop: "{{ profile }}"
      notify: profile
    - name: sysctl
      ansible.builtin.copy: {src: "{{ item.src }}", dest: "{{ item.dest }}", mode: "{{ item.mode }}"}
      loop: "{{ sysctl }}"
      notify: sysctl
    - name: sshd
      ansible.builtin.copy:
        src: "{{ item.src }}"
        dest: "{{ item.dest }}"
        mode: "{{ item.mode }}"
        validate: /usr/sbin/sshd -t -f %s
      loop: "{{ sshd }}"
      notify: sshd
    - ansible.builtin.meta: flush_handlers
    - name: in force
      ansible.builtin.shell: CHECK
      changed_when: false
  handlers:
    - name: profile
      ansible.builtin.shell: APPLY_PROFILE
    - name: sysctl
      ansible.builtin.shell: APPLY_SYSCTL
    - name: sshd
      ansible.builtin.shell: APPLY_SSHD
"""

_DEPLOY = """\
from pyinfra import host
from pyinfra.operations import files, server

profiles = [files.file(path=path, present=False, _sudo=True) for path in host.data.remove]
puts = {"profile": profiles, "sysctl": [], "sshd": []}
for kind in puts:
    for each in getattr(host.data, kind):
        put = files.put(src=each["src"], dest=each["dest"], mode=each["mode"], _sudo=True)
        puts[kind].append(put)
for kind, commands in host.data.apply.items():
    changed = puts[kind]
    server.shell(
        commands=commands, _sudo=True, _if=lambda changed=changed: any(each.did_change() for each in changed)
    )
server.shell(commands=[CHECK], _sudo=True)
"""


def install_peers() -> None:
    """Create the peers' virtual environment if it does not exist. Raises RuntimeError."""
    if (_VENV / "complete").exists():
        return
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(_VENV)],
        [str(_VENV / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *_PACKAGES],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    (_VENV / "complete").touch()


def versions() -> dict[str, str]:
    """Return the versions of the installed peers; empty if there are none."""
    pip = _VENV / "bin" / "pip"
    if not pip.exists():
        return {}
    done = subprocess.run([str(pip), "list", "--format", "json"], capture_output=True, text=True, check=False)
    wanted = ("ansible-core", "pyinfra")
    return {
        each["name"]: each["version"] for each in json.loads(done.stdout or "[]") if each["name"] in wanted
    }


def _directory(prepared: Prepared, name: str) -> Path:
    """Create a peer's directory with the hosts' files and an ssh_config."""
    directory = prepared.lab.directory / name
    directory.mkdir()
    (directory / "ssh_config").write_text(
        ssh_config(prepared.lab, shared=name == "ansible"), encoding="utf-8"
    )
    for host, work in prepared.hosts.items():
        for path, text in work.write.items():
            file = directory / "files" / host / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return directory


def _variables(directory: Path, host: str, work: HostWork) -> dict[str, object]:
    files: dict[str, list[dict[str, str]]] = {kind: [] for kind in APPLY}
    for path in work.write:
        src = str(directory / "files" / host / path.lstrip("/"))
        files[work.kind(path)].append({"src": src, "dest": path, "mode": work.mode(path)})
    return {**files, "remove": list(work.remove)}


def _apply(work: HostWork) -> dict[str, str]:
    """Return the shell line for each kind that the host has."""
    paths = {work.kind(path): path for path in work.write}
    return {kind: APPLY[kind].format(path=path) for kind, path in paths.items()}


def ansible_command(prepared: Prepared) -> list[str]:
    """Return the command that does the work with a playbook, tuned as Ansible's documentation recommends."""
    directory = _directory(prepared, "ansible")
    (directory / "masters").mkdir()
    forks = len(prepared.hosts)
    (directory / "ansible.cfg").write_text(
        _ANSIBLE_CFG.format(forks=forks, directory=directory), encoding="utf-8"
    )
    hosts = {
        host: {"ansible_host": host, **_variables(directory, host, work), "apply": _apply(work)}
        for host, work in prepared.hosts.items()
    }
    (directory / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    play = _PLAYBOOK.replace("CHECK", json.dumps(CHECK))
    for kind in APPLY:
        play = play.replace(f"APPLY_{kind.upper()}", f'"{{{{ apply.{kind} }}}}"')
    (directory / "play.yml").write_text(play, encoding="utf-8")
    playbook = _VENV / "bin" / "ansible-playbook"
    return ["env", "-C", str(directory), "ANSIBLE_NOCOLOR=1", str(playbook), "play.yml"]


def end_masters(prepared: Prepared) -> None:
    """Close Ansible's shared connections, so that every run logs in by itself."""
    directory = prepared.lab.directory / "ansible"
    for path in (directory / "masters").iterdir():
        command = [
            "ssh",
            "-F",
            str(directory / "ssh_config"),
            "-o",
            f"ControlPath={path}",
            "-O",
            "exit",
            "any",
        ]
        subprocess.run(command, capture_output=True, check=False)


def _write_known_hosts(prepared: Prepared, directory: Path) -> None:
    """Write the host keys by address, which is how paramiko looks them up."""
    lines = prepared.lab.state.known_hosts.read_text(encoding="utf-8").splitlines()
    known = "".join(
        f"{prepared.lab.addresses[host]} {rest}\n"
        for names, _, rest in (line.partition(" ") for line in lines)
        for host in names.split(",")[:1]
        if host in prepared.hosts
    )
    (directory / "known_hosts").write_text(known, encoding="utf-8")


def pyinfra_command(prepared: Prepared) -> list[str]:
    """Return the command that does the work with a pyinfra deploy."""
    directory = _directory(prepared, "pyinfra")
    state = prepared.lab.state
    _write_known_hosts(prepared, directory)
    hosts = [
        (
            prepared.lab.addresses[host],
            {
                "ssh_user": prepared.lab.lab.hosts[host].user,
                "ssh_key": str(state.identity),
                "ssh_known_hosts_file": str(directory / "known_hosts"),
                "ssh_strict_host_key_checking": "yes",
                "ssh_allow_agent": False,
                "ssh_look_for_keys": False,
                **_variables(directory, host, work),
                "apply": {kind: [line] for kind, line in _apply(work).items()},
            },
        )
        for host, work in prepared.hosts.items()
    ]
    (directory / "inventory.py").write_text(f"hosts = {hosts!r}\n", encoding="utf-8")
    (directory / "deploy.py").write_text(_DEPLOY.replace("CHECK", repr(CHECK)), encoding="utf-8")
    pyinfra = _VENV / "bin" / "pyinfra"
    parallel = str(len(hosts))
    return [
        "env",
        "-C",
        str(directory),
        str(pyinfra),
        "-y",
        "--parallel",
        parallel,
        "inventory.py",
        "deploy.py",
    ]


def naive_command(prepared: Prepared) -> list[str]:
    """Return the command that does the work with Nornir and one task per command."""
    directory = _directory(prepared, "naive")
    _write_known_hosts(prepared, directory)
    extras = {
        "use_keys": True,
        "key_file": str(prepared.lab.state.identity),
        "ssh_strict": True,
        "alt_host_keys": True,
        "alt_key_file": str(directory / "known_hosts"),
    }
    hosts = {
        host: {
            "hostname": prepared.lab.addresses[host],
            "username": prepared.lab.lab.hosts[host].user,
            "platform": "linux",
            "connection_options": {"netmiko": {"extras": extras}},
        }
        for host in prepared.hosts
    }
    work = {
        host: {
            "remove": each.remove,
            "write": [(path, each.kind(path), each.mode(path), text) for path, text in each.write.items()],
            "apply": _apply(each),
        }
        for host, each in prepared.hosts.items()
    }
    for name, content in (("hosts", hosts), ("groups", {}), ("defaults", {})):
        (directory / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")
    (directory / "work.json").write_text(json.dumps(work), encoding="utf-8")
    return [sys.executable, "-m", "benchmarks.naive_nornir", str(directory / "work.json")]
