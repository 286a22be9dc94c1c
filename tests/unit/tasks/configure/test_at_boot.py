"""What holds now and not after a reboot: profiles of others, and units that no boot starts."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from labrun.outcome import Status
from labrun.tasks.configure.nmcli import Nmcli
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.configure.sshd import Sshd
from labrun.tasks.configure.sysctl import Sysctl
from labrun.tasks.guest.facts.nm import UNITS, Rival, rivals, rivals_probe
from labrun.tasks.guest.facts.units import boot_probe, no_start
from labrun.tasks.guest.shell import Captured, Facts, Probe, gather_script, parse_facts
from labrun.tasks.state.fingerprint import fingerprint
from labrun.tasks.state.verdict import verdict
from tests.unit.tasks.configure.test_cases import NAMES, facts_of, spec_of

FOLDER = "/etc/NetworkManager/system-connections"
EVIL = f"{FOLDER}/evil.nmconnection"
MASKED = "Id=NetworkManager.service\nLoadState=masked\nUnitFileState=masked\n"
CASE = next(name for name in NAMES if name.endswith("-configured"))


def ran(root: Path, probe: Probe, answer: str = "") -> Facts:
    """Run a probe with ``root`` in place of / and a systemctl that gives this answer."""
    (root / "bin").mkdir(exist_ok=True)
    (root / "answer").write_text(answer, encoding="utf-8")
    program = root / "bin" / "systemctl"
    program.write_text(f"#!/bin/sh\ncat {root}/answer\n", encoding="utf-8")
    program.chmod(0o755)
    text = gather_script([probe], "mark")
    for place in ("/etc/", "/run/", "/usr/lib/", "/lib/systemd"):
        text = text.replace(f" {place}", f" {root}{place}").replace(f'"{place}', f'"{root}{place}')
    text = text.replace(f"folder={FOLDER}", f"folder={root}{FOLDER}")
    done = subprocess.run(
        ["sh", "-c", f"PATH={root}/bin:$PATH\n{text}"], capture_output=True, text=True, check=True
    )
    return parse_facts(done.stdout.replace(str(root), ""), "mark")


def profile(root: Path, name: str, text: str, folder: str = FOLDER) -> None:
    path = root / folder.lstrip("/") / f"{name}.nmconnection"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_what_competes_is_read_of_others_profiles_and_no_secret(tmp_path: Path) -> None:
    profile(
        tmp_path,
        "evil",
        "[connection]\nid=Evil One\ntype=ethernet\ninterface-name = eth0\nautoconnect-priority=500\n"
        "[802-1x]\npassword=hush\nautoconnect=false\n[ethernet]\nmac-address=02:AA:00:00:00:01\n",
    )
    profile(tmp_path, "waits", "[connection]\ntype=ethernet\nautoconnect=false\nautoconnect-priority=900\n")
    profile(tmp_path, "wifi", "[connection]\ntype=wifi\nautoconnect-priority=900\n")
    profile(tmp_path, "labrun-n", "[connection]\ntype=ethernet\nautoconnect-priority=900\n")
    vendor = "/usr/lib/NetworkManager/system-connections"
    profile(tmp_path, "any", "[connection]\ntype=802-3-ethernet\n", vendor)
    found = ran(tmp_path, rivals_probe(FOLDER))
    assert "hush" not in found.commands["rivals"].both
    assert rivals(found) == (
        Rival(EVIL, "Evil One", 500, "eth0", "02:aa:00:00:00:01"),
        Rival(f"{vendor}/any.nmconnection", "any", 0, "", ""),
    )


def test_without_profiles_of_others_no_process_is_started(tmp_path: Path) -> None:
    profile(tmp_path, "labrun-n", "[connection]\ntype=ethernet\n")
    assert "rivals" not in ran(tmp_path, rivals_probe(FOLDER)).commands


@pytest.fixture
def systemd(tmp_path: Path) -> Path:
    for folder in ("run/systemd/system", "etc/systemd/system/multi-user.target.wants", "lib"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_systemd_is_asked_only_about_units_without_a_link(systemd: Path) -> None:
    link = systemd / "etc/systemd/system/multi-user.target.wants" / UNITS[0]
    link.symlink_to("/lib/systemd/system/NetworkManager.service")
    assert ran(systemd, boot_probe(UNITS), MASKED).commands == {}
    link.unlink()
    assert no_start(ran(systemd, boot_probe(UNITS), MASKED), UNITS) is not None


def test_a_masked_unit_is_found_although_its_link_is_there(systemd: Path) -> None:
    etc = systemd / "etc/systemd/system"
    (etc / "multi-user.target.wants" / UNITS[0]).symlink_to("/lib/systemd/system/NetworkManager.service")
    (etc / UNITS[0]).symlink_to("/dev/null")
    unit = no_start(ran(systemd, boot_probe(UNITS), MASKED), UNITS)
    assert unit is not None
    assert unit.not_at_boot == (
        "NetworkManager.service does not start at boot, it is masked:"
        " `systemctl unmask NetworkManager.service`"
    )


DROP_IN = "etc/systemd/system/NetworkManager.service.d"
CONDITION = "ConditionPathExists=/nowhere"


@pytest.mark.parametrize(
    ("file", "text", "is_asked"),
    [
        (f"{DROP_IN}/z.conf", f"[Unit]\n{CONDITION}", True),
        (f"{DROP_IN}/z.conf", "[Service]\nExecStart=\nExecStart=/nowhere\n", True),
        ("etc/systemd/system/service.d/z.conf", "[Unit]\nRequires=nowhere.service\n", True),
        ("etc/systemd/system/NetworkManager.service", "[Service]\nExecStart=/bin/true\n", True),
        (f"{DROP_IN}/z.conf", f"[Unit]\n#{CONDITION}\n[Service]\nNice=3\n", False),
        (f"{DROP_IN}/z.txt", f"[Unit]\n{CONDITION}\n", False),
        ("etc/systemd/system/cron.service.d/z.conf", f"[Unit]\n{CONDITION}\n", False),
        ("etc/ssh/sshd_not_to_be_run", "", False),
        (f"{DROP_IN}/z.conf", "[Service]\nExecStartPre=\n", False),
    ],
)
def test_systemd_judges_a_unit_that_is_enabled_and_has_words_of_others(
    systemd: Path, file: str, text: str, *, is_asked: bool
) -> None:
    link = systemd / "etc/systemd/system/multi-user.target.wants" / UNITS[0]
    link.symlink_to("/lib/systemd/system/NetworkManager.service")
    (systemd / file).parent.mkdir(parents=True, exist_ok=True)
    (systemd / file).write_text(text, encoding="utf-8")
    program = systemd / "bin" / "systemd-analyze"
    program.parent.mkdir(exist_ok=True)
    for status, reason in ((1, f"{CONDITION} fails"), (0, None)):
        program.write_text(
            f"#!/bin/sh\necho 'X.service: {CONDITION} failed.'; echo Conditions failed.; exit {status}\n"
        )
        program.chmod(0o755)
        found = ran(systemd, boot_probe(UNITS), MASKED)
        unit = no_start(found, UNITS)
        if not is_asked or reason is None:
            assert unit is None
            assert found.commands == {}
            continue
        assert unit is not None
        why = f"NetworkManager.service does not start at boot: {reason} (/{file}): take it out there"
        assert unit.not_at_boot == why


def test_one_sshd_that_starts_is_enough(systemd: Path) -> None:
    wants = systemd / "etc/systemd/system/multi-user.target.wants"
    (systemd / "etc/ssh").mkdir()
    (systemd / "etc/ssh/sshd_not_to_be_run").touch()
    (systemd / "bin").mkdir()
    (systemd / "bin/systemd-analyze").write_text("#!/bin/sh\necho no; exit 1\n")
    (systemd / "bin/systemd-analyze").chmod(0o755)
    (wants / SSH[0]).symlink_to("/lib/systemd/system/ssh.service")
    unit = no_start(ran(systemd, boot_probe(SSH)), SSH)
    assert unit is not None
    assert "(/etc/ssh/sshd_not_to_be_run)" in unit.not_at_boot
    spec, facts = spec_of(CASE), facts_of(CASE)
    have = replace(facts, commands={**facts.commands, **ran(systemd, boot_probe(SSH)).commands})
    rows = [item for item in Sshd().plan(spec["sections"]["sshd"], have).items if item.state != "ok"]
    assert [(row.name, row.expected, row.actual) for row in rows] == [
        ("ssh.service", "enabled", "does not start")
    ]
    (wants / "own.service").symlink_to("/srv/own.service")
    assert no_start(ran(systemd, boot_probe((*SSH, "own.service"))), SSH) is None


def test_a_host_without_systemd_is_not_asked(tmp_path: Path) -> None:
    assert ran(tmp_path, boot_probe(UNITS), MASKED).commands == {}


SSH = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([("ssh.service", "loaded", "disabled"), ("sshd.service", "not-found", "")], "disabled"),
        ([("ssh.service", "loaded", "disabled"), ("ssh.socket", "loaded", "enabled")], None),
        ([("ssh.service", "masked", "masked"), ("ssh.socket", "loaded", "disabled")], "masked"),
        ([("ssh.service", "loaded", "enabled-runtime")], "enabled-runtime"),
        ([("ssh.service", "loaded", "static")], None),
        ([("ssh.service", "not-found", "")], None),
    ],
)
def test_an_sshd_that_no_boot_starts_has_a_row(said: list[tuple[str, str, str]], why: str | None) -> None:
    text = "\n".join(f"Id={name}\nLoadState={load}\nUnitFileState={file}\n" for name, load, file in said)
    spec, facts = spec_of(CASE), facts_of(CASE)
    have = replace(facts, commands={**facts.commands, f"no-start {' '.join(SSH)}": Captured(text, 0)})
    plan = Sshd().plan(spec["sections"]["sshd"], have)
    rows = {item.name: item for item in plan.items if item.state != "ok"}
    assert plan.apply == ""
    if why is None:
        assert rows == {}
        return
    (row,) = rows.values()
    assert (row.name, row.expected, row.actual, row.state) == ("ssh.service", "enabled", why, "refused")
    assert verdict(row, None, asked=False).status is Status.DRIFTED


def planned(priority: int, interface: str = "eth0", extra: str = "", **want: bool) -> SectionPlan:
    spec, facts = spec_of(CASE), facts_of(CASE)
    text = f"file={EVIL}\nid=evil\ntype=ethernet\ninterface-name={interface}\n"
    text += f"autoconnect-priority={priority}\n{extra}"
    have = replace(facts, commands={**facts.commands, "rivals": Captured(text, 0)})
    return Nmcli().plan({**spec["sections"]["nmcli"], **want}, have)


def test_a_profile_that_wins_at_the_next_boot_is_drift_and_named() -> None:
    before = planned(200).items[0]
    assert before.state == "ok"
    plan = planned(201)
    item = plan.items[0]
    assert (item.state, plan.apply) == ("refused", "")
    assert item.actual == f"{before.actual} (another profile after a reboot)"
    assert item.why == (
        f"evil ({EVIL}, priority 201) takes eth0 at the next boot: remove it, or let `exclusive: true`"
        " remove all profiles but labrun's"
    )
    assert verdict(item, fingerprint(before)).status is Status.DRIFTED


@pytest.mark.parametrize(
    "plan",
    [
        planned(200),
        planned(500, interface="eth9"),
        planned(500, extra="autoconnect=no\n"),
        planned(500, extra="mac-address=02:00:00:00:00:99\n"),
    ],
)
def test_a_profile_that_does_not_win_is_left_alone(plan: SectionPlan) -> None:
    assert {item.state for item in plan.items} == {"ok"}


def test_exclusive_leaves_nobody_to_win() -> None:
    assert planned(500, exclusive=True).items[0].state == "ok"


def test_a_masked_networkmanager_is_what_a_reboot_changes() -> None:
    spec, facts = spec_of(CASE), facts_of(CASE)
    have = replace(facts, commands={**facts.commands, f"no-start {UNITS[0]}": Captured(MASKED, 0)})
    item = Nmcli().plan(spec["sections"]["nmcli"], have).items[0]
    assert item.state == "refused"
    assert item.actual.endswith("(not kept across a reboot)")
    assert "systemctl unmask NetworkManager.service" in (item.why or "")


def test_kernel_parameters_that_no_boot_sets_are_refused(systemd: Path) -> None:
    want = {"values": {"net.ipv4.ip_forward": "1"}}
    probe = next(each for each in Sysctl().facts(want) if "systemd-sysctl" in each.script)
    (systemd / "lib/systemd/system/sysinit.target.wants").mkdir(parents=True)
    unit = "systemd-sysctl.service"
    (systemd / f"lib/systemd/system/sysinit.target.wants/{unit}").symlink_to(f"../{unit}")
    assert not ran(systemd, probe).commands
    (systemd / f"etc/systemd/system/{unit}").symlink_to("/dev/null")
    found = ran(systemd, probe, f"Id={unit}\nLoadState=masked\nUnitFileState=masked\n")
    files = {
        "/proc/sys/net/ipv4/ip_forward": "1\n",
        "/etc/sysctl.d/90-labrun.conf": "net.ipv4.ip_forward = 1\n",
    }
    facts = replace(found, files=files, words=frozenset({"writable /proc/sys/net/ipv4/ip_forward"}))
    (item,) = Sysctl().plan(want, facts).items
    assert (item.state, item.actual) == ("refused", "1 (not kept across a reboot)")
    assert item.why == f"{unit} does not start at boot, it is masked: `systemctl unmask {unit}`"
    (unset,) = (
        Sysctl().plan(want, replace(facts, files={**files, "/proc/sys/net/ipv4/ip_forward": "0"})).items
    )
    assert (unset.state, unset.why) == ("change", item.why)
    (well,) = Sysctl().plan(want, replace(facts, commands={})).items
    assert well.state == "ok"


CONF = "/etc/NetworkManager/conf.d/z.conf"
VENDOR = "/usr/lib/NetworkManager/conf.d/z.conf"
ALONE = " has NetworkManager leave eth0 alone at the next boot"
ALL = "[keyfile]\nunmanaged-devices=*,except:type:wifi\n"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (
            {CONF: "[keyfile]\nunmanaged-devices=interface-name:eth*\n"},
            f"{CONF}{ALONE} (unmanaged-devices=interface-name:eth*): take it out",
        ),
        (
            {CONF: "[device-z]\nmatch-device=interface-name:eth0\nmanaged=0\n"},
            f"{CONF}{ALONE}: take it out",
        ),
        (
            {CONF: "[keyfile]\npath=/srv/profiles\n"},
            f"{CONF} has NetworkManager read profiles in /srv/profiles at the next boot: take it out",
        ),
        (
            {VENDOR: ALL},
            f"{VENDOR}{ALONE} (unmanaged-devices=*,except:type:wifi): take it out",
        ),
        # As Ubuntu has it: an empty file of the same name hides the vendor's.
        ({VENDOR: ALL, "/run/NetworkManager/conf.d/z.conf": ""}, None),
        ({VENDOR: ALL, CONF: "[keyfile]\nunmanaged-devices=none\n"}, None),
        ({VENDOR: ALL, "/etc/NetworkManager/NetworkManager.conf": "[keyfile]\nunmanaged-devices=\n"}, None),
        ({CONF: "[keyfile]\nunmanaged-devices=interface-name:eth1;type:wifi\n"}, None),
        ({CONF: "[keyfile]\nunmanaged-devices=driver:veth\n"}, None),
        ({CONF: "[device-a]\nmanaged=0\n[device-b]\nmatch-device=interface-name:eth0\nmanaged=1\n"}, None),
        ({CONF: f"[keyfile]\npath={FOLDER}/\n"}, None),
        ({CONF: "[main]\nplugins=ifupdown\n[ifupdown]\nmanaged=false\n"}, None),
    ],
)
def test_a_nic_that_networkmanager_will_not_bring_up_is_refused(
    files: dict[str, str], why: str | None
) -> None:
    spec, facts = spec_of(CASE), facts_of(CASE)
    have = replace(facts, files={**facts.files, **files})
    item = Nmcli().plan(spec["sections"]["nmcli"], have).items[0]
    assert item.why == why
    assert item.state == ("ok" if why is None else "refused")
    assert "(not kept across a reboot)" in item.actual or why is None


OPEN = "-o PasswordAuthentication=yes"
NEXT = "gives sshd at its next start passwordauthentication yes"


@pytest.mark.parametrize(
    ("files", "word", "why"),
    [
        ({"/etc/default/ssh": f'# old\nSSHD_OPTS="{OPEN}"\n'}, "", f"/etc/default/ssh {NEXT}"),
        (
            {"/etc/sysconfig/sshd": "OPTIONS=-oPasswordAuthentication=yes\n"},
            "",
            f"/etc/sysconfig/sshd {NEXT}",
        ),
        (
            {"/etc/systemd/system/ssh.service.d/z.conf": f"[Service]\nExecStart=\nExecStart=sshd {OPEN}\n"},
            "",
            f"/etc/systemd/system/ssh.service.d/z.conf {NEXT}",
        ),
        (
            {},
            f"sshd-other sshd: /usr/sbin/sshd {OPEN} -o Port=2200",
            "another sshd runs here with passwordauthentication yes",
        ),
        ({"/etc/default/ssh": "SSHD_OPTS=\nOPTIONS='-o PasswordAuthentication=yes'\n"}, "", None),
        ({"/etc/default/ssh": "SSHD_OPTS='-4 -o PasswordAuthentication=no'\n"}, "", None),
        ({"/etc/default/ssh": "SSHD_OPTS='-f /etc/ssh/sshd_config -o LogLevel=DEBUG'\n"}, "", None),
        ({}, "sshd-other sshd: /usr/sbin/sshd -D", None),
        (
            {"/etc/systemd/system/ssh.service.d/z.conf": "[Service]\nExecStartPre=/bin/x -o a\nNice=1\n"},
            "",
            None,
        ),
    ],
)
def test_options_that_open_sshd_elsewhere_or_at_its_next_start_are_refused(
    files: dict[str, str], word: str, why: str | None
) -> None:
    spec, facts = spec_of(CASE), facts_of(CASE)
    have = replace(facts, files={**facts.files, **files}, words=facts.words | ({word} if word else set()))
    rows = {
        item.name: item for item in Sshd().plan(spec["sections"]["sshd"], have).items if item.state != "ok"
    }
    if why is None:
        assert rows == {}
        return
    (row,) = rows.values()
    assert (row.name, row.state, row.why) == (
        "passwordauthentication",
        "refused",
        f"{why}: take it out there",
    )
    assert verdict(row, None, asked=False).status is Status.DRIFTED


def test_another_file_for_sshd_leaves_nothing_certain() -> None:
    spec, facts = spec_of(CASE), facts_of(CASE)
    have = replace(facts, files={**facts.files, "/etc/default/ssh": "SSHD_OPTS='-f /srv/sshd'\n"})
    items = Sshd().plan(spec["sections"]["sshd"], have).items
    assert {item.state for item in items} == {"refused"}
    assert items[0].why == (
        "/etc/default/ssh gives sshd at its next start /srv/sshd in place of /etc/ssh/sshd_config:"
        " take it out there"
    )


@pytest.mark.parametrize("key", ["net.ipv4.icmp_echo_ignore_all", "net.ipv6.icmp.echo_ignore_all"])
def test_a_file_that_silences_pings_at_the_next_boot_is_refused_unless_the_lab_file_asks_for_it(
    key: str,
) -> None:
    file = "/etc/sysctl.d/zz.conf"

    def rows(text: str, values: dict[str, str]) -> dict[str, str | None]:
        files = {file: text, f"/proc/sys/{key.replace('.', '/')}": "1\n"}
        items = Sysctl().plan({"values": values}, Facts(files)).items
        return {item.name: item.why for item in items if item.state == "refused"}

    why = f"{file} sets {key} = 1: no answer to pings, take it out there"
    assert rows(f"{key} = 1\n", {}) == {key: why}
    assert rows(f"{key.replace('.', '/')}=1\n", {}) == {key: why}
    assert rows(f"{key} = 0\n# {key} = 1\n", {}) == {}
    assert key not in rows(f"{key} = 1\n", {key: "1"})


def test_the_service_is_named_and_not_the_masked_socket_beside_it(systemd: Path) -> None:
    states = [("ssh.service", "loaded", "disabled"), ("ssh.socket", "masked", "masked")]
    answer = "\n".join(f"Id={name}\nLoadState={load}\nUnitFileState={file}\n" for name, load, file in states)
    unit = no_start(ran(systemd, boot_probe(SSH), answer), SSH)
    assert unit is not None
    assert unit.not_at_boot == (
        "ssh.service does not start at boot, it is disabled: `systemctl enable ssh.service`"
    )
