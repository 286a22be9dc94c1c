"""A worker process: shards come in on standard input, events go out, one line of JSON each.

It ends when its standard input does: the controller is gone, and a guest's guard undoes what nobody confirms.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Final, NoReturn

from labrun.runner.engine.shards.codec import from_line, to_line
from labrun.runner.engine.shards.messages import Shard
from labrun.runner.engine.shards.versions import own_versions
from labrun.runner.engine.shards.work import ShardWork

__all__ = ["ALIVE", "BEAT", "CANCEL", "END", "READY", "RUN", "WORKING", "main"]

RUN: Final = "run"
"""To the worker, with a shard."""
CANCEL: Final = "cancel"
"""To the worker, with whether changes in progress are abandoned."""
READY: Final = "ready"
"""From the worker, with its versions; it is the first."""
WORKING: Final = "event"
"""From the worker, with an event."""
ALIVE: Final = "alive"
"""From the worker, every :data:`BEAT` seconds: it is not stopped."""
BEAT: Final = 5.0
END: Final = "end"
"""From the worker, with the name of a shard that is over."""


class _Output:
    """Lines to the controller, from any thread. Without a controller there is nothing left to do."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._writing = threading.Lock()

    def send(self, kind: str, value: object) -> None:
        line = memoryview(to_line((kind, value)))
        with self._writing:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                os._exit(1)


def main() -> NoReturn:
    """Work until standard input ends."""
    # What anything prints must not come between the messages.
    output = _Output(os.dup(1))
    os.dup2(2, 1)
    # The logs of paramiko and Nornir say what the outcomes say better.
    logging.getLogger().addHandler(logging.NullHandler())
    work = ShardWork()
    output.send(READY, own_versions())
    threading.Thread(target=_beat, args=(output,), name="labrun-beat", daemon=True).start()
    for line in sys.stdin.buffer:
        kind, value = from_line(line)
        if kind == CANCEL:
            work.cancel(now=bool(value))
        elif kind == RUN and isinstance(value, Shard):
            threading.Thread(target=_run, args=(work, value, output), name=value.name, daemon=True).start()
    work.tidy()
    # Daemon threads may hang in a system call.
    os._exit(0)


def _beat(output: _Output) -> NoReturn:
    never = threading.Event()
    while True:
        never.wait(BEAT)
        output.send(ALIVE, None)


def _run(work: ShardWork, shard: Shard, output: _Output) -> None:
    work.run(shard, lambda event: output.send(WORKING, event))
    output.send(END, shard.name)


if __name__ == "__main__":
    main()
