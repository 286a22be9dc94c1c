"""A client of `labrun mcp` on a real lab finds a fault, and corrects it through the guard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from tests.e2e.conftest import running_lab
from tests.labs import RunningLab

pytestmark = [pytest.mark.lxc, pytest.mark.full]

LAB = """\
name: mcp
hypervisor: lxc:///system
defaults: {image: debian-12}
networks:
  left: {cidr: 10.158.1.0/24}
  right: {cidr: 10.158.2.0/24}
hosts:
  gate: {role: router, networks: {left: 10.158.1.254, right: 10.158.2.254}}
  one: {networks: {left: 10.158.1.10}}
  two: {networks: {right: 10.158.2.10}}
"""


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    yield from running_lab(tmp_path_factory.mktemp("mcp"), LAB, "--configure")


async def answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def test_a_fault_is_found_explained_and_corrected(lab: RunningLab) -> None:
    lab.guest("gate", "sysctl -qw net.ipv4.ip_forward=0")
    python, *words = lab.arguments("mcp", "--allow-write")
    server = StdioServerParameters(command=python, args=words, env=lab.environment(), cwd=Path.cwd())

    async def main() -> None:
        async with Client(server) as client:
            status = await answer(client, "status")
            assert {host["name"]: host["state"] for host in status["hosts"]} == dict.fromkeys(
                ("gate", "one", "two"), "running"
            )
            found = await answer(client, "verify")
            assert found["exit_code"] == 1
            assert "gate: net.ipv4.ip_forward is 0" in {row["why"] for row in found["results"]}
            path = await answer(client, "explain_path", source="one", target="two")
            assert path["exit_code"] == 1
            # Nothing is changed where it would be more than was allowed.
            refused = await answer(client, "fix_drift", max_changes=0)
            assert lab.guest("gate", "sysctl -n net.ipv4.ip_forward").strip() == "0", refused
            fixed = await answer(client, "fix_drift")
            assert fixed["exit_code"] == 0, fixed
            again = await answer(client, "configure")
            assert (again["exit_code"], again["counts"].get("changed", 0)) == (0, 0)
            well = await answer(client, "verify")
            assert (well["exit_code"], well["results"]) == (0, [])

    with anyio.from_thread.start_blocking_portal() as portal:
        portal.call(main)
    assert lab.guest("gate", "sysctl -n net.ipv4.ip_forward").strip() == "1"
