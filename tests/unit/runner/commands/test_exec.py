"""`labrun exec` of a command that writes more than labrun keeps: its first part is shown, with advice."""

from __future__ import annotations

import pytest
from nornir.core import Nornir
from nornir.core.inventory import Host, Hosts, Inventory
from nornir.plugins.runners import SerialRunner

from labrun.outcome import Status
from labrun.ports import Completed
from labrun.runner.commands.exec import run_command
from labrun.tasks.guest.inside import OPENER
from labrun.tasks.provision.namespace import run_shell

MOST = 8 * 1024 * 1024


class Here:
    """The way into this machine's own shell."""

    def run(self, script: str, *, timeout: float, sudo: bool = False) -> Completed:
        """Run the script in a shell of this machine."""
        return run_shell(["/bin/sh", "-s"], script, timeout, "one")


@pytest.mark.parametrize(
    ("script", "stream"), [("yes 0123456", "its output"), ("yes 0123456 >&2", "its error output")]
)
def test_the_first_part_of_too_much_is_shown_with_its_size_and_advice(script: str, stream: str) -> None:
    host = Host("one", data={OPENER: Here})
    nornir = Nornir(inventory=Inventory(Hosts({"one": host})), runner=SerialRunner())
    row = nornir.run(run_command, script=script, timeout=60.0)["one"][0].result
    assert (row.status, row.name) == (Status.UNKNOWN, script)
    # Whole lines only.
    assert set(row.actual.split("\n")) == {"0123456"}
    assert len(row.actual) + 1 == MOST
    assert row.why == (
        "cut off: it wrote more than 8 MiB, and how it ended is unknown; here are the first"
        f" {MOST - 1} bytes of {stream}. Let it write to a file there, or print less"
    )
