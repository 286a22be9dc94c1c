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
        assert up.exit_code == 0, up.trouble()
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
    assert first.exit_code == 0, first.trouble()
    again = lab.json("configure", "--hosts", "one", *words)
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.bad() or again.rows
    return {(row["section"], row["name"]) for row in first.rows if row["status"] == "changed"}


def row(answer: Answer, section: str, name: str) -> dict[str, str]:
    (found,) = answer.of(section, "one", name)
    return found


@pytest.mark.full
def test_every_host_knows_the_lab_s_names_even_after_a_restart(lab: RunningLab) -> None:
    assert lab.guest("one", "getent ahostsv4 gate", sudo=False).split()[0] == "10.62.8.254"
    lab.guest("one", "ping -c 1 -W 2 gate", sudo=False)
    lab.guest("one", "echo 192.0.2.1 mine >>/etc/hosts; sed -i '/gate/s/^/10.9.9.9 gate #/' /etc/hosts")
    assert configured(lab) == {("hosts", "/etc/hosts")}
    assert lab.guest("one", "getent ahostsv4 gate", sudo=False).split()[0] == "10.62.8.254"
    other = with_one(lab, "hostname: uno")
    assert configured(other) == {("hosts", "/etc/hosts"), ("hostname", "hostname")}
    assert lab.run("restart", "--hosts", "one").exit_code == 0
    assert lab.run("up").exit_code == 0
    assert lab.guest("one", "hostname; cat /etc/hostname; getent hosts mine").split() == [
        "uno",
        "uno",
        "192.0.2.1",
        "mine",
    ]
    assert configured(other) == set()
    assert configured(with_one(lab, "hostname: one")) == {("hosts", "/etc/hosts"), ("hostname", "hostname")}


@pytest.mark.full
def test_a_machine_of_labrun_s_keeps_its_host_s_name(lab: RunningLab) -> None:
    lab.guest("gate", "hostname other")
    lab.guest("one", "echo other >/etc/hostname")
    drifted = lab.json("drift")
    shown = [(r["host"], r["status"], r["expected"], r["actual"]) for r in drifted.of("hostname")]
    assert (drifted.exit_code, shown) == (
        3,
        [
            ("gate", "drifted", "gate", "other (gate after a reboot)"),
            ("one", "drifted", "one", "one (other after a reboot)"),
        ],
    ), drifted.trouble()
    fixed = lab.json("configure", "--only", "hostname")
    assert [(r["host"], r["status"]) for r in fixed.rows] == [("gate", "changed"), ("one", "changed")]
    again = lab.json("configure", "--only", "hostname")
    assert (again.exit_code, again.statuses()) == (0, {"skipped"}), again.trouble()
    for host in ("gate", "one"):
        assert lab.guest(host, "hostname; cat /etc/hostname").split() == [host, host]


def test_units_start_and_stop_now_and_at_boot(lab: RunningLab) -> None:
    on = with_one(lab, "services: {nftables: {enabled: true, running: true}, ssh: running, nope: disabled}")
    assert configured(on) == {("services", "nftables")}
    state = "systemctl is-enabled nftables; systemctl is-active nftables"
    assert lab.guest("one", state).split() == ["enabled", "active"]
    off = with_one(lab, "services: {nftables: {enabled: false, running: false}}")
    assert configured(off) == {("services", "nftables")}
    assert lab.guest("one", f"{state}; true").split() == ["disabled", "inactive"]


@pytest.mark.full
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
        "ends": ("failed", "it was started but is inactive"),
        "apt-daily.timer": ("failed", "apt-daily.timer is masked: `systemctl unmask apt-daily.timer` first"),
        "nftables": ("changed", None),
    }
    lab.guest("one", "cd /etc/systemd/system; rm dies.service ends.service; systemctl stop nftables")


@pytest.mark.full
def test_profiles_of_others_stay_unless_the_file_wants_no_others(lab: RunningLab) -> None:
    for name in ("theirs", "also"):
        lab.guest("one", f"nmcli connection add type dummy con-name {name} ifname d{name} autoconnect no")
    assert configured(lab) == set()
    dry = with_one(lab, "exclusive: true").json("configure", "--hosts", "one", "--dry-run")
    assert row(dry, "nmcli", "theirs")["diff"] == f"-{PROFILES}/theirs.nmconnection"
    assert configured(with_one(lab, "exclusive: true")) == {("nmcli", "theirs"), ("nmcli", "also")}
    assert lab.guest("one", f"ls {PROFILES}").split() == ["labrun-left.nmconnection"]
    assert "theirs" not in lab.guest("one", "nmcli --terse connection show")


