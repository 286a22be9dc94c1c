"""Which hypervisors data may name: libvirt's URIs can say more than where, down to programs to run here.

A URI's parameters (``?command=``, ``?keyfile=``, ``?no_verify=1``, ``?socket=``) and the transports
``ext``, ``unix`` and ``libssh`` are for whoever types the command, and not for a file that is passed around.
"""

from __future__ import annotations

import os
import re
from typing import Final

__all__ = ["PLAIN_URI", "VARIABLE", "asked_hypervisor", "is_plain"]

VARIABLE: Final = "LABRUN_HYPERVISOR"
"""The variable with the URI that the user wants in place of the file's; any that libvirt takes."""

# Neither begins with a dash, which ssh could take for an option, and no character is spelled with %.
_USER = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HOST = r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]"
PLAIN_URI: Final = (
    rf"(qemu|lxc)(\+(ssh|tls))?://(({_USER}@)?({_HOST})(:[0-9]{{1,5}})?)?/(system|session)|test:///default"
)
"""The pattern (Python's and ECMAScript's) of a URI that says where a hypervisor is, and nothing else."""


def is_plain(uri: str) -> bool:
    """Tell whether a URI only says where a hypervisor is."""
    return re.fullmatch(PLAIN_URI, uri) is not None


def asked_hypervisor() -> str | None:
    """Return the URI that the user asks for by ``LABRUN_HYPERVISOR``, None where that is not set."""
    return os.environ.get(VARIABLE) or None
