"""What libvirt says about why a domain does not run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from labrun.tasks.provision.state_reasons import reason_of, reason_text


@pytest.fixture
def domain(tmp_path: Path) -> Iterator[libvirt.virDomain]:
    path = tmp_path / "node.xml"
    path.write_text(
        "<node><domain type='test'><name>one</name><memory>65536</memory>"
        "<os><type>hvm</type></os></domain></node>",
        encoding="utf-8",
    )
    connection = libvirt.open(f"test://{path}")
    yield connection.lookupByName("one")
    connection.close()


def test_the_reason_comes_from_libvirt(domain: libvirt.virDomain, tmp_path: Path) -> None:
    assert reason_of(domain) == ""
    domain.suspend()
    assert reason_of(domain) == "paused by hand"
    domain.resume()
    domain.coreDump(str(tmp_path / "core"), libvirt.VIR_DUMP_CRASH)
    assert reason_of(domain) == "it crashed, or its process was killed"
    domain.create()
    domain.destroy()
    assert reason_of(domain) == ""


def test_a_disk_in_trouble_is_named() -> None:
    stuck = libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR
    full, other = libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE, libvirt.VIR_DOMAIN_DISK_ERROR_UNSPEC
    assert reason_text(*stuck, {"vda": full}) == "I/O error: no space for vda"
    assert reason_text(*stuck, {"vda": full, "vdb": other}) == "I/O error: no space for vda, vdb"
    assert reason_text(*stuck, {}) == "I/O error"
