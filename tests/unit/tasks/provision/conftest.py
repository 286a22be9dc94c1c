"""What several tests of provisioning need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[libvirt.virConnect]:
    """libvirt's test driver with nothing defined."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    path = tmp_path / "node.xml"
    path.write_text("<node/>", encoding="utf-8")
    handle = libvirt.open(f"test://{path}")
    yield handle
    handle.close()
