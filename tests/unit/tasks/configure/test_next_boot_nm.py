"""What would have NetworkManager leave the way in down at the next boot, each with its healthy twin."""

from __future__ import annotations

import pytest

from labrun.tasks.guest.shell import Captured
from tests.unit.next_boot_host import MAC, OTHER, OWN, PROFILE, RIVAL, fault, objects, ok

DOWN = "eth0 would stay down at the next boot: profile left"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("autoconnect=false", f"{DOWN} is not activated automatically (connection.autoconnect: false)"),
        ("autoconnect=no", f"{DOWN} is not activated automatically (connection.autoconnect: no)"),
        ("autoconnect=0", f"{DOWN} is not activated automatically (connection.autoconnect: 0)"),
        ("permissions=user:ann:;", f"{DOWN} is for some users only (connection.permissions: user:ann:;)"),
        ("autoconnect=true", None),
        ("permissions=", None),
        ("zone=home", None),
    ],
)
def test_a_profile_that_no_boot_activates(line: str, why: str | None) -> None:
    profile = PROFILE.replace("id=", f"{line}\nid=")
    assert fault({}, new=profile) == why
    assert fault({f"boot-profile {OWN}": ok(profile)}) == why
    assert fault({}, old=profile, new=profile) is None


def test_a_profile_that_does_not_fit_this_machine() -> None:
    assert fault({"nm": objects(available=())}) == f"{DOWN} does not fit this machine"
    assert fault({"nm": objects(available=())}, before={"nm": objects(available=())}) is None


def test_a_profile_that_is_not_on_the_disk() -> None:
    path = "/run/NetworkManager/system-connections/x.nmconnection"
    lost = {"nm": objects(path, (path,))}
    assert fault(lost) == f"{DOWN} is not on the disk"
    assert fault(lost, before=lost) is None


def test_a_nic_that_is_not_networkmanager_s_has_no_profile() -> None:
    assert fault({"nm": objects(available=(), state=10)}) is None
    assert fault({"nm": objects(available=())}, address="10.0.0.9") is None
    assert fault({"nm": Captured("", 1, "no such name")}) is None


TAKES = f"{OTHER} would take eth0 at the next boot"


@pytest.mark.parametrize(
    ("rival", "why"),
    [
        (RIVAL, TAKES),
        (RIVAL.replace("type=", "interface-name=eth0\ntype="), TAKES),
        (f"{RIVAL}[ethernet]\nmac-address={MAC.upper()}\n", TAKES),
        (f"{RIVAL}[802-3-ethernet]\nmac-address={MAC}\n", TAKES),
        (RIVAL.replace("=50", "=0"), None),
        (RIVAL.replace("=50", "=-1"), None),
        (RIVAL.replace("autoconnect-priority=50\n", ""), None),
        (RIVAL.replace("type=", "interface-name=eth1\ntype="), None),
        (RIVAL.replace("type=", "autoconnect=false\ntype="), None),
        (f"{RIVAL}[ethernet]\nmac-address=52:54:00:aa:00:02\n", None),
        (f"{RIVAL}[802-3-ethernet]\nmac-address=52:54:00:aa:00:02\n", None),
        (RIVAL.replace("type=ethernet", "type=bridge"), None),
        (RIVAL.replace("type=ethernet", "type=802-3-ethernet"), TAKES),
    ],
)
def test_a_profile_that_would_take_the_nic(rival: str, why: str | None) -> None:
    assert fault({f"boot-profile {OTHER}": ok(rival)}) == why


def test_a_profile_that_steps_back_behind_another_that_fits() -> None:
    lowered = PROFILE.replace("id=", "autoconnect-priority=-5\nid=")
    both = {"nm": objects(available=(OWN, OTHER))}
    assert fault(both, new=lowered, before=both) == TAKES
    assert fault(both, before=both) is None
    assert fault(both, old=lowered, new=lowered, before=both) is None
    assert fault({}, new=lowered) is None


ALONE = "NetworkManager would leave eth0 alone after the next boot ({})".format
KEYFILE = "[main]\nplugins=keyfile\n\n[ifupdown]\nmanaged=false\n\n"


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "eth0",
        "eth*",
        "interface-name:eth0",
        "interface-name:eth*",
        "interface-name:=eth0",
        "interface-name:~eth?",
        f"mac:{MAC}",
        f"mac:{MAC.upper()}",
        MAC,
        "type:ethernet",
        "driver:virtio_net",
        "interface-name:docker0;interface-name:eth0",
        "interface-name:docker0,interface-name:eth0",
        "except:interface-name:eth1",
        "except:mac:52:54:00:aa:00:02;except:type:wifi",
        "*,except:interface-name:eth1",
    ],
)
def test_a_pattern_that_leaves_the_nic_alone(value: str) -> None:
    text = f"{KEYFILE}[keyfile]\nunmanaged-devices={value}\n"
    asked = {"boot-nm-before": ok(KEYFILE), "boot-nm": ok(text)}
    assert fault(asked) == ALONE(f"unmanaged-devices={value}")
    assert fault({**asked, "boot-nm-before": ok(text)}) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "none",
        "eth1",
        "interface-name:docker*",
        "mac:52:54:00:aa:00:02",
        "52:54:00:aa:00:02",
        "type:wifi",
        "*;except:interface-name:eth0",
        f"*;except:mac:{MAC}",
        f"*;except:{MAC}",
        "*;except:eth0",
        "except:interface-name:eth*",
        "interface-name:eth0;except:type:ethernet",
    ],
)
def test_a_pattern_that_means_others(value: str) -> None:
    text = f"{KEYFILE}[keyfile]\nunmanaged-devices={value}\n"
    assert fault({"boot-nm-before": ok(KEYFILE), "boot-nm": ok(text)}) is None


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ("[device]\nmanaged=0\n", ALONE("managed=0")),
        ("[device-x]\nmanaged=false\nmatch-device=*\n", ALONE("managed=false")),
        ("[device-x]\nmatch-device=interface-name:eth0\nmanaged=no\n", ALONE("managed=no")),
        ("[device-x]\nmatch-device=interface-name:eth1\nmanaged=0\n", None),
        ("[device-x]\nmatch-device=except:interface-name:eth0\nmanaged=0\n", None),
        ("[device]\nmanaged=1\n", None),
        (
            "[device-x]\nmatch-device=*\nallowed-connections=uuid:other\n",
            ALONE("allowed-connections=uuid:other"),
        ),
        ("[device-x]\nallowed-connections=uuid:u,id:other\n", None),
        ("[device-x]\nallowed-connections=id:left\n", None),
        ("[device-x]\nallowed-connections=except:origin:nm-initrd-generator\n", None),
        ("[device-x]\nmatch-device=interface-name:eth1\nallowed-connections=uuid:other\n", None),
        ("[device]\nwifi.scan-rand-mac-address=no\n", None),
    ],
)
def test_a_section_of_devices(section: str, why: str | None) -> None:
    assert fault({"boot-nm-before": ok(KEYFILE), "boot-nm": ok(KEYFILE + section)}) == why


def test_networkmanager_has_to_accept_its_files() -> None:
    said = Captured("", 1, "Failed to read configuration: line x\n")
    why = "NetworkManager would not start at the next boot: Failed to read configuration: line x"
    assert fault({"boot-nm": said}) == why
