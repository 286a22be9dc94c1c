"""The scripts that plant a fault in a guest and undo it without leaving traces."""

from __future__ import annotations

from labrun.tasks.faults.model import Fault, FaultSite
from labrun.tasks.guest.scripts import assigned, function, guest_script

__all__ = ["ABSENT", "DIFFERS", "FAILED", "PLANTED", "SOLVED", "look_script", "mend_script", "plant_script"]

PLANTED, FAILED, ABSENT, DIFFERS, SOLVED = 64, 65, 66, 67, 68
"""Exit statuses: a fault is already planted; planting failed; none is planted; undone with differences;
undone by hand before."""
_STATUSES = {"planted": PLANTED, "failed": FAILED, "absent": ABSENT, "differs": DIFFERS, "solved": SOLVED}


def look_script() -> str:
    """Return the script that exits with :data:`PLANTED` if a fault is planted, else 0."""
    return f"{_state()}[ ! -e $d/fault.undo ] || exit $planted\n"


def plant_script(fault: Fault, site: FaultSite) -> str:
    """Return the script that saves the undo steps in the guest and then plants a fault."""
    if fault.at == "source":
        devices = "nic=$(device $own_mac) || exit $failed\n"
    else:
        devices = "in=$(device $in_mac) && out=$(device $out_mac) || exit $failed\n"
    functions = function("undo", f"set -e\n{fault.undo}") + function("plant", f"set -e\n{fault.plant}")
    before = _state() + guest_script("fault_device") + guest_script("fault_commands") + assigned(site.words)
    return before + devices + functions + guest_script("fault_plant")


def mend_script() -> str:
    """Return the script that undoes the planted fault and reports lines that differ from the state before.

    It exits with :data:`SOLVED` if somebody had brought the host back to just that state.
    """
    return _state() + guest_script("fault_mend")


def _state() -> str:
    return assigned(_STATUSES) + guest_script("fault_state")
