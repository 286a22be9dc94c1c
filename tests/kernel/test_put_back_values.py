"""What the guard puts back of kernel parameters that follow others: those of a namespace, for real."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from labrun.tasks.configure.guard_script import spreading
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.state.item import Item

GUEST = Path(__file__).resolve().parents[2] / "templates" / "guest"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces takes root")

# Each parameter is written as `configure` does; the whole of the kernel's networking is looked at.
SCRIPT = """\
guard=$1/guard live=$1/live on=live
mkdir "$guard" "$live"
. "$2/snapshot.sh"
. "$2/compare.sh"
look() { grep -rs '' /proc/sys/net/ipv4 /proc/sys/net/ipv6 | grep -v /flush: | sort; }
for each in eth0 eth1; do
ip link add $each type veth peer name far-$each
ip link set far-$each up
ip link set $each up
done
eval "$5"
printf '%s\\n' $4 >"$guard/spread"
look >"$1/before"
kernel_now >"$guard/kernel"
read -r was <"/proc/sys/$3"
value=0; [ "$was" != 0 ] || value=1
echo $value >"/proc/sys/$3"
look >"$1/changed"
# The guard first writes what the section says, then what follows from it.
echo "$was" >"/proc/sys/$3"
kernel_put_back
look >"$1/after"
"""
OWN = "echo 1 >/proc/sys/net/ipv4/conf/eth0/forwarding; echo 1 >/proc/sys/net/ipv6/conf/eth1/forwarding"


@pytest.mark.parametrize("first", ["", OWN], ids=["alike", "of their own"])
@pytest.mark.parametrize(
    "key",
    [
        "net.ipv4.ip_forward",
        "net.ipv4.conf.all.forwarding",
        "net.ipv4.conf.default.forwarding",
        "net.ipv4.conf.all.rp_filter",
        "net.ipv4.conf.default.rp_filter",
        "net/ipv4/conf/default/accept_redirects",
        "net.ipv6.conf.all.forwarding",
        "net.ipv6.conf.all.disable_ipv6",
        "net.ipv6.conf.default.accept_ra",
        "net.ipv6.conf.all.accept_ra",
    ],
)
def test_what_follows_a_parameter_goes_back_with_it(tmp_path: Path, key: str, first: str) -> None:
    plan = SectionPlan("sysctl", (Item(key, {"": "1"}),))
    names = " ".join(spreading([plan]))
    assert names
    words = [str(tmp_path), str(GUEST), key.replace(".", "/"), names, first]
    subprocess.run(["unshare", "--net", "sh", "-c", SCRIPT, "sh", *words], timeout=60, check=True)
    before, changed, after = (
        (tmp_path / name).read_text().splitlines() for name in ("before", "changed", "after")
    )
    assert changed != before
    assert [line for line in after if line not in before] == []


@pytest.mark.parametrize("key", ["net.core.somaxconn", "net.ipv4.conf.eth0.rp_filter", "net.ipv4.tcp_sack"])
def test_what_nothing_follows_is_not_looked_after(key: str) -> None:
    assert not list(spreading([SectionPlan("sysctl", (Item(key, {"": "1"}),))]))
