"""Check which hypervisor URIs a file may use: libvirt URIs can even name programs to run on this machine.

The parameters (``?command=``, ``?keyfile=``, ``?no_verify=1``, ``?socket=``) and the transports ``ext``,
``unix`` and ``libssh`` are for the user on the command line, and not for a file that is passed around.
"""

from __future__ import annotations

import os
import re
from typing import Final

__all__ = ["PLAIN_URI", "VARIABLE", "asked_hypervisor", "is_plain"]

VARIABLE: Final = "LABRUN_HYPERVISOR"
"""The variable with the URI that overrides the file's. It may be any URI that libvirt accepts."""

# Neither part may begin with a dash, which ssh could take for an option, and %-escapes are not allowed.
_USER = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HOST = r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]"
PLAIN_URI: Final = (
    rf"(qemu|lxc)(\+(ssh|tls))?://(({_USER}@)?({_HOST})(:[0-9]{{1,5}})?)?/(system|session)|test:///default"
)
"""The pattern (for Python and ECMAScript) of a URI that gives a hypervisor's location and nothing else."""


def is_plain(uri: str) -> bool:
    """Return whether a URI only gives the location of a hypervisor."""
    return re.fullmatch(PLAIN_URI, uri) is not None


def asked_hypervisor() -> str | None:
    """Return the URI from ``LABRUN_HYPERVISOR``, None if it is not set."""
    return os.environ.get(VARIABLE) or None
