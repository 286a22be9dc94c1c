"""What would keep labrun out after the next boot: units, sshd, fstab, firewall; and healthy twins."""

from __future__ import annotations

import pytest

from labrun.tasks.guest.shell import Captured
from tests.unit.next_boot_host import HEALTHY, fault, now, ok, units


def test_a_healthy_host_has_no_fault() -> None:
    assert fault({}) is None
    assert fault({"boot-now": HEALTHY["boot-now"]}, address=None) is None


START = "would not start at the next boot: it is"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"NetworkManager_service": "masked"}, f"NetworkManager.service {START} masked"),
        ({"NetworkManager_service": "disabled"}, f"NetworkManager.service {START} disabled"),
        ({"NetworkManager_service": "enabled-runtime"}, f"NetworkManager.service {START} enabled-runtime"),
        ({"NetworkManager_service": "linked"}, f"NetworkManager.service {START} linked"),
        ({"NetworkManager_service": "static"}, f"NetworkManager.service {START} static"),
        ({"NetworkManager_service": None}, "NetworkManager.service was running before and is not now"),
        (
            {"NetworkManager_service": "enabled/failed"},
            "NetworkManager.service was running before and is not now",
        ),
        ({"dbus_service": "masked"}, f"dbus.service {START} masked"),
        ({"dbus_socket": "masked"}, f"dbus.socket {START} masked"),
        ({"dbus_socket": "static/inactive"}, "dbus.socket was running before and is not now"),
        ({"ssh_service": "masked"}, f"ssh.service {START} masked"),
        ({"ssh_service": "disabled"}, f"ssh.service {START} disabled"),
        ({"ssh_service": "enabled-runtime"}, f"ssh.service {START} enabled-runtime"),
        ({"ssh_service": "static"}, f"ssh.service {START} static"),
        ({"ssh_service": None}, f"ssh.service {START} not-found"),
        ({"systemd-logind_service": "masked"}, f"systemd-logind.service {START} masked"),
        ({"systemd-user-sessions_service": "masked"}, f"systemd-user-sessions.service {START} masked"),
        ({"multi-user_target": "masked"}, f"multi-user.target {START} masked"),
        ({"target": "rescue.target"}, "the next boot would stop at rescue.target"),
        ({"target": ""}, "the next boot would stop at nowhere"),
        ({"target": "poweroff.target"}, "the next boot would stop at poweroff.target"),
    ],
)
def test_a_unit_that_a_login_needs(changes: dict[str, str | None], why: str) -> None:
    assert fault(now(**changes)) == why
    # What was so before is no news.
    assert fault({**now(**changes), "boot-before": ok(units(**changes))}) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "graphical.target"},
        {"ssh_service": "disabled", "ssh_socket": "enabled/active"},
        {"ssh_service": "alias"},
        {"NetworkManager_service": "enabled/reloading"},
        {"systemd-networkd_service": "masked"},
        {"networking_service": "masked"},
        # A new login has shown that it listens.
        {"ssh_service": "enabled/inactive"},
    ],
)
def test_a_unit_that_a_login_does_without(changes: dict[str, str | None]) -> None:
    assert fault(now(**changes)) is None


def test_where_networkmanager_did_not_run_the_others_count() -> None:
    was = {"NetworkManager_service": "disabled/inactive", "systemd-networkd_service": "enabled"}
    before = {"boot-before": ok(units(**was))}
    lost = now(**was | {"systemd-networkd_service": "masked"})
    assert (
        fault({**before, **lost}) == "systemd-networkd.service would not start at the next boot: it is masked"
    )
    assert fault({**before, **now(**was)}) is None


@pytest.mark.parametrize(
    ("rivals", "why"),
    [
        ("multi-user.target", "multi-user.target would stop ssh.service at the next boot: they conflict"),
        ("sysinit.target x.service", "sysinit.target would stop ssh.service at the next boot: they conflict"),
        # Others may be started, or not.
        ("x.service shutdown.target", None),
    ],
)
def test_a_target_of_the_boot_that_conflicts_with_sshd(rivals: str, why: str | None) -> None:
    text = HEALTHY["boot-now"].text
    conflicting = text.replace("Id=ssh.service\n", f"Id=ssh.service\nConflictedBy={rivals}\n")
    assert conflicting != text
    assert fault({"boot-now": ok(conflicting)}) == why
    assert fault({"boot-now": ok(conflicting), "boot-before": ok(conflicting)}) is None


def test_what_cannot_be_asked_any_more_is_a_fault_and_what_was_never_asked_is_none() -> None:
    assert fault({"boot-now": Captured("", 1)}) == "systemd no longer answers"
    assert fault({"boot-before": ok(), "boot-now": ok()}) is None


