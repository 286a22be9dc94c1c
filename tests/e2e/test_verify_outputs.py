"""A real verify as JUnit, job summary, matrix, drawing and page: healthy, broken, and gone with the lab."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import xmlschema

from tests import places
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

SCHEMA = places.RECORDED / "junit" / "junit.xsd"
LAB = """\
name: w4-k-outputs
hypervisor: lxc:///system
networks:
  left: {mode: isolated, cidr: 10.201.0.0/24}
  right: {mode: isolated, cidr: 10.201.1.0/24}
hosts:
  r: {role: router, networks: {left: 10.201.0.254, right: 10.201.1.254}}
  a: {networks: {left: 10.201.0.10}}
  b: {networks: {right: 10.201.1.10}}
"""
HEALTHY = "from \\ to  1  2  3\n1 r           1  1\n2 a        1     2\n3 b        1  2\n"
BROKEN = "from \\ to  1  2  3\n1 r           1  1\n2 a        1     x\n3 b        1  x\n"


def test_one_verify_and_everything_that_shows_it(
    make_lab: Callable[[str], RunningLab], tmp_path: Path
) -> None:
    lab = make_lab(LAB)
    up = lab.json("up", "--configure")
    assert up.exit_code == 0, up.trouble()
    assert "no verify yet" in lab.run("graph").stdout

    junit, summary = tmp_path / "junit.xml", tmp_path / "summary.md"
    lab.env["GITHUB_STEP_SUMMARY"] = str(summary)
    outputs = ("--junit", str(junit), "--markdown", str(summary), "--matrix")
    healthy = lab.run("verify", *outputs)
    assert healthy.exit_code == 0, healthy.stdout + healthy.stderr
    assert HEALTHY in healthy.stdout
    assert _counted(junit)[1:] == (0, 0)
    drawn = lab.run("graph").stdout
    assert ("host, ok" in drawn, "router, ok" in drawn, "failed" in drawn) == (True, True, False)

    lab.guest("r", "sysctl -w net.ipv4.ip_forward=0")
    broken = lab.run("verify", *outputs)
    assert broken.exit_code == 1
    assert BROKEN in broken.stdout
    assert _counted(junit)[1:] == (3, 0)
    text = summary.read_text(encoding="utf-8")
    head = "## labrun verify: w4-k-outputs: "
    assert text.index(f"{head}ok") < text.index(f"{head}not ok")
    drawn = lab.run("graph").stdout
    assert ("host, impaired" in drawn, "router, failed" in drawn) == (True, True)

    page = tmp_path / "page.html"
    assert lab.run("report", "--html", str(page)).exit_code == 0
    assert "r: net.ipv4.ip_forward is 0" in page.read_text(encoding="utf-8")

    assert lab.run("-y", "down").exit_code == 0
    assert "no verify yet" in lab.run("graph").stdout


def _counted(path: Path) -> tuple[int, int, int]:
    """Return tests, failures and errors of a file that the schema accepts."""
    xmlschema.XMLSchema(str(SCHEMA)).validate(str(path))
    suites = ET.parse(path).getroot().findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["r", "a", "b"]
    counts = [sum(int(suite.get(kind, "")) for suite in suites) for kind in ("tests", "failures", "errors")]
    return counts[0], counts[1], counts[2]
