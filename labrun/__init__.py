"""labrun: one lab.yaml becomes a real Linux network lab, configured, verified and kept true."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
