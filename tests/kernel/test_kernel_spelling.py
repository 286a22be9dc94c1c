"""What is written to a parameter is read from it as the kernel writes numbers, for real."""

from __future__ import annotations

import os
import subprocess

import pytest

from labrun.inventory.kernel_spelling import as_kernel_writes

# In a new network namespace, whose parameters are nobody's.
WRITTEN = [
    ("net/core/somaxconn", "0x400"),
    ("net/core/somaxconn", "02000"),
    ("net/ipv4/icmp_ratemask", "0X1818"),
    ("net/ipv4/tcp_rmem", "0x1000  0400000 6291456"),
    ("net/ipv4/conf/all/log_martians", "01"),
    ("net/ipv4/conf/all/tag", "-0x1"),
    ("net/ipv4/ping_group_range", "00 0x7fffffff"),
    ("net/ipv4/ip_local_reserved_ports", "9003,8080,9000-9002,1,2,8080"),
    ("net/ipv4/ip_local_reserved_ports", ""),
    ("net/ipv4/tcp_congestion_control", "reno"),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces takes root")
@pytest.mark.parametrize(("path", "value"), WRITTEN)
def test_a_value_is_read_as_the_kernel_writes_it(path: str, value: str) -> None:
    script = 'printf "%s\\n" "$1" >"/proc/sys/$2" && cat "/proc/sys/$2"'
    command = ["unshare", "--net", "sh", "-c", script, "sh", value, path]
    read = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert as_kernel_writes(path, value).split() == read.split()
