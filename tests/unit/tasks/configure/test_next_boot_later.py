"""What lets a new login in for now and would end that: later, or with the next boot; and healthy twins."""

from __future__ import annotations

import json

import pytest

from tests.unit.next_boot_host import ADDRESS, BEFORE, Commands, fault, ok, units


def _with(unit: str, *properties: str) -> str:
    """Return a healthy host's units, one of which has more properties."""
    return units().replace(f"Id={unit}\n", "\n".join([f"Id={unit}", *properties]) + "\n")


SSH = "ssh.service"
USUAL = ("WatchdogUSec=0", "RuntimeMaxUSec=infinity")


@pytest.mark.parametrize(
    ("unit", "properties", "why"),
    [
        (
            SSH,
            ("RuntimeMaxUSec=25s", "WatchdogUSec=0"),
            "ssh.service would be stopped when it has run for 25s",
        ),
        (
            SSH,
            ("RuntimeMaxUSec=infinity", "WatchdogUSec=25s"),
            "ssh.service would be stopped unless it says each time that it lives, every 25s",
        ),
        (
            "NetworkManager.service",
            ("RuntimeMaxUSec=1h", "WatchdogUSec=0"),
            "NetworkManager.service would be stopped when it has run for 1h",
        ),
        (SSH, USUAL, None),
        ("cron.service", ("RuntimeMaxUSec=1h",), None),
    ],
)
def test_a_unit_that_systemd_would_stop_later(
    unit: str, properties: tuple[str, ...], why: str | None
) -> None:
    now = ok(_with(unit, *properties))
    assert fault({"boot-before": ok(_with(unit, *USUAL)), "boot-now": now}) == why
    # What was so before is no news.
    assert fault({"boot-before": now, "boot-now": now}) is None


def test_a_unit_that_is_still_starting_when_labrun_logs_in() -> None:
    now = ok(units(ssh_service="enabled/activating"))
    why = "ssh.service was started and does not tell that it is ready: systemd would stop it"
    assert fault({"boot-now": now}) == why
    assert fault({"boot-before": now, "boot-now": now}) is None


@pytest.mark.parametrize(
    ("line", "is_fault"),
    [
        ("NoNewPrivileges=yes", True),
        (" CapabilityBoundingSet = ~CAP_SETUID", True),
        ("SystemCallArchitectures=x32", True),
        ("NoNewPrivileges=no", False),
        ("CapabilityBoundingSet=", False),
    ],
)
def test_settings_of_systemd_that_take_everything_its_rights(line: str, is_fault: bool) -> None:
    why = f"everything would start without the rights of a login at the next boot: {line.strip()}"
    assert fault({"boot-manager-before": ok(), "boot-manager": ok(f"{line}\n")}) == (
        why if is_fault else None
    )
    assert fault({"boot-manager-before": ok(f"{line}\n"), "boot-manager": ok(f"{line}\n")}) is None


@pytest.mark.parametrize(
    ("name", "line", "why"),
    [
        (
            "boot-needs-failed",
            "bad.service",
            "bad.service did not start, and from the next boot on a login needs it",
        ),
        (
            "boot-hiding",
            "home.mount would hide /home",
            "at the next boot home.mount would hide /home, which a login needs",
        ),
    ],
)
def test_what_the_host_has_tried_and_noted(name: str, line: str, why: str) -> None:
    assert fault({name: ok(f"{line}\n")}) == why


def _link(**more: object) -> Commands:
    held = {"local": ADDRESS, "prefixlen": 24, "scope": "global", **more}
    return {"link": ok(json.dumps([{"ifname": "eth0", "mtu": 1500, "addr_info": [held]}]))}


def test_an_address_that_would_expire() -> None:
    ending = _link(dynamic=True, valid_life_time=40)
    assert fault({**BEFORE, **ending}) == f"{ADDRESS} would expire: it had no lifetime before this change"
    # A lease is renewed.
    assert fault({**BEFORE, **ending}, before=ending) is None
    assert fault({**BEFORE, **_link()}, before=ending) is None
