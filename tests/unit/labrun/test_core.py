"""The core that everything shares: outcomes and exit codes, the tag, the state directory, seeds."""

from __future__ import annotations

import stat
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from labrun.errors import ForeignObjectError, HypervisorError, LabrunError, UnreachableError
from labrun.inventory.file.load import load_lab
from labrun.key_pairs import HostKey, make_host_key
from labrun.outcome import Outcome, Status, exit_code
from labrun.output_logs import keep_output, log_path
from labrun.ownership import Tag, read_tag, tag_element
from labrun.state import LabState, state_base
from labrun.tasks.provision.cloudinit import seed_for
from labrun.tasks.provision.driver import MachineSpec, NicSpec
from labrun.tasks.provision.lxc_by_hand import domain_xml
from labrun.tasks.provision.specs import machine_spec, seeded
from tests import places

CASES = places.RECORDED / "xml"


def row(status: Status, *, fault: bool = False) -> Outcome:
    return Outcome("one", "path", "one -> two", status, hypervisor_fault=fault)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 0),
        (["ok", "changed", "skipped", "warning"], 0),
        (["ok", "would-change"], 3),
        (["pending"], 3),
        (["drifted"], 3),
        (["conflict"], 3),
        (["unreachable", "would-change"], 4),
        (["unknown"], 4),
        (["failed", "unreachable", "would-change"], 1),
        (["rolled-back"], 1),
    ],
)
def test_the_exit_code_is_the_first_that_applies(statuses: list[str], code: int) -> None:
    assert exit_code([row(Status(status)) for status in statuses]) == code


def test_a_fault_of_the_hypervisor_comes_first() -> None:
    assert exit_code([row(Status.FAILED), row(Status.FAILED, fault=True)]) == 5
    assert exit_code([row(Status.OK, fault=True)]) == 0


def test_a_row_in_json() -> None:
    assert row(Status.FAILED, fault=True).as_json() == {
        "host": "one",
        "section": "path",
        "name": "one -> two",
        "status": "failed",
        "expected": None,
        "actual": None,
        "why": None,
        "diff": None,
        "seconds": 0.0,
    }


def test_errors_say_where_and_what_to_do() -> None:
    error = UnreachableError("no answer", host="one", step="ssh", hint="labrun up")
    assert str(error) == "one: ssh: no answer (labrun up)"
    assert (error.exit_code, LabrunError("x").exit_code) == (4, 1)
    assert issubclass(ForeignObjectError, HypervisorError)


def test_the_tag_is_read_back() -> None:
    tag = Tag("lab", "one", "digest", extra={"image": 'a"<&'})
    xml = f"<domain><metadata>{ET.tostring(tag_element(tag), encoding='unicode')}</metadata></domain>"
    assert read_tag(xml) == tag
    assert read_tag("<domain><metadata/></domain>") is None
    assert read_tag("<domain/>") is None
    with pytest.raises(ValueError, match="'name' cannot be an attribute of the tag"):
        tag_element(Tag("lab", extra={"name": "other"}))


def test_the_state_directory_is_private_and_its_keys_are_made_once(tmp_path: Path) -> None:
    state = LabState.open("lab", "lxc:///system", tmp_path)
    assert stat.S_IMODE(state.root.stat().st_mode) == 0o700
    with pytest.raises(LabrunError, match="the lab has no key"):
        _ = state.public_key
    assert state.ensure_keys() is True
    first = state.public_key
    assert state.ensure_keys() is False
    assert state.public_key == first
    assert stat.S_IMODE(state.identity.stat().st_mode) == 0o600
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(state.identity)], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[:2] == first.split()[:2]
    assert LabState.open("lab", "qemu:///system", tmp_path).root != state.root


