"""Which of labrun's rules in FORWARD come in time, read from the real iptables."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

OURS = '-d 10.9.1.2/32 -p tcp --dport 80 -m comment --comment "labrun/one/forward/n" -j ACCEPT'
OTHERS = '-d 10.9.7.2/32 -p tcp --dport 80 -m comment --comment "labrun/two/forward/n" -j ACCEPT'
READ = "from labrun.tasks.provision.forwards import _accepted; print(_accepted('labrun/one/forward/'))"
FOUND = "{'labrun/one/forward/n': ['10.9.1.2/tcp/80']}"


@pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces takes root")
@pytest.mark.skipif(shutil.which("iptables") is None, reason="iptables is not installed")
@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([], FOUND),
        ([OTHERS], FOUND),
        (["-m conntrack --ctstate ESTABLISHED -j ACCEPT", "-j LOG"], FOUND),
        (["-j REJECT"], "{}"),
        (["-j SITE"], "{}"),
        ([OTHERS, "-d 10.9.0.0/16 -j DROP"], "{}"),
    ],
)
def test_a_rule_is_late_only_after_one_that_may_refuse(before: list[str], expected: str) -> None:
    adding = "\n".join(f"iptables -w -A FORWARD {rule}" for rule in [*before, OURS])
    script = f'set -e\niptables -w -N SITE\n{adding}\nexec "$0" -c "$1"'
    command = ["unshare", "--net", "sh", "-c", script, sys.executable, READ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == (expected, 0), done.stderr
