"""Packages whose ``__init__`` imports much that labrun rarely needs: it runs when a name of it is asked for.

Submodules are imported as ever: ``import nornir.core`` finds them without running ``nornir/__init__.py``.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

__all__ = ["defer", "defer_metadata"]

_METADATA = "importlib.metadata"
_PLAIN = re.compile(r"[A-Za-z0-9_]+")
_running = threading.RLock()


def defer(name: str) -> None:
    """Let the package's ``__init__`` wait until a name that it defines is asked for.

    Nothing happens if it is imported already, missing, or no package of Python files.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    if spec is None or spec.loader is None or spec.origin is None or spec.submodule_search_locations is None:
        return
    package = module_from_spec(spec)
    package.__class__ = _Deferred
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)


def defer_metadata() -> None:
    """Defer ``importlib.metadata``, though packages such as paramiko ask it for their version at once.

    That alone has an answer without it.
    """
    defer(_METADATA)
    metadata = sys.modules[_METADATA]
    if type(metadata) is _Deferred:
        vars(metadata)["version"] = _version


def _version(distribution: str) -> str:
    """Return the installed version by the name of its folder, else as ``importlib.metadata`` does."""
    if _PLAIN.fullmatch(distribution):
        for place in sys.path:
            try:
                with os.scandir(place or ".") as entries:
                    names = [entry.name for entry in entries]
            except OSError:
                continue
            for name in names:
                if name.startswith(f"{distribution}-") and name.endswith(".dist-info"):
                    return name[len(distribution) + 1 : -len(".dist-info")]
    metadata = sys.modules[_METADATA]
    if vars(metadata).get("version") is _version:
        # Now its own one is asked for, and runs its code.
        del vars(metadata)["version"]
    found: str = metadata.version(distribution)
    return found


class _Deferred(ModuleType):
    __spec__: ModuleSpec

    def __getattr__(self, name: str) -> Any:
        """Run the package's ``__init__`` first; Python only asks for names that the package lacks."""
        with _running:
            if type(self) is _Deferred and not vars(self).get("_began"):
                vars(self)["_began"] = True
                loader = self.__spec__.loader
                assert loader is not None
                try:
                    loader.exec_module(self)
                finally:
                    # Not earlier: other threads wait here for the names that are still missing.
                    self.__class__ = ModuleType  # type: ignore[assignment]
                    del vars(self)["_began"]
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None
