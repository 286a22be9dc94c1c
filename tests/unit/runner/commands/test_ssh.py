"""`labrun ssh` and exported inventories where the folders have names that ssh gives a meaning to."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from labrun.inventory.file.load import load_lab
from labrun.inventory.hosts.connections import access_of
from labrun.inventory.hosts.exports import export
from labrun.inventory.hosts.locate import locate
from labrun.inventory.hosts.ssh_command import login_words, ssh_options
from labrun.state import LabState
from tests.loopback_sshd import LoopbackSshd, loopback_sshd
from tests.unit.command_line import run_labrun

NAMES = (
    "two words",
    "100%",
    "%h %% %d",
    "it's",
    'a "quoted" one',
    "# no comment",
    "~",
    "~root",
    "$HOME",
    "a\\b",
    "a=b,c;d&e|f",
    "*?[x]",
    "`id`$(id)",
    "ä",
    "-F",
)
MADE = """\
name: small
hypervisor: test:///default
networks: {net: {mode: isolated, cidr: 10.4.1.0/24}}
hosts: {one: {networks: {net: 10.4.1.11}}}
"""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    with loopback_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def lab_in(directory: Path, sshd: LoopbackSshd) -> Path:
    """Return a lab file in this folder, with the keys of its host beside it, by relative paths."""
    directory.mkdir()
    (directory / "id").write_bytes(sshd.state.identity.read_bytes())
    (directory / "id").chmod(0o600)
    known = sshd.state.known_hosts.read_text(encoding="utf-8")
    (directory / "known").write_text(known, encoding="utf-8")
    ssh = {"user": sshd.user, "port": sshd.port, "identity": "id", "known_hosts": "known"}
    document = {"name": "loop", "hosts": {"box": {"address": "127.0.0.1", "ssh": ssh}}}
    (directory / "lab.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return directory / "lab.yaml"


@pytest.mark.parametrize("name", NAMES)
def test_ssh_finds_its_files_in_any_folder(name: str, sshd: LoopbackSshd, tmp_path: Path) -> None:
    path = lab_in(tmp_path / name, sshd)
    words = ("--lab", str(path), "--state-dir", str(tmp_path / name / "state"))
    answer = run_labrun(*words, "ssh", "box", "echo $((6 * 7))", cwd=tmp_path)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "42\n", "")


@pytest.mark.parametrize("name", NAMES)
def test_an_exported_ssh_config_finds_them_too(name: str, sshd: LoopbackSshd, tmp_path: Path) -> None:
    lab = load_lab(lab_in(tmp_path / name, sshd))
    config = tmp_path / "ssh_config"
    config.write_text(export(lab, locate(lab, None), None, "ssh-config"), encoding="utf-8")
    done = subprocess.run(
        ["ssh", "-F", config, "box", "echo $((6 * 7))"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


@pytest.mark.parametrize("name", ["two # $HOME `id` it's ~ *", '100% %h "quoted" a\\b'])
def test_an_exported_ansible_inventory_finds_them_too(name: str, sshd: LoopbackSshd, tmp_path: Path) -> None:
    lab = load_lab(lab_in(tmp_path / name, sshd))
    inventory = tmp_path / "ansible.yaml"
    inventory.write_text(export(lab, locate(lab, None), None, "ansible"), encoding="utf-8")
    ansible = Path(sysconfig.get_path("scripts")) / "ansible"
    done = subprocess.run(
        [ansible, "-i", inventory, "box", "-m", "ansible.builtin.raw", "-a", "echo $((6 * 7))"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "ANSIBLE_LOCAL_TEMP": str(tmp_path),
            # Ansible keeps connections, by address and port: those of other tests go to the same.
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o ControlPath=none",
        },
        timeout=60,
        check=False,
    )
    assert (done.returncode, "42" in done.stdout.split()) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_login_to_a_machine_of_labruns_names_the_files_of_its_state(name: str, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(MADE, encoding="utf-8")
    lab = load_lab(tmp_path / "lab.yaml")
    state = LabState.open("small", lab.hypervisor, tmp_path / name)
    access = access_of(lab, lab.hosts["one"], state)
    words = login_words(lab.hosts["one"], replace(access, port=2222), None)
    shown = subprocess.run(
        [*words, "-G", "10.4.1.11"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    settings = dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)
    # `ssh -G` shows the first before it reads %% as one %, and the second afterwards.
    assert settings["identityfile"].replace("%%", "%") == str(state.identity)
    assert settings["userknownhostsfile"] == str(state.known_hosts)
    assert (settings["port"], settings["user"], settings["hostkeyalias"]) == ("2222", "lab", "one")


def test_a_folder_that_ssh_cannot_be_told_is_refused(sshd: LoopbackSshd, tmp_path: Path) -> None:
    path = lab_in(tmp_path / "${HOME}", sshd)
    answer = run_labrun("--lab", str(path), "ssh", "box", "true", cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == (
        f"error: ssh_config cannot name the path {str(path.parent / 'known')!r}\n"
        "hint: --state-dir chooses another\n"
    )


def test_named_known_hosts_are_the_only_ones(sshd: LoopbackSshd, tmp_path: Path) -> None:
    lab = load_lab(lab_in(tmp_path / "lab", sshd))
    options = ssh_options(lab.hosts["box"], access_of(lab, lab.hosts["box"], None))
    assert ("GlobalKnownHostsFile", "/dev/null") in options
