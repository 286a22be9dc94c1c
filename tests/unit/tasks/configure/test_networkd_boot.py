"""What a change leaves for systemd-networkd's next start, with the way in on one of its NICs."""

from __future__ import annotations

import pytest

from labrun.tasks.configure.networkd_boot import network_file_faults
from labrun.tasks.guest.shell import Facts
from tests.unit.tasks.configure.test_nic_families import CLOUD, OWN, WANTED, facts

FIRST = "/etc/systemd/network/00-first.network"
ANY = "[Match]\nName=*\n"
BEFORE = facts({OWN: WANTED, CLOUD: ANY})


def found(now: Facts, before: Facts = BEFORE, address: str = "10.0.0.11") -> list[str]:
    return list(network_file_faults(before, now, address))


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({OWN: WANTED, CLOUD: ANY}, []),
        ({FIRST: ANY, OWN: WANTED}, [f"{FIRST} would take eth0 at the next boot"]),
        ({FIRST: "[Match]\nName=eth1\n", OWN: WANTED}, []),
        ({CLOUD: ANY}, [f"{CLOUD} would take eth0 at the next boot"]),
        ({}, ["eth0 would stay down at the next boot: no network file is for it"]),
    ],
    ids=["same", "rival", "another NIC's", "gone", "none left"],
)
def test_the_file_that_the_next_boot_takes_is_the_one_in_force(
    files: dict[str, str], fault: list[str]
) -> None:
    assert found(facts(files)) == fault


def test_what_was_so_before_is_not_the_changes_fault() -> None:
    now = facts({FIRST: ANY, OWN: WANTED})
    assert found(now, now) == []
    assert found(now, address="10.0.0.99") == []
    assert found(now, address="no address") == []
    assert found(Facts()) == []
