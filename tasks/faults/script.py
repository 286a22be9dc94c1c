"""The scripts that plant a fault in a guest and undo it: nothing is left behind that was not there."""

from __future__ import annotations

from labrun.tasks.faults.model import Fault, FaultSite
from labrun.tasks.guest.scripts import assigned, guest_script

__all__ = ["ABSENT", "DIFFERS", "FAILED", "PLANTED", "look_script", "mend_script", "plant_script"]

PLANTED, FAILED, ABSENT, DIFFERS = 64, 65, 66, 67
"""Exit statuses: one is planted already; could not be planted; none is; undone, and not as before."""
_STATUSES = {"planted": PLANTED, "failed": FAILED, "absent": ABSENT, "differs": DIFFERS}


# What the host is in, as far as faults touch it; without counters, lifetimes and what only grows.


def look_script() -> str:
    """Return the script that exits with :data:`PLANTED` where a fault is planted, else 0."""
    return f"{_state()}[ ! -e $d/fault.undo ] || exit $planted\n"


def plant_script(fault: Fault, spot: FaultSite) -> str:
    """Return the script that plants a fault, having kept in the guest how to undo it."""
    if fault.at == "source":
        devices = "nic=$(device $own_mac) || exit $failed\n"
    else:
        devices = "in=$(device $in_mac) && out=$(device $out_mac) || exit $failed\n"
    functions = f"undo() {{\nset -e\n{fault.undo}\n}}\nplant() {{\nset -e\n{fault.plant}\n}}\n"
    before = _state() + guest_script("fault_device") + assigned(spot.words)
    return before + devices + functions + guest_script("fault_plant")


def mend_script() -> str:
    """Return the script that undoes what is planted, and says in which lines the host is not as before."""
    return _state() + guest_script("fault_mend")


def _state() -> str:
    return assigned(_STATUSES) + guest_script("fault_state")
