"""The scripts that plant a fault in a guest and undo it without leaving traces."""

from __future__ import annotations

from labrun.tasks.faults.model import Fault, FaultSite
from labrun.tasks.guest.scripts import assigned, guest_script

__all__ = ["ABSENT", "DIFFERS", "FAILED", "PLANTED", "look_script", "mend_script", "plant_script"]

PLANTED, FAILED, ABSENT, DIFFERS = 64, 65, 66, 67
"""Exit statuses: a fault is already planted; planting failed; none is planted; undone with differences."""
_STATUSES = {"planted": PLANTED, "failed": FAILED, "absent": ABSENT, "differs": DIFFERS}


# The host's state as far as faults touch it, without counters, lifetimes and values that only grow.


def look_script() -> str:
    """Return the script that exits with :data:`PLANTED` if a fault is planted, else 0."""
    return f"{_state()}[ ! -e $d/fault.undo ] || exit $planted\n"


def plant_script(fault: Fault, spot: FaultSite) -> str:
    """Return the script that saves the undo steps in the guest and then plants a fault."""
    if fault.at == "source":
        devices = "nic=$(device $own_mac) || exit $failed\n"
    else:
        devices = "in=$(device $in_mac) && out=$(device $out_mac) || exit $failed\n"
    functions = f"undo() {{\nset -e\n{fault.undo}\n}}\nplant() {{\nset -e\n{fault.plant}\n}}\n"
    before = _state() + guest_script("fault_device") + assigned(spot.words)
    return before + devices + functions + guest_script("fault_plant")


def mend_script() -> str:
    """Return the script that undoes the planted fault and reports lines that differ from the state before."""
    return _state() + guest_script("fault_mend")


def _state() -> str:
    return assigned(_STATUSES) + guest_script("fault_state")
