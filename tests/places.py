"""Where the repository's own files are, for tests that read them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
GUEST_SHELL = ROOT / "templates" / "guest"
RECORDED = ROOT / "tests" / "unit" / "cases"
"""Recorded gathers, libvirt's XML, wrong lab files."""
