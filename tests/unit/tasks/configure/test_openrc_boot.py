"""What OpenRC, and the init that starts it, would no longer do at the next boot; and healthy twins."""

from __future__ import annotations

import pytest

from tests.unit.next_boot_host import ADDRESS, Commands, fault, ok


def services(ssh: str = "enabled", *, missing: str = "", network: str = "enabled") -> str:
    """Return what OpenRC says of a guest with ifupdown."""
    said = (
        ("NetworkManager", "not-found", "inactive", "", ""),
        ("dbus", "loaded", "active", "enabled", ""),
        ("ssh", "loaded", "active", ssh, missing),
        ("sshd", "not-found", "inactive", "", ""),
        ("networking", "loaded", "active", network, ""),
    )
    return "\n\n".join(
        f"Id={name}\nLoadState={load}\nActiveState={active}\nUnitFileState={file}\nNeeds=\nMissing={lacks}"
        for name, load, active, file, lacks in said
    )


def booting(was: str, now: str) -> Commands:
    return {"boot-before": ok(was), "boot-now": ok(now)}


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (services("disabled"), "ssh would not start at the next boot: it is disabled"),
        (
            services("ruled out by a keyword"),
            "ssh would not start at the next boot: it is ruled out by a keyword",
        ),
        (services(network="disabled"), "networking would not start at the next boot: it is disabled"),
        (
            services(missing="b a"),
            "ssh would not start at the next boot: it needs a, b, which is not there",
        ),
    ],
)
def test_a_service_of_openrc_has_its_own_name(now: str, why: str) -> None:
    assert fault(booting(services(), now)) == why
    # What was so before is no news.
    assert fault(booting(now, now)) is None


def test_a_guest_of_openrc_that_would_boot_as_before() -> None:
    assert fault(booting(services(), services())) is None
    assert fault(booting(services(missing="a"), services(missing="a"))) is None
    # A boot did not start it before either.
    assert fault(booting(services("disabled"), services("disabled", missing="a"))) is None


BEFORE = "openrc sysinit\nopenrc default\nifup -a\n"


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ("openrc sysinit\nifup -a\n", "openrc default"),
        ("openrc sysinit\nopenrc recovery\nifup -a\n", "openrc default"),
        ("", "openrc sysinit"),
        ("openrc sysinit\nopenrc default\n", "ifup -a"),
        (BEFORE.replace("-a", "-a -X eth0"), "ifup -a"),
        (BEFORE.replace("-a", "-a -X eth*"), "ifup -a"),
        (BEFORE.replace("-a", "-a --no-act"), "ifup -a"),
        (BEFORE.replace("-a", "-a -X"), "ifup -a"),
        (BEFORE.replace("-a", "-a -X eth9"), None),
        (BEFORE.replace("-a", "-a --verbose"), None),
        (f"{BEFORE}openrc own\n", None),
        (BEFORE, None),
    ],
)
def test_init_and_the_network_s_service_make_the_calls_that_they_made(now: str, why: str | None) -> None:
    asked = {"boot-calls-before": ok(BEFORE), "boot-calls-now": ok(now)}
    assert fault(asked) == (why and f"the next boot would no longer run `{why}`")


def test_where_the_nic_is_not_known_each_exclusion_counts() -> None:
    asked = {"boot-calls-before": ok(BEFORE), "boot-calls-now": ok(BEFORE.replace("-a", "-a -X eth9"))}
    why = "the next boot would no longer run `ifup -a`"
    assert fault(asked, address=None) == why
    assert fault({**asked, "link": ok("?")}) == why
    assert fault(asked, address=ADDRESS) is None


def test_what_was_left_out_before_may_be_left_out() -> None:
    for nic in ("eth0", "eth9"):
        calls = ok(BEFORE.replace("-a", f"-a -X {nic}"))
        assert fault({"boot-calls-before": calls, "boot-calls-now": calls}) is None


def test_calls_that_were_made_twice_are_made_twice() -> None:
    asked = {"boot-calls-before": ok(BEFORE + BEFORE), "boot-calls-now": ok(BEFORE)}
    assert fault(asked) == "the next boot would no longer run `openrc sysinit`"