def test_known_hosts_has_one_line_a_host_and_a_second_write_changes_nothing(tmp_path: Path) -> None:
    state = LabState.open("lab", "lxc:///system", tmp_path)
    key = make_host_key("one")
    assert state.remember_host_keys({"one": (["10.0.0.1"], key.public)}) is True
    assert state.remember_host_keys({"one": (["10.0.0.1"], key.public)}) is False
    other = make_host_key("two")
    state.remember_host_keys({"two": (["10.0.0.2", "10.1.0.2"], other.public)})
    text = state.known_hosts.read_text(encoding="utf-8")
    assert [line.split(" ")[0] for line in text.splitlines()] == ["one,10.0.0.1", "two,10.0.0.2,10.1.0.2"]
    found = subprocess.run(
        ["ssh-keygen", "-F", "10.1.0.2", "-f", str(state.known_hosts)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.public.split()[1] in found.stdout
    state.forget_hosts(["one"])
    assert list(state.host_keys()) == ["two"]


@pytest.mark.parametrize("missing", ["id_ed25519", "id_ed25519.pub"])
def test_a_new_key_pair_forgets_who_had_the_old_one(tmp_path: Path, missing: str) -> None:
    """Killed right after it, the next run still knows that no host has the new key."""
    state = LabState.open("lab", "lxc:///system", tmp_path)
    state.ensure_keys()
    state.remember_host_keys({"one": (["10.0.0.1"], make_host_key("one").public)})
    (state.root / missing).unlink()
    assert state.ensure_keys() is True
    assert state.host_keys() == {}


def test_a_key_pair_that_was_killed_in_the_making_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = LabState.open("lab", "lxc:///system", tmp_path)
    state.ensure_keys()
    state.identity.unlink()
    written: list[Path] = []

    def killed(path: Path, text: str) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        path.write_text(text, encoding="utf-8")

    with monkeypatch.context() as patched:
        patched.setattr("labrun.lab_keys.write_private", killed)
        with pytest.raises(KeyboardInterrupt):
            state.ensure_keys()
    assert written == [state.identity]
    assert not state.has_keys
    assert state.ensure_keys() is True
    said = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(state.identity)], capture_output=True, text=True, check=True
    )
    assert said.stdout.split()[:2] == state.public_key.split()[:2]


def test_removing_the_state_takes_parts_of_files_along(tmp_path: Path) -> None:
    state = LabState.open("lab", "lxc:///system", tmp_path)
    state.ensure_keys()
    for name in (".id_ed25519.abc123", ".id_ed25519.pub.q", ".known_hosts.x1", ".fault.y"):
        (state.root / name).write_text("part", encoding="utf-8")
    assert keep_output(log_path(state.root, "packages-one"), "Setting up tiny\n")
    state.remove()
    assert not state.root.exists()


def test_removing_the_state_leaves_what_is_not_labruns(tmp_path: Path) -> None:
    state = LabState.open("lab", "lxc:///system", tmp_path)
    state.ensure_keys()
    (state.root / "notes.txt").write_text("mine", encoding="utf-8")
    state.remove()
    assert [path.name for path in state.root.iterdir()] == ["notes.txt"]
    (state.root / "notes.txt").unlink()
    state.remove()
    assert not state.root.exists()


def test_the_state_base_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_base() == tmp_path / "labrun"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert state_base() == Path.home() / ".local/state/labrun"


def test_a_state_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(LabrunError, match=r"cannot use the state directory .*: Not a directory") as caught:
        LabState.open("lab", "lxc:///system", tmp_path / "file")
    assert caught.value.hint == "--state-dir chooses another"


