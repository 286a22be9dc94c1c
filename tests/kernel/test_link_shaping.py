"""The quality of a link at the ends there are: a container's veth, and a VM's tap as libvirt makes it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.kernel.test_put_back import pytestmark

__all__ = ["pytestmark"]

# libvirt gives a VM's tap this qdisc.
ENDS = {
    "veth": "ip link add end type veth peer name far",
    "tap": "ip tuntap add dev end mode tap && tc qdisc replace dev end root noqueue",
}
TRY = """\
import json, subprocess
from labrun.tasks.provision.link_quality import NOTHING, Quality
from labrun.tasks.provision.link_shaping import Shaped, read_links, set_link
from labrun.tasks.provision.nic_ends import NicEnd

def there():
    return read_links().get("end", Shaped())

nic, slow = NicEnd("h", "n", "02:00:00:00:00:01", "end"), Quality(rate=2_000_000)
found = {"before": there().foreign, "kinds": []}
for wanted in (slow, slow, Quality(rate=1_000_000), NOTHING, NOTHING):
    changed = set_link(nic, wanted, there())
    listed = json.loads(subprocess.check_output(["tc", "-j", "qdisc", "show", "dev", "end"]))
    roots = [each["kind"] for each in listed if each.get("root")]
    found["kinds"].append([changed, *roots, str(there().quality), there().foreign])
subprocess.check_call(["tc", "qdisc", "replace", "dev", "end", "root", "pfifo"])
found["theirs"] = there().foreign
print(json.dumps(found))
"""


@pytest.mark.parametrize("end", ENDS)
def test_a_rate_comes_and_goes_and_leaves_what_was_there(end: str) -> None:
    script = f'ip link set lo up && {ENDS[end]} && ip link set end up && exec "$@"'
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script, "sh", sys.executable, "-c", TRY],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "before": "",
        "kinds": [
            [True, "tbf", "rate 2mbit", ""],
            [False, "tbf", "rate 2mbit", ""],
            [True, "tbf", "rate 1mbit", ""],
            [True, "noqueue", "none", ""],
            [False, "noqueue", "none", ""],
        ],
        "theirs": "pfifo",
    }
