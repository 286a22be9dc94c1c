"""Units of systemd: what `systemctl show` says, what follows, and the script run by the real sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.configure.services import UNDER_SSHD, Services
from labrun.tasks.guest.facts.units import probe, unit_of
from labrun.tasks.guest.facts.units import units as units_of
from labrun.tasks.guest.shell import Captured, Facts, gather_script, parse_facts
from labrun.tasks.state.item import Item

Wanted = dict[str, bool | None]


def wanted(*, enabled: bool | None = None, running: bool | None = None) -> Wanted:
    return {"enabled": enabled, "running": running}


def shown(load: str = "loaded", file: str = "enabled", active: str = "active") -> str:
    return f"LoadState={load}\nActiveState={active}\nUnitFileState={file}\n"


def plan(units: dict[str, Wanted], *observed: str, status: int = 0) -> SectionPlan:
    said = Captured("\n".join(observed), status)
    return Services().plan({"units": units}, Facts({}, {"services": said}))


def only(section: SectionPlan) -> Item:
    (item,) = section.items
    return item


def test_a_name_without_an_ending_is_a_service() -> None:
    assert [unit_of(name) for name in ("cron", "nginx.service", "apt-daily.timer", "a.b", "getty@tty1")] == [
        "cron.service",
        "nginx.service",
        "apt-daily.timer",
        "a.b.service",
        "getty@tty1.service",
    ]


@pytest.mark.parametrize(
    ("unit", "observed"),
    [
        (wanted(enabled=True), shown(active="failed")),
        (wanted(enabled=True), shown(file="alias")),
        (wanted(enabled=False), shown(file="disabled")),
        (wanted(enabled=False), shown("masked", "masked", "inactive")),
        (wanted(enabled=False, running=False), shown("not-found", "", "inactive")),
        (wanted(running=True), shown(file="static")),
        (wanted(running=True), shown(active="reloading")),
        (wanted(running=False), shown(active="failed")),
    ],
)
def test_what_is_so_needs_nothing(unit: Wanted, observed: str) -> None:
    section = plan({"x": unit}, observed)
    assert (only(section).state, section.apply, section.undo) == ("ok", "", "")


@pytest.mark.parametrize(
    ("unit", "observed", "why"),
    [
        (wanted(running=True), shown("not-found", "", "inactive"), "there is no unit x.service here"),
        (
            wanted(enabled=True),
            shown("masked", "masked", "inactive"),
            "x.service is masked: `systemctl unmask x.service` first",
        ),
        (
            wanted(enabled=True),
            shown(file="static"),
            "x.service is static: it can be neither enabled nor disabled",
        ),
        (
            wanted(running=True),
            shown("bad-setting", "", "inactive"),
            "systemd cannot use x.service: bad-setting",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(unit: Wanted, observed: str, why: str) -> None:
    section = plan({"x": unit}, observed)
    assert (only(section).state, only(section).why, section.apply) == ("refused", why, "")


def test_a_systemd_that_does_not_answer_refuses_all() -> None:
    section = plan({"x": wanted(running=True)}, "Failed to connect to bus", status=1)
    assert only(section).why == "systemd cannot be queried: Failed to connect to bus"


def test_each_unit_is_put_right_in_what_differs_only_and_can_be_put_back() -> None:
    units = {"a": wanted(enabled=True, running=True), "b.socket": wanted(enabled=False, running=False)}
    section = plan(units, shown(file="disabled"), shown())
    assert [(item.name, item.state, item.diff) for item in section.items] == [
        ("a", "change", "- boot: disabled\n+ boot: enabled"),
        ("b.socket", "change", "- boot: enabled\n+ boot: disabled\n- now: running\n+ now: stopped"),
    ]
    assert section.commands == (
        "systemctl enable a.service",
        "systemctl disable b.socket",
        "systemctl stop b.socket",
    )
    assert section.undo.splitlines()[2:-1] == [
        "systemctl disable --quiet a.service || bad=1",
        "systemctl enable --quiet b.socket || bad=1",
        "timeout 30 systemctl start b.socket || bad=1",
    ]


SYSTEMCTL = """\
#!/bin/sh
echo "$@" >>"${0%/*}/calls"
case "$*" in "enable bad.service") echo; echo "Unit is rubbish"; echo more; exit 1;; esac
[ "$*" = "is-active dead.service" ] && echo inactive && exit 3
exit 0
"""


def test_one_unit_that_fails_does_not_keep_the_others_back(tmp_path: Path) -> None:
    stand_in = tmp_path / "systemctl"
    stand_in.write_text(SYSTEMCTL, encoding="ascii")
    stand_in.chmod(0o755)
    on = wanted(enabled=True, running=True)
    down = shown(file="disabled", active="inactive")
    section = plan({"bad": on, "dead": on}, down, down)
    script = f"PATH={tmp_path}:$PATH\nset -e\n{section.apply}"
    done = subprocess.run(["sh"], input=script, text=True, capture_output=True, check=False)
    assert done.stdout.splitlines() == [
        "bad: systemctl enable: Unit is rubbish",
        "dead: it was started but is inactive",
    ]
    assert done.returncode == 1
    assert (tmp_path / "calls").read_text(encoding="ascii").splitlines() == [
        "enable bad.service",
        "start bad.service",
        "is-active bad.service",
        "enable dead.service",
        "start dead.service",
        "is-active dead.service",
    ]


def test_what_sshd_stands_on_is_not_stopped() -> None:
    units = {"sysinit.target": wanted(running=False), "timers.target": wanted(running=False)}
    assert [*Services().facts({"units": units})][1:] == [UNDER_SSHD]
    assert UNDER_SSHD not in Services().facts({"units": {"cron": wanted(running=False)}})
    said = {
        "services": Captured("\n".join([shown(file="static"), shown(file="static")]), 0),
        "services-under-sshd": Captured("sysinit.target system.slice\n\nsysinit.target\n", 0),
    }
    first, second = Services().plan({"units": units}, Facts({}, said)).items
    assert (first.state, first.why) == (
        "refused",
        "sshd needs sysinit.target: stopping it would end every login",
    )
    assert second.state == "change"


def on_openrc(units: dict[str, Wanted], *observed: str) -> SectionPlan:
    said = {"services": Captured("\n".join(observed), 0)}
    return Services().plan({"units": units}, Facts({}, said, frozenset({"services-by openrc"})))


def test_openrc_is_told_in_its_own_words() -> None:
    units = {"sshd.service": wanted(enabled=True, running=True), "cron": wanted(enabled=False, running=False)}
    section = on_openrc(units, shown(file="disabled", active="inactive"), shown())
    assert section.commands == (
        "rc-update add sshd default",
        "rc-service sshd start",
        "rc-update --all delete cron",
        "rc-service cron stop",
    )
    assert section.undo.splitlines()[2:-1] == [
        "rm -f /etc/runlevels/*/sshd || bad=1",
        "timeout 30 rc-service sshd stop || bad=1",
        "rc-update --quiet add cron default || bad=1",
        "timeout 30 rc-service cron start || bad=1",
    ]
    assert "set_unit sshd.service enable sshd " in section.apply
    missing = on_openrc({"x.timer": wanted(enabled=True)}, shown("not-found", "", "inactive"))
    assert only(missing).why == "there is no service x.timer here"
    assert on_openrc(units, shown(), shown("not-found", "", "inactive")).apply == ""


def test_openrc_s_services_are_asked_where_there_is_no_systemd(tmp_path: Path) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    (tmp_path / "rc-service").write_text(
        '#!/bin/sh\ncase "$*" in *sshd*) exit 0;; *cron*) exit 3;; *) exit 32;; esac\n'
    )
    (tmp_path / "rc-service").chmod(0o755)
    (tmp_path / "init.d").mkdir()
    (tmp_path / "runlevels/default").mkdir(parents=True)
    for path in ("init.d/sshd", "init.d/cron", "init.d/dead", "runlevels/default/sshd"):
        (tmp_path / path).write_text("")
        (tmp_path / path).chmod(0o755)
    names = ["sshd.service", "cron", "dead", "gone.timer"]
    script = gather_script([probe(names)], "mark").replace("/etc/", f"{tmp_path}/")
    script = script.replace('PATH="$PATH', f'PATH="{tmp_path}:$PATH')
    done = subprocess.run(["sh"], input=script, text=True, capture_output=True, check=True)
    facts = parse_facts(done.stdout, "mark")
    found = units_of(facts, names)
    assert [(unit.shown, unit.is_enabled, unit.is_running) for unit in found.values()] == [
        ("enabled, active", True, True),
        ("disabled, inactive", False, False),
        ("disabled, failed", False, False),
        ("no such unit", False, False),
    ]
    assert facts.word("services-by") == "openrc"
