"""What `configure` holds beside the network, on real containers: set, left alone, put right, put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import Answer, RunningLab

pytestmark = pytest.mark.lxc

LAB = """\
name: res-e2e
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  left: {mode: isolated, cidr: 10.62.8.0/24}
  right: {mode: isolated, cidr: 10.62.9.0/24}
hosts:
  gate: {role: router, networks: {left: 10.62.8.254, right: 10.62.9.254}}
  one: {networks: {left: 10.62.8.11}}
"""
ONE = "  one: {networks: {left: 10.62.8.11}}\n"
LINE = "networks: {left: 10.62.8.11}"
PROFILES = "/etc/NetworkManager/system-connections"


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab that is up and configured; every test leaves it so."""
    lab = write_lab(tmp_path_factory.mktemp("resources"), LAB)
    try:
        up = lab.json("up", "--configure")
        assert up.exit_code == 0, up.bad() or up.stderr
        yield lab
    finally:
        lab.run("-y", "down")


def with_one(lab: RunningLab, more: str) -> RunningLab:
    """Return the lab in which host ``one`` has more keys."""
    path = lab.path.with_name("other.yaml")
    path.write_text(LAB.replace(ONE, f"  one: {{{LINE}, {more}}}\n"), encoding="utf-8")
    return RunningLab(path, lab.state)


def configured(lab: RunningLab, *words: str) -> set[tuple[str, str]]:
    """Configure ``one``, demand that all went well and that a second run changes nothing; what changed."""
    first = lab.json("configure", "--hosts", "one", *words)
    assert first.exit_code == 0, first.bad() or first.stderr
    again = lab.json("configure", "--hosts", "one", *words)
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.bad() or again.rows
    return {(row["section"], row["name"]) for row in first.rows if row["status"] == "changed"}


def row(answer: Answer, section: str, name: str) -> dict[str, str]:
    (found,) = answer.of(section, "one", name)
    return found


def test_every_host_knows_the_lab_s_names_even_after_a_restart(lab: RunningLab) -> None:
    assert lab.guest("one", "getent ahostsv4 gate", sudo=False).split()[0] == "10.62.8.254"
    lab.guest("one", "ping -c 1 -W 2 gate", sudo=False)
    lab.guest("one", "echo 192.0.2.1 mine >>/etc/hosts; sed -i '/gate/s/^/10.9.9.9 gate #/' /etc/hosts")
    assert configured(lab) == {("hosts", "/etc/hosts")}
    assert lab.guest("one", "getent ahostsv4 gate", sudo=False).split()[0] == "10.62.8.254"
    other = with_one(lab, "hostname: uno")
    assert configured(other) == {("hosts", "/etc/hosts"), ("hostname", "hostname")}
    assert lab.run("restart", "--hosts", "one").exit_code == 0
    assert lab.guest("one", "hostname; cat /etc/hostname; getent hosts mine").split() == [
        "uno",
        "uno",
        "192.0.2.1",
        "mine",
    ]
    assert configured(other) == set()
    assert configured(with_one(lab, "hostname: one")) == {("hosts", "/etc/hosts"), ("hostname", "hostname")}


def test_units_start_and_stop_now_and_at_boot(lab: RunningLab) -> None:
    on = with_one(lab, "services: {nftables: {enabled: true, running: true}, ssh: running, nope: disabled}")
    assert configured(on) == {("services", "nftables")}
    state = "systemctl is-enabled nftables; systemctl is-active nftables"
    assert lab.guest("one", state).split() == ["enabled", "active"]
    off = with_one(lab, "services: {nftables: {enabled: false, running: false}}")
    assert configured(off) == {("services", "nftables")}
    assert lab.guest("one", f"{state}; true").split() == ["disabled", "inactive"]


def test_a_unit_that_cannot_be_so_is_failed_with_its_reason(lab: RunningLab) -> None:
    lab.guest(
        "one",
        "printf '[Service]\\nExecStart=/bin/false\\n' >/etc/systemd/system/dies.service; "
        "printf '[Service]\\nType=oneshot\\nExecStart=/bin/true\\n' >/etc/systemd/system/ends.service",
    )
    units = "{nope: running, dies: running, ends: running, apt-daily.timer: enabled, nftables: running}"
    other = with_one(lab, f"services: {units}")
    answer = other.json("configure", "--hosts", "one")
    assert answer.exit_code == 1
    found = {r["name"]: (r["status"], r["why"]) for r in answer.of("services", "one")}
    assert found.pop("dies")[0] == "failed"
    assert found == {
        "nope": ("failed", "there is no unit nope.service here"),
        "ends": ("failed", "it was started and is inactive"),
        "apt-daily.timer": ("failed", "apt-daily.timer is masked: `systemctl unmask apt-daily.timer` first"),
        "nftables": ("changed", None),
    }
    lab.guest("one", "cd /etc/systemd/system; rm dies.service ends.service; systemctl stop nftables")


def test_profiles_of_others_stay_unless_the_file_wants_no_others(lab: RunningLab) -> None:
    for name in ("theirs", "also"):
        lab.guest("one", f"nmcli connection add type dummy con-name {name} ifname d{name} autoconnect no")
    assert configured(lab) == set()
    dry = with_one(lab, "exclusive: true").json("configure", "--hosts", "one", "--dry-run")
    assert row(dry, "nmcli", "theirs")["diff"] == f"-{PROFILES}/theirs.nmconnection"
    assert configured(with_one(lab, "exclusive: true")) == {("nmcli", "theirs"), ("nmcli", "also")}
    assert lab.guest("one", f"ls {PROFILES}").split() == ["labrun-left.nmconnection"]
    assert "theirs" not in lab.guest("one", "nmcli --terse connection show")