def test_sshd_has_to_accept_its_files() -> None:
    said = Captured("", 255, "/etc/ssh/sshd_config.d/x.conf line 1: Bad option\n")
    assert fault({"boot-sshd": said}) == (
        "sshd would not start at the next boot: /etc/ssh/sshd_config.d/x.conf line 1: Bad option"
    )


FSTAB = "/mnt/{}\n   [E] unreachable on boot required source: UUID=1\n   [W] no final newline\n".format


def test_a_new_error_in_fstab() -> None:
    asked = {"boot-fstab-before": ok(), "boot-fstab": Captured(FSTAB("a"), 1)}
    assert fault(asked) == (
        "/etc/fstab would stop the next boot: /mnt/a: unreachable on boot required source: UUID=1"
    )
    known = {**asked, "boot-fstab-before": Captured(FSTAB("a"), 1)}
    assert fault(known) is None
    assert fault({**known, "boot-fstab": Captured(FSTAB("b"), 1)}) == (
        "/etc/fstab would stop the next boot: /mnt/b: unreachable on boot required source: UUID=1"
    )
    assert fault({**asked, "boot-fstab": ok("/mnt/a\n   [W] no final newline\n")}) is None
    # systemd makes the folder.
    no_folder = ok("/mnt/a\n   [E] unreachable on boot required target: No such file or directory\n")
    assert fault({**asked, "boot-fstab": no_folder}) is None


@pytest.mark.parametrize("kind", ["boot-unit", "boot-condition"])
def test_a_unit_whose_file_is_broken(kind: str) -> None:
    said = Captured("", 1, "ssh.service: Service has no ExecStart=\n")
    why = "ssh.service would not start at the next boot: ssh.service: Service has no ExecStart="
    assert fault({f"{kind} ssh.service": said}) == why
    assert fault({f"{kind} ssh.service": ok()}) is None


WAY = ok("192.0.2.7 50000 10.0.0.1 22\n")


def ruleset(*rules: str, policy: str = "accept", family: str = "inet", hook: str = "input") -> Captured:
    lines = "".join(f"\t\t{rule} # handle {number}\n" for number, rule in enumerate(rules, 4))
    return ok(
        f"table {family} filter {{ # handle 1\n\tchain {hook} {{ # handle 2\n"
        f"\t\ttype filter hook {hook} priority filter; policy {policy};\n{lines}\t}}\n}}\n"
    )


OUT = "/etc/nftables.conf would keep labrun out after the next boot (inet filter, chain input: {})".format


@pytest.mark.parametrize(
    ("loaded", "why"),
    [
        (ruleset("tcp dport 22 drop"), OUT("tcp dport 22 drop")),
        (ruleset(policy="drop"), OUT("policy drop")),
        (ruleset("tcp dport 80 accept", policy="drop"), OUT("policy drop")),
        (ruleset("ip saddr 192.0.2.0/24 reject"), OUT("ip saddr 192.0.2.0/24 reject")),
        (ruleset("tcp dport 22 accept", policy="drop"), None),
        (ruleset("tcp dport 23 drop"), None),
        (ruleset("ip saddr 203.0.113.0/24 drop"), None),
        (ruleset(policy="drop", hook="forward"), None),
        (ruleset(policy="drop", family="ip6"), None),
        (ok(), None),
    ],
)
def test_the_firewall_s_own_file(loaded: Captured, why: str | None) -> None:
    assert fault({"boot-way": WAY, "boot-nft": loaded}) == why


def test_a_firewall_s_file_that_does_not_load() -> None:
    said = Captured("", 1, "/etc/nftables.conf:3:1-5: Error: syntax error\n")
    assert fault({"boot-way": WAY, "boot-nft": said}) == (
        "nftables.service would fail at the next boot: /etc/nftables.conf:3:1-5: Error: syntax error"
    )


@pytest.mark.parametrize("way", ["", "\n", "x y z w\n", "192.0.2.7 5\n"])
def test_a_way_that_nobody_knows_leads_past_no_firewall(way: str) -> None:
    assert fault({"boot-way": ok(way), "boot-nft": ruleset(policy="drop")}) is None


def test_another_port_and_ipv6_are_looked_at_as_they_are() -> None:
    port = ok("192.0.2.7 50000 10.0.0.1 2222\n")
    assert fault({"boot-way": port, "boot-nft": ruleset("tcp dport 22 drop")}) is None
    assert fault({"boot-way": port, "boot-nft": ruleset("tcp dport 2222 drop")}) == OUT("tcp dport 2222 drop")
    six = ok("fd00::7%eth0 50000 fd00::1%eth0 22\n")
    assert fault({"boot-way": six, "boot-nft": ruleset("ip6 saddr fd00::/16 drop")}) == OUT(
        "ip6 saddr fd00::/16 drop"
    )
    assert fault({"boot-way": six, "boot-nft": ruleset(policy="drop", family="ip")}) is None
