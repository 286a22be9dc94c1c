"""systemd's network files: as systemd reads them, and which NIC one is for."""

from __future__ import annotations

import pytest

from labrun.tasks.guest.network_files import entries, in_order, is_for, listed, rendered

MAC = "02:00:00:00:00:01"


def test_what_is_written_is_read_again() -> None:
    text = rendered(
        [
            ("Match", [("MACAddress", MAC)]),
            ("Link", []),
            ("Address", [("Address", "10.0.0.1/24")]),
            ("Address", [("Address", "10.0.0.2/24")]),
        ]
    )
    assert (
        text
        == f"[Match]\nMACAddress={MAC}\n\n[Address]\nAddress=10.0.0.1/24\n\n[Address]\nAddress=10.0.0.2/24\n"
    )
    assert [(each.block, each.section, each.value) for each in entries(text)] == [
        (1, "Match", MAC),
        (2, "Address", "10.0.0.1/24"),
        (3, "Address", "10.0.0.2/24"),
    ]


def test_comments_spaces_and_joined_lines_say_nothing_else() -> None:
    text = "; by hand\n [Match] \n# no\nName = eth0 \\\n# in between\n  eth1\nnonsense\n\n[Network]\nDNS=\n"
    assert listed(text) == ["[Match] Name=eth0 eth1", "[Network] DNS="]
    assert listed("DHCP=yes\n[Match]\nName=\\") == ["[Match] Name="]


def test_of_files_with_one_name_the_machines_own_counts_and_all_go_by_name() -> None:
    files = {
        "/usr/lib/systemd/network/80-b.network": "vendor",
        "/run/systemd/network/10-netplan-eth0.network": "netplan",
        "/etc/systemd/network/80-b.network": "own",
        "/etc/systemd/network/05-a.network.d/x.conf": "drop-in",
        "/etc/systemd/network/05-a.network": "first",
    }
    assert in_order(files) == [
        ("/etc/systemd/network/05-a.network", "first"),
        ("/run/systemd/network/10-netplan-eth0.network", "netplan"),
        ("/etc/systemd/network/80-b.network", "own"),
    ]


@pytest.mark.parametrize(
    ("match", "is_meant"),
    [
        (f"MACAddress={MAC}", True),
        (f"PermanentMACAddress=02:00:00:00:00:09 {MAC}", True),
        ("MACAddress=02:00:00:00:00:09", False),
        ("Name=eth*", True),
        ("Name=en* wl*", False),
        ("Name=!eth* en*", False),
        ("Name=!en*", True),
        ("Type=ether", True),
        ("Type=wlan", False),
        (f"MACAddress={MAC}\nType=ether", True),
        # Whether the NIC has this driver is not known.
        ("Driver=virtio_net", False),
        (f"MACAddress={MAC}\nKernelVersion=>=6", False),
        # systemd then takes every NIC.
        ("", True),
    ],
)
def test_a_file_is_for_a_nic_only_if_all_it_demands_is_certain(match: str, is_meant: bool) -> None:
    assert is_for(f"[Match]\n{match}\n\n[Network]\nDHCP=yes\n", "eth0", MAC) is is_meant


def test_an_empty_file_hides_others_and_is_for_no_nic() -> None:
    assert not is_for("", "eth0", MAC)