def test_files_are_held_with_mode_and_owner_and_shown_before_they_change(lab: RunningLab) -> None:
    (lab.path.parent / "app.j2").write_text("{{ host.name }} {{ hosts.gate.address }}\n", encoding="utf-8")
    more = """files: {
      /etc/motd: {content: "hello\\n$(id)\\n"},
      /etc/app.d/app.conf: {template: app.j2, mode: 0640, group: lab, on_change: "date >>/root/ran"},
      /etc/app.d/other: {content: "x", on_change: "date >>/root/ran"},
      /etc/sudoers.d/alice: {content: "alice ALL=(ALL) ALL\\n", mode: "0440", validate: visudo -cf %s}}"""
    other = with_one(lab, more)
    lab.guest("one", "echo hello >/etc/motd")
    dry = other.json("configure", "--hosts", "one", "--dry-run")
    assert row(dry, "files", "/etc/motd")["diff"].splitlines()[-2:] == [" hello", "+$(id)"]
    assert {name for _, name in configured(other)} == {
        "/etc/motd",
        "/etc/app.d/app.conf",
        "/etc/app.d/other",
        "/etc/sudoers.d/alice",
    }
    assert lab.guest(
        "one", "cat /etc/app.d/app.conf; stat -c '%a %U %G' /etc/app.d/app.conf; wc -l </root/ran"
    ) == ("one 10.62.8.254\n640 root lab\n1\n")
    lab.guest("one", "chmod 666 /etc/app.d/app.conf; echo x >>/etc/app.d/other")
    assert configured(other) == {("files", "/etc/app.d/app.conf"), ("files", "/etc/app.d/other")}
    assert lab.guest("one", "wc -l </root/ran") == "2\n"


def test_a_file_that_does_not_hold_up_leaves_the_old_one(lab: RunningLab) -> None:
    before = lab.guest("one", "cksum /etc/sudoers.d/*")
    more = """files: {
      /etc/sudoers.d/bob: {content: "bob is great\\n", validate: visudo -cf %s},
      /etc/app.d/third: {content: "y", on_change: "echo no daemon; false"}}"""
    for _ in range(2):
        answer = with_one(lab, more).json("configure", "--hosts", "one")
        assert answer.exit_code == 1
        why = row(answer, "files", "/etc/sudoers.d/bob")["why"]
        assert why.startswith("validate: /etc/sudoers.d/bob:1:"), why
        assert (
            row(answer, "files", "/etc/app.d/third")["why"] == "on_change: no daemon; the file was restored"
        )
    assert lab.guest("one", "cksum /etc/sudoers.d/*") == before
    assert "third" not in lab.guest("one", "ls -A /etc/app.d")


@pytest.mark.full
def test_the_commands_by_hand_leave_nothing_to_do(lab: RunningLab) -> None:
    more = """hostname: uno, services: {nftables: {enabled: true, running: true}}, files: {
      /etc/app.d/it's: {content: "$(id)\\n", mode: "0644", group: lab, validate: test -s %s, on_change: sync},
      /root/blob: {src: blob}}"""
    (lab.path.parent / "blob").write_bytes(bytes(range(256)))
    other = with_one(lab, more)
    words = ("--hosts", "one", "--only", "hostname,services,files")
    typed = other.run("configure", "--explain", *words)
    done = lab.run("ssh", "one", "sudo", "sh", "-e", "-s", stdin=typed.stdout)
    assert done.exit_code == 0, (typed.stdout, done.stderr)
    assert configured(other, "--only", "hostname,services,files") == set()
    lab.guest("one", "systemctl disable --now nftables; rm /root/blob")
    assert configured(with_one(lab, "hostname: one")) == {("hostname", "hostname")}


REPOSITORY = """\
mkdir -p /srv/repo/tiny/DEBIAN /srv/repo/tiny/usr/share/tiny
cd /srv/repo
echo here >tiny/usr/share/tiny/file
cat >tiny/DEBIAN/control <<END
Package: tiny
Version: 1.2-3
Architecture: all
Maintainer: A <a@lab.test>
Description: x
END
dpkg-deb --build tiny tiny.deb >/dev/null
{ dpkg-deb --field tiny.deb; echo Filename: tiny.deb; stat -c 'Size: %s' tiny.deb
sha256sum tiny.deb | sed 's/^\\([0-9a-f]*\\).*/SHA256: \\1/'; } >Packages
systemd-run --quiet --collect --unit=repo python3 -m http.server --directory /srv/repo 8000
"""


