"""Why a domain is in its state, as libvirt says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["reason_of", "reason_text"]

_PAUSED, _SHUT_OFF, _CRASHED = "PAUSED", "SHUTOFF", "CRASHED"
_TEXTS: Mapping[tuple[str, str], str] = {
    (_PAUSED, "USER"): "paused by hand",
    (_PAUSED, "IOERROR"): "I/O error",
    (_PAUSED, "WATCHDOG"): "its watchdog fired",
    (_PAUSED, "CRASHED"): "its guest crashed",
    (_PAUSED, "API_ERROR"): "an operation of libvirt failed halfway",
    (_SHUT_OFF, "CRASHED"): "it crashed, or its process was killed",
    (_SHUT_OFF, "FAILED"): "it could not be started",
    (_SHUT_OFF, "SAVED"): "its state is saved, and it goes on from there",
    (_SHUT_OFF, "DAEMON"): "libvirt lost it when it restarted",
    (_CRASHED, "PANICKED"): "its guest panicked",
}


def reason_of(domain: Any) -> str:
    """Return why a domain does not run, empty if it runs or there is nothing to say. Raises libvirtError."""
    import libvirt

    state, reason = domain.state()
    is_stuck = (state, reason) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)
    return reason_text(state, reason, domain.diskErrors() if is_stuck else {})


def reason_text(state: int, reason: int, disks: Mapping[str, int]) -> str:
    """Return the text of libvirt's numbers; ``disks`` has the error number of each disk in trouble."""
    import libvirt

    for (of_state, of_reason), text in _TEXTS.items():
        known = (
            getattr(libvirt, f"VIR_DOMAIN_{of_state}"),
            getattr(libvirt, f"VIR_DOMAIN_{of_state}_{of_reason}", None),
        )
        if known == (state, reason):
            full = libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE
            named = [f"no space for {disk}" if error == full else disk for disk, error in disks.items()]
            return f"{text}: {', '.join(named)}" if named else text
    return ""