LAB = """\
name: seeds
networks:
  left: {mode: isolated, cidr: 10.1.0.0/24, cidr6: "fd00:1::/64", mtu: 1400}
  right: {mode: isolated, cidr: 10.2.0.0/24}
hosts:
  one: {user: learner, networks: {left: {ipv4: 10.1.0.11, ipv6: "fd00:1::11"}, right: dhcp}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> MachineSpec:
    path = tmp_path / "lab.yaml"
    path.write_text(LAB, encoding="utf-8")
    lab = load_lab(path)
    key = HostKey("PRIVATE", "ssh-ed25519 AAAA one")
    bare = machine_spec(lab, lab.hosts["one"])
    assert bare.seed == type(bare.seed)("", "", "")
    found = seeded(
        bare, lab, instance="i-1", host_key=key, login_keys=["ssh-ed25519 BBBB lab"], password="SECRET"
    )
    assert found.seed == seed_for(
        lab,
        lab.hosts["one"],
        instance="i-1",
        host_key=key,
        login_keys=["ssh-ed25519 BBBB lab"],
        password="SECRET",
    )
    assert "SECRET" not in repr(found)
    return found


def test_the_seed(spec: MachineSpec) -> None:
    assert yaml.safe_load(spec.seed.meta_data) == {"instance-id": "i-1", "local-hostname": "one"}
    assert spec.seed.user_data.startswith("#cloud-config\n")
    user = yaml.safe_load(spec.seed.user_data)
    assert user["hostname"] == "one"
    assert user["ssh_keys"] == {"ed25519_private": "PRIVATE", "ed25519_public": "ssh-ed25519 AAAA one"}
    assert user["users"][0]["name"] == "learner"
    assert user["users"][0]["plain_text_passwd"] == "SECRET"
    assert user["ssh_pwauth"] is False
    assert user["users"][0]["ssh_authorized_keys"] == ["ssh-ed25519 BBBB lab"]
    network = yaml.safe_load(spec.seed.network_config)["ethernets"]
    left, right = network["eth0"], network["eth1"]
    assert left["match"] == {"macaddress": spec.nics[0].mac}
    assert left["addresses"] == ["10.1.0.11/24", "fd00:1::11/64"]
    assert left["mtu"] == 1400
    assert (right["dhcp4"], "addresses" in right) == (True, False)


def test_private_keys_are_not_shown_by_repr(spec: MachineSpec) -> None:
    assert "PRIVATE" not in repr(spec)


def test_the_xml_of_a_container_is_golden(spec: MachineSpec) -> None:
    from dataclasses import replace

    nics = (NicSpec("02:00:00:00:00:01", "seeds-left", 1400), NicSpec("02:00:00:00:00:02", "seeds-right"))
    xml = domain_xml(replace(spec, nics=nics, digest="DIGEST"), Path("/var/lib/labrun/labs/seeds/one/root"))
    assert xml == (CASES / "lxc-domain.xml").read_text(encoding="utf-8")


def test_the_port_of_an_sshd_is_recorded_as_ssh_looks_it_up(tmp_path: Path) -> None:
    state = LabState.open("lab", "lxc:///system", tmp_path)
    key = make_host_key("one")
    state.remember_host_keys({"one": (["10.0.0.1", "fd00::1"], key.public)})
    assert state.login_ports() == {}
    for port in (2222, 2222, 2300):
        state.remember_port("one", port)
        state.remember_port("nobody", port)
        assert state.login_ports() == {"one": port}
        assert state.host_addresses() == {"one": ["10.0.0.1", "fd00::1"]}
        for name in ("10.0.0.1", f"[10.0.0.1]:{port}", f"[fd00::1]:{port}", "one"):
            words = ["ssh-keygen", "-F", name, "-f", str(state.known_hosts)]
            assert (
                key.public.split()[1]
                in subprocess.run(words, capture_output=True, text=True, check=True).stdout
            )
    state.remember_addresses({"one": ["10.0.0.9"]})
    assert (state.login_ports(), state.host_addresses()["one"][0]) == ({"one": 2300}, "10.0.0.9")
    state.remember_port("one", 22)
    assert state.login_ports() == {}
    assert "[" not in state.known_hosts.read_text(encoding="utf-8")
    # A machine that is made anew listens where its image does.
    state.remember_port("one", 2222)
    state.remember_host_keys({"one": (["10.0.0.9"], make_host_key("one").public)})
    assert state.login_ports() == {}