@pytest.fixture
def repository(lab: RunningLab) -> Iterator[str]:
    """An apt repository on ``gate``, the only one that ``one`` knows; returns the name of its package."""
    lab.run("ssh", "gate", "sudo sh -s", stdin=REPOSITORY)
    lab.guest("one", "echo 'deb [trusted=yes] http://gate:8000 ./' >/etc/apt/sources.list")
    wait = "for n in 1 2 3 4 5 6 7 8 9; do curl -sf http://gate:8000/Packages && break; sleep 0.3; done"
    assert "tiny" in lab.guest("one", wait, sudo=False)
    yield "tiny"
    lab.guest("gate", "systemctl stop repo")


def test_missing_packages_are_installed_and_the_row_says_their_version(
    lab: RunningLab, repository: str
) -> None:
    other = with_one(lab, f"packages: [{repository}, curl, 'libc6:amd64']")
    first = other.json("configure", "--hosts", "one")
    assert (first.exit_code, row(first, "packages", "tiny")["actual"]) == (0, "1.2-3"), first.trouble()
    assert [row(first, "packages", name)["status"] for name in ("tiny", "curl", "libc6:amd64")] == [
        "changed",
        "ok",
        "ok",
    ]
    assert lab.guest("one", "cat /usr/share/tiny/file", sudo=False) == "here\n"
    (log,) = lab.state.glob("res-e2e-*/logs/packages-one.log")
    assert row(first, "packages", "tiny")["why"] == f"its output: {log}"
    assert "Setting up tiny (1.2-3)" in log.read_text()
    log.unlink()
    assert configured(other) == set()
    assert not log.exists(), "nothing was installed"
    lab.guest("one", "dpkg --remove tiny")
    assert configured(other) == {("packages", "tiny")}


@pytest.mark.full
def test_a_package_that_nobody_has_is_named_and_nothing_is_installed(
    lab: RunningLab, repository: str
) -> None:
    lab.guest("one", "dpkg --remove tiny")
    answer = with_one(lab, f"packages: [{repository}, nowhere]").json("configure", "--hosts", "one")
    assert answer.exit_code == 1
    (log,) = lab.state.glob("res-e2e-*/logs/packages-one.log")
    assert row(answer, "packages", "nowhere")["why"] == f"apt-get finds no such package; its output: {log}"
    assert row(answer, "packages", "tiny")["why"] == (
        f"apt-get: Unable to locate package nowhere; its output: {log}"
    )
    assert "E: Unable to locate package nowhere" in log.read_text()


def test_what_a_container_cannot_do_is_skipped_with_its_reason(lab: RunningLab) -> None:
    answer = with_one(lab, "selinux: enforcing").json("configure", "--hosts", "one")
    found = row(answer, "selinux", "mode")
    assert (answer.exit_code, found["status"], found["why"]) == (0, "skipped", "no SELinux in this kernel")


@pytest.mark.full
def test_a_bastion_s_profile_is_held_and_given_up_again(lab: RunningLab) -> None:
    bastion = with_one(lab, "sshd: {profile: bastion}")
    own = {("sshd", name) for name in ("allowtcpforwarding", "allowstreamlocalforwarding", "maxstartups")}
    assert configured(bastion) == own
    assert "maxstartups 60:30:120" in lab.guest("one", "sshd -T")
    assert configured(lab) == own


@pytest.mark.full
def test_a_port_is_refused_where_systemd_listens_in_sshd_s_place(lab: RunningLab) -> None:
    swap = "systemd-run --quiet --collect --wait sh -c 'systemctl stop ssh.{}; systemctl start ssh.{}'"
    lab.guest("one", swap.format("service", "socket"))
    try:
        answer = with_one(lab, "sshd: {Port: [22, 2222]}").json(
            "configure", "--hosts", "one", "--only", "sshd"
        )
        assert answer.exit_code == 1
        why = "systemd listens here in place of sshd (ssh.socket), so this would have no effect"
        assert row(answer, "sshd", "port")["why"] == why
        assert configured(lab, "--only", "sshd") == set()
    finally:
        lab.guest("one", swap.format("socket", "service"))
    assert configured(lab) == set()
