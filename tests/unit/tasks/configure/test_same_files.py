"""What is the same on many hosts is parsed once: sshd's files, and the names of kernel parameters."""

from __future__ import annotations

import pytest

from labrun.bounded import SETTINGS_LINES
from labrun.errors import UnreadableError
from labrun.inventory.kernel_values import path_of
from labrun.tasks.configure.sshd_profiles import settings_in
from labrun.tasks.guest.facts import sysctl
from labrun.tasks.guest.facts.sysctl import Winner

TEXT = "# Why.\nPort 22\n\nMatch User git\n    X11Forwarding no\n"


def test_a_file_that_a_hundred_hosts_have_is_parsed_once() -> None:
    settings_in.cache_clear()
    found = {settings_in(TEXT[:]) for _host in range(100)}
    assert [(each.keyword, each.values, each.reason) for each in found.pop()] == [
        ("Port", ("22",), "Why."),
        ("Match", ("User git",), ""),
        ("X11Forwarding", ("no",), ""),
    ]
    assert settings_in.cache_info().misses == 1


def test_a_file_that_is_too_long_is_refused_each_time() -> None:
    for _host in range(2):
        with pytest.raises(UnreadableError):
            settings_in("Port 22\n" * (SETTINGS_LINES + 1))


def test_the_files_of_sysctl_are_put_in_order_once() -> None:
    sysctl._given.cache_clear()
    for _host in range(100):
        files = {"/etc/sysctl.d/9.conf": "a.b = 2\n"[:], "/usr/lib/sysctl.d/1.conf": "a.b = 1\na.c = 3\n"[:]}
        assert sysctl.winner("a/b", files) == Winner("2", "/etc/sysctl.d/9.conf")
        assert sysctl.winner("a/c", files) == Winner("3", "/usr/lib/sysctl.d/1.conf")
    assert sysctl._given.cache_info().misses == 1


def test_the_name_of_a_parameter_is_taken_apart_once() -> None:
    path_of.cache_clear()
    assert {path_of("net.ipv4.ip_forward") for _host in range(100)} == {"net/ipv4/ip_forward"}
    assert path_of.cache_info().misses == 1
