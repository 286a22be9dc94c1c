"""Test modules run side by side on one libvirt: no two of them may use one subnet or one lab name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests import places
from tests.sharing import group_of

_SUBNET = re.compile(r"(?<![\d.])10\.\d+\.\d+(?=\.)")
_NAME = re.compile(r"""^name: ([a-z0-9-]+)$|^(?:LAB|NAME) = "([a-z0-9-]+)"$""", re.MULTILINE)
# Labs of machines of their own, or that are never made.
_ELSEWHERE = {"test_doctor.py", "test_hypervisor_script.py", "test_silent_hypervisor.py", "test_no_daemon.py"}
_ELSEWHERE |= {"test_newer_hypervisor.py", "test_remote_limits.py", "test_second_hypervisor.py"}
# Addresses that only guests have, and nobody routes to.
_INSIDE = {"10.0.0", "10.9.9", "10.77.0", "10.99.0"}


def _modules() -> Iterator[tuple[str, str]]:
    """Yield the text of each module, and the group in which it waits for others."""
    for folder in ("e2e", "libvirt"):
        for path in sorted(Path(places.ROOT, "tests", folder).glob("test_*.py")):
            if path.name not in _ELSEWHERE:
                yield group_of(f"tests/{folder}/{path.name}::test"), path.read_text(encoding="utf-8")


def test_no_two_modules_use_one_subnet() -> None:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for group, text in _modules():
        for subnet in {*_SUBNET.findall(text)} - _INSIDE:
            found[subnet].add(group)
    for path in Path(places.ROOT, "templates", "lab").glob("*.yaml"):
        for subnet in _SUBNET.findall(path.read_text(encoding="utf-8")):
            found[subnet].add("tests/e2e/test_init.py")
    assert len(found) > 150
    assert {subnet: who for subnet, who in found.items() if len(who) > 1} == {}


def test_no_two_modules_use_one_name() -> None:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for group, text in _modules():
        for match in _NAME.finditer(text):
            found[match[1] or match[2]].add(group)
    assert len(found) > 50
    assert {name: who for name, who in found.items() if len(who) > 1} == {}
