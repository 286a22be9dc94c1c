"""Keys of kernel parameters: their paths, and what several of them set."""

from __future__ import annotations

import pytest

from labrun.inventory.kernel_values import path_of, same_value, value_of


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/../../etc/passwd", None),
        ("net...ipv4", None),
        (".hidden", None),
        ("net.ipv4.a b", None),
        ("net.ipv4.$(reboot)", None),
        ("nodots", None),
        ("", None),
    ],
)
def test_a_key_is_a_path_below_proc_sys_or_nothing(key: str, path: str | None) -> None:
    assert path_of(key) == path


@pytest.mark.parametrize("key", ["forward", "a..b", "net/../x"])
def test_an_impossible_key_sets_nothing(key: str) -> None:
    assert same_value(key) is None


def test_a_value_is_found_in_every_spelling() -> None:
    assert value_of({"net/ipv4/ip_forward": "0"}, "net.ipv4.ip_forward") == "0"
    assert value_of({"net.ipv4.conf.all.forwarding": "0"}, "net.ipv4.ip_forward") is None
