"""Whether this machine's kernel knows 802.1Q: containers have no other kernel for the VLANs in them."""

from __future__ import annotations

import subprocess
from functools import lru_cache

__all__ = ["without_vlans"]

_SECONDS = 20
# A namespace of its own is gone with the process, and so is what was made in it.
_NAMESPACE = ("unshare", "--net", "sh", "-c")
_PAIR = "ip link add labrun0 type veth peer name labrun1"
_VLAN = "ip link add link labrun0 name labrun2 type vlan id 1"


@lru_cache(maxsize=1)
def without_vlans() -> bool:
    """Tell whether a VLAN device was tried and the kernel has none; False if that cannot be tried."""
    return _works(_PAIR) and not _works(f"{_PAIR} && {_VLAN}")


def _works(script: str) -> bool:
    try:
        done = subprocess.run((*_NAMESPACE, script), capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
