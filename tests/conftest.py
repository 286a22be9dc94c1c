"""What holds for every test."""

from __future__ import annotations

import signal

# Whoever runs the tests in the background of a shell has SIGINT ignored, and so would have every command
# that they start: none of them would ever hear of Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
