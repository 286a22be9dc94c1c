"""`up` asks for what it would really do, and refuses options that contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.errors import UsageError
from labrun.inventory.model import Lab
from labrun.runner.cli.invocation import Invocation
from labrun.runner.commands.down import _chosen
from tests.unit.command_line import run_labrun
from tests.unit.small_labs import two_networks


def test_verify_and_no_wait_contradict_each_other(tmp_path: Path) -> None:
    done = run_labrun("up", "--verify", "--no-wait", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --verify and --no-wait cannot be combined\nhint: leave one of them out\n"


def test_hosts_to_remove_stand_in_the_order_of_the_file() -> None:
    lab: Lab = two_networks()
    names = list(lab.hosts)
    shuffled = [*reversed(names), "z-old", "a-old"]
    assert _chosen(Invocation("down"), shuffled, lab) == [*names, "a-old", "z-old"]
    assert _chosen(Invocation("down"), shuffled, None) == sorted(shuffled)
    assert _chosen(Invocation("down", hosts=names[0]), shuffled, lab) == names[:1]
    with pytest.raises(UsageError, match="no machine of this lab is called nobody"):
        _chosen(Invocation("down", hosts="nobody"), shuffled, None)
