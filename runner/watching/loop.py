"""`labrun drift --every`: repeated runs in the foreground, whatever their results."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable
from functools import partial

from labrun.errors import HypervisorError
from labrun.hypervisor import close_all
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import INTERRUPTED, Report
from labrun.runner.cli.terminal import is_reader_gone, say
from labrun.runner.verb import Terminated, perform
from labrun.runner.watching.cadence import Cadence

__all__ = ["fresh", "repeat"]

Run = Callable[[Invocation], Report]
_WRONG_USAGE = 2


def repeat(invocation: Invocation, run: Run, cadence: Cadence) -> Report:
    """Run at the cadence until SIGTERM (exit code 0) or Ctrl-C (130), and show each run's report.

    Also end when the reader of stdout has gone away, or if the first run fails because of the command line
    or the lab file; no other failure ends the loop. Runs never overlap: runs that are late because of
    another are skipped.
    """
    begun, number = time.monotonic(), 0
    try:
        while True:
            run_invocation = fresh(invocation)
            code = perform(run_invocation, partial(run, run_invocation), one_line=True)
            if code in (INTERRUPTED, Terminated.exit_code) or (code == _WRONG_USAGE and number == 0):
                break
            if is_reader_gone():
                code = 0
                break
            elapsed = time.monotonic() - begun
            following = cadence.after(number, elapsed)
            if missed := following - number - 1:
                runs = "a run is" if missed == 1 else f"{missed} runs are"
                say(f"{runs} skipped: the last one took {run_invocation.seconds:.0f} s")
            number = following
            threading.Event().wait(max(cadence.due(number) - (time.monotonic() - begun), 0.0))
    except KeyboardInterrupt as signal:
        code = getattr(signal, "exit_code", INTERRUPTED)
    return Report(is_shown=True, code=0 if code == Terminated.exit_code else code)


def fresh(invocation: Invocation) -> Invocation:
    """Return the invocation for another run, with new libvirt connections.

    libvirtd may have been restarted since: a dead connection is noticed only when it is used.
    """
    with contextlib.suppress(HypervisorError):
        close_all()
    # Short-lived processes leave their garbage to the exit; a loop has none.
    gc.collect()
    return invocation.again()
