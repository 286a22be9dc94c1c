"""labrun: one lab.yaml becomes a real Linux network lab, configured, verified and kept true.

``__all__`` is the Python API, described in docs/python.md; everything else may change in any version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labrun.errors import (
        HypervisorError,
        LabFileError,
        LabrunError,
        TransportError,
        UnreachableError,
        UsageError,
    )
    from labrun.outcome import Outcome, Status
    from labrun.ports import Completed
    from labrun.runner.api.functions import configure, down, drift, expectations, nornir, run, up, verify
    from labrun.runner.api.lab import Host, Lab, TimedOutError, load
    from labrun.runner.api.outcomes import Outcomes

__all__ = [
    "Completed",
    "Host",
    "HypervisorError",
    "Lab",
    "LabFileError",
    "LabrunError",
    "Outcome",
    "Outcomes",
    "Status",
    "TimedOutError",
    "TransportError",
    "UnreachableError",
    "UsageError",
    "__version__",
    "configure",
    "down",
    "drift",
    "expectations",
    "load",
    "nornir",
    "run",
    "up",
    "verify",
]

__version__ = "0.1.0"

_ERRORS = "HypervisorError LabFileError LabrunError TransportError UnreachableError UsageError"
_FUNCTIONS = "configure down drift expectations nornir run up verify"
_HOMES = {
    "labrun.errors": _ERRORS,
    "labrun.outcome": "Outcome Status",
    "labrun.ports": "Completed",
    "labrun.runner.api.functions": _FUNCTIONS,
    "labrun.runner.api.lab": "Host Lab TimedOutError load",
    "labrun.runner.api.outcomes": "Outcomes",
}


if not TYPE_CHECKING:
    # Type checkers would take every name for one that is there.

    def __getattr__(name: str) -> Any:
        """Import what a name stands for when it is first used: the command line imports labrun, too."""
        from importlib import import_module

        for home, names in _HOMES.items():
            if name in names.split():
                value = getattr(import_module(home), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
