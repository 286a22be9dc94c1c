"""Keys that set one value of the kernel: written to one of them, it is read from the other, for real."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from labrun.inventory.kernel_values import path_of, same_value

PROC = Path("/proc/sys")
# In a new network namespace, whose parameters are nobody's; `lo` has its own of each neighbour parameter.
WRITTEN = [
    ("net.ipv4.conf.all.forwarding", "1", "net.ipv4.ip_forward"),
    ("net/ipv4/ip_forward", "1", "net.ipv4.conf.all.forwarding"),
    ("net.ipv4.neigh.lo.base_reachable_time", "7", "net.ipv4.neigh.lo.base_reachable_time_ms"),
    ("net.ipv6.neigh.lo.base_reachable_time", "7", "net.ipv6.neigh.lo.base_reachable_time_ms"),
    ("net.ipv4.neigh.lo.retrans_time", "300", "net.ipv4.neigh.lo.retrans_time_ms"),
    ("net.ipv6.route.gc_min_interval", "5", "net.ipv6.route.gc_min_interval_ms"),
]
READ = [
    ("net.nf_conntrack_max", "net.netfilter.nf_conntrack_max"),
    ("vm.nr_hugepages_mempolicy", "vm.nr_hugepages"),
    ("user.max_inotify_instances", "fs.inotify.max_user_instances"),
    ("user.max_inotify_watches", "fs.inotify.max_user_watches"),
    ("user.max_fanotify_groups", "fs.fanotify.max_user_groups"),
    ("user.max_fanotify_marks", "fs.fanotify.max_user_marks"),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces takes root")
@pytest.mark.parametrize(("key", "value", "other"), WRITTEN)
def test_what_is_written_to_one_key_is_read_from_the_other(key: str, value: str, other: str) -> None:
    script = 'echo "$1" >"/proc/sys/$2" && cat "/proc/sys/$3"'
    command = ["unshare", "--net", "sh", "-c", script, "sh", value, str(path_of(key)), str(path_of(other))]
    read = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    mine, theirs = same_value(key), same_value(other)
    assert mine is not None
    assert theirs is not None
    assert (mine.path, mine.of(value)) == (theirs.path, theirs.of(read))


@pytest.mark.parametrize(("key", "other"), READ)
def test_two_keys_show_one_value(key: str, other: str) -> None:
    mine, theirs = same_value(key), same_value(other)
    assert mine is not None
    assert theirs is not None
    assert mine.path == theirs.path
    files = [PROC / str(path_of(each)) for each in (key, other)]
    if not all(file.exists() for file in files):
        pytest.skip("this kernel does not have both")
    assert files[0].read_text() == files[1].read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces takes root")
@pytest.mark.parametrize("other", ["net.ipv4.conf.default.rp_filter", "net.ipv4.conf.lo.rp_filter"])
def test_default_and_one_nic_are_values_of_their_own(other: str) -> None:
    script = "echo 2 >/proc/sys/net/ipv4/conf/all/rp_filter && cat /proc/sys/net/ipv4/conf/*/rp_filter"
    command = ["unshare", "--net", "sh", "-c", script]
    read = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert read.split() == ["2", "0", "0"]
    assert same_value(other) != same_value("net.ipv4.conf.all.rp_filter")
