"""The units of a schedule: what they say, that systemd takes them, and that any path survives."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from labrun.errors import LabrunError, UsageError
from labrun.runner.timer.systemd import Systemd, check_calendar
from labrun.runner.timer.units import Schedule, cron_line, quoted, render_units, unit_name

SCHEDULE = Schedule(
    lab="demo",
    lab_file=Path("/srv/labs/lab.yaml"),
    command=["/bin/true", "--lab", "/srv/labs/lab.yaml", "drift"],
    every=900.0,
    calendar=None,
    jitter=60.0,
    user=False,
    writable=[Path("/root/.local/state/labrun")],
    readable=[Path("/bin/true")],
)
needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings(text: str) -> dict[str, str]:
    """Return the settings of a unit, the last of each name."""
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def units(schedule: Schedule) -> tuple[dict[str, str], dict[str, str]]:
    rendered = render_units(schedule)
    assert list(rendered) == ["labrun-drift-demo.service", "labrun-drift-demo.timer"]
    service, timer = rendered.values()
    return settings(service), settings(timer)


def test_the_service_runs_the_command_and_takes_drift_for_a_success() -> None:
    service, _ = units(SCHEDULE)
    assert service["ExecStart"] == "/bin/true --lab /srv/labs/lab.yaml drift"
    assert (service["Type"], service["SuccessExitStatus"]) == ("oneshot", "3")
    assert (service["ProtectSystem"], service["ProtectHome"]) == ("strict", "read-only")
    assert service["ReadWritePaths"] == "-/root/.local/state/labrun"
    assert (service["PrivateTmp"], service["NoNewPrivileges"]) == ("yes", "yes")
    assert {"CAP_SYS_ADMIN", "CAP_NET_ADMIN"} <= set(service["CapabilityBoundingSet"].split())
    # All that a container has of its own, to look into one that does not answer.
    assert set(service["RestrictNamespaces"].split()) == {"cgroup", "ipc", "mnt", "net", "pid", "uts"}
    assert "Environment" not in service


def test_the_timer_of_an_interval() -> None:
    _, timer = units(SCHEDULE)
    assert (timer["OnBootSec"], timer["OnUnitActiveSec"]) == ("1min", "900s")
    assert timer["RandomizedDelaySec"] == "60s"
    assert not {"OnCalendar", "Persistent"} & set(timer)


def test_the_timer_of_a_calendar_makes_up_for_what_was_missed() -> None:
    _, timer = units(replace(SCHEDULE, every=None, calendar="Mon..Fri 06:00"))
    assert (timer["OnCalendar"], timer["Persistent"]) == ("Mon..Fri 06:00", "yes")
    assert not {"OnBootSec", "OnUnitActiveSec"} & set(timer)


def test_a_users_units_ask_for_nothing_that_only_the_system_may() -> None:
    service, timer = units(replace(SCHEDULE, user=True))
    assert not [name for name in service if name.startswith(("Protect", "Private", "Capability", "Read"))]
    assert service["NoNewPrivileges"] == "yes"
    assert (timer["OnStartupSec"], timer["OnUnitActiveSec"]) == ("1min", "900s")


def test_where_no_libvirt_is_asked_the_service_may_less() -> None:
    service, _ = units(replace(SCHEDULE, needs_hypervisor=False))
    assert "CAP_SYS" not in service["CapabilityBoundingSet"]
    assert (service["RestrictNamespaces"], service["PrivateDevices"]) == ("yes", "yes")


@pytest.mark.parametrize("path", ["/tmp/lab.yaml", "/var/tmp/x/lab.yaml"])
def test_a_file_in_tmp_is_not_hidden_from_the_run(path: str) -> None:
    service, _ = units(replace(SCHEDULE, lab_file=Path(path)))
    assert "PrivateTmp" not in service


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("/usr/bin/labrun", "/usr/bin/labrun"),
        ("", '""'),
        ("a b", '"a b"'),
        ("50%", '"50%%"'),
        ("$HOME", '"$$HOME"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("two\nlines", '"two\\nlines"'),
        (";", '";"'),
        ("it's", '"it\'s"'),
    ],
)
def test_a_word_is_quoted_for_systemd(word: str, text: str) -> None:
    assert quoted(word, command=True) == text


def test_a_dollar_means_something_only_in_commands() -> None:
    assert quoted("PYTHONPATH=/a $b") == '"PYTHONPATH=/a $b"'


ODD = "a \"b\" 'c' $d %n ü \\ e"


@needs_systemd_analyze
@pytest.mark.parametrize(
    "schedule",
    [
        SCHEDULE,
        replace(SCHEDULE, every=None, calendar="*-*-* 06,18:00"),
        replace(SCHEDULE, needs_hypervisor=False),
        replace(
            SCHEDULE,
            lab_file=Path(f"/srv/{ODD}/lab.yaml"),
            command=["/bin/true", ODD, "--on-change", "mail -s '50%' \"$USER\""],
            writable=[Path(f"/srv/{ODD}")],
            python_path=Path(f"/srv/{ODD}"),
        ),
    ],
    ids=["interval", "calendar", "existing machines", "odd names"],
)
def test_systemd_takes_them(schedule: Schedule) -> None:
    assert Systemd(user=False).verify(render_units(schedule)) is None


@needs_systemd_analyze
def test_what_systemd_does_not_take_is_said_in_its_words() -> None:
    broken = render_units(replace(SCHEDULE, command=["/missing/labrun", "drift"]))
    name = unit_name("demo")
    broken[f"{name}.timer"] = broken[f"{name}.timer"].replace("RandomizedDelaySec", "RandomDelay")
    with pytest.raises(LabrunError) as caught:
        Systemd(user=False).verify(broken)
    assert caught.value.step == "systemd-analyze verify"
    assert "/missing/labrun is not executable" in caught.value.reason
    assert f"{name}.timer:" in caught.value.reason
    assert "Unknown key" in caught.value.reason


@needs_systemd_analyze
def test_a_calendar_is_checked() -> None:
    check_calendar("Mon..Fri 06:00")
    with pytest.raises(UsageError) as caught:
        check_calendar("teatime")
    assert caught.value.reason == '--calendar: "teatime" is not a time that systemd understands'


@pytest.mark.parametrize(
    ("every", "fields"),
    [
        (60, "* * * * *"),
        (900, "*/15 * * * *"),
        (3600, "0 * * * *"),
        (6 * 3600, "0 */6 * * *"),
        (86400, "0 0 * * *"),
    ],
)
def test_cron_has_a_line_for_what_divides_an_hour_or_a_day(every: float, fields: str) -> None:
    assert cron_line(["/usr/bin/labrun", "drift"], every) == f"{fields} /usr/bin/labrun drift\n"


def test_what_cron_takes_for_the_end_of_a_command_is_escaped() -> None:
    assert cron_line(["x", "50% of it's"], 60) == "* * * * * x '50\\% of it'\"'\"'s'\n"


@pytest.mark.parametrize("every", [1, 90, 7 * 60, 5 * 3600, 2 * 86400])
def test_cron_cannot_say_everything(every: float) -> None:
    with pytest.raises(UsageError) as caught:
        cron_line(["x"], every)
    assert caught.value.reason == f"cron cannot express every {every} s"
