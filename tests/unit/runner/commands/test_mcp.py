"""The lab for clients of the Model Context Protocol, asked by the SDK's own client over real pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from labrun.errors import LabrunError
from labrun.runner.cli.invocation import Invocation
from labrun.runner.commands.mcp.calls import in_short, words_of
from labrun.runner.commands.mcp.server import READS, WRITES
from tests import places
from tests.unit.command_line import run_labrun

if TYPE_CHECKING:
    from mcp.client.client import Client

EXISTING = "name: fleet\nhosts:\n  web: {address: 127.0.0.1, ssh: {user: nobody, port: 1}}\n"
Use = Callable[["Client"], Awaitable[Any]]


def with_client(folder: Path, use: Use, *options: str, lab: str = EXISTING) -> Any:
    """Return what ``use`` does with a client of a `labrun mcp` that runs in a folder with this lab."""
    # Every worker imports this file: half a second of it would be the SDK's.
    from mcp.client.client import Client
    from mcp.client.stdio import StdioServerParameters

    (folder / "lab.yaml").write_text(lab, encoding="utf-8")
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "labrun", "mcp", *options],
        cwd=folder,
        env={"HOME": str(folder), "PATH": os.environ["PATH"]},
    )

    async def main() -> Any:
        async with Client(server) as client:
            return await use(client)

    with anyio.from_thread.start_blocking_portal() as portal:
        return portal.call(main)


async def answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the document that a tool answers with."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    """Return why a tool refuses."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return str(getattr(result.content[0], "text", ""))


def test_without_leave_every_tool_only_reads(tmp_path: Path) -> None:
    async def use(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == list(READS)
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
        assert all(tool.description for tool in tools)
        for tool in WRITES:
            assert await refusal(client, tool) == f"Unknown tool: {tool}"

    with_client(tmp_path, use)


def test_with_leave_some_change_and_none_removes(tmp_path: Path) -> None:
    async def use(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == [*READS, *WRITES]
        for name in WRITES:
            annotations = tools[name].annotations
            assert annotations is not None
            assert (annotations.read_only_hint, annotations.destructive_hint) == (False, False)
            # No option that could remove a machine or take the guard away.
            properties = set(tools[name].input_schema["properties"])
            assert properties <= {"hosts", "configure", "dry_run", "max_changes"}

    with_client(tmp_path, use, "--allow-write")


def test_a_path_is_explained_from_the_file_alone(tmp_path: Path) -> None:
    lab = (places.EXAMPLES / "kvm-network-lab.yaml").read_text(encoding="utf-8")

    async def use(client: Client) -> None:
        found = await answer(client, "explain_path", source="host01", target="host03", observed=False)
        (pair,) = found["pair"]
        assert pair["expected"] == "172.16.0.254 172.17.0.11"
        assert [step["node"] for step in pair["there"]] == ["host01", "host00", "host03"]
        nobody = await answer(client, "explain_path", source="host01", target="nobody", observed=False)
        assert (nobody["ok"], nobody["exit_code"]) == (False, 2)
        assert "nobody" in nobody["error"]

    with_client(tmp_path, use, lab=lab)


def test_a_host_that_does_not_answer_is_a_result_and_is_remembered(tmp_path: Path) -> None:
    async def use(client: Client) -> None:
        found = await answer(client, "verify")
        assert (found["ok"], found["exit_code"], found["lab"]) == (False, 4, "fleet")
        assert found["counts"] == {"unreachable": len(found["results"])}
        assert {row["host"] for row in found["results"]} == {"web"}
        runs = await answer(client, "history", limit=5)
        assert [run["command"] for run in runs["runs"]] == ["verify"]
        shown = await answer(client, "show_run", run="last")
        assert (shown["run"], shown["results"]) == (found["run"], found["results"])

    with_client(tmp_path, use)


def test_configure_answers_with_what_it_found(tmp_path: Path) -> None:
    async def use(client: Client) -> None:
        for arguments in ({"dry_run": True}, {"hosts": "web"}):
            found = await answer(client, "configure", **arguments)
            assert (found["command"], found["exit_code"]) == ("configure", 4)

    with_client(tmp_path, use, "--allow-write")


def test_a_lab_file_that_is_wrong_is_an_answer_with_its_lines(tmp_path: Path) -> None:
    async def use(client: Client) -> None:
        found = await answer(client, "plan")
        assert found["exit_code"] == 2
        assert [(problem["line"], problem["path"]) for problem in found["problems"]] == [(3, "hosts.web.ram")]

    with_client(tmp_path, use, lab=f"{EXISTING.rstrip()[:-1]}, ram: 5}}\n")


NO_NAMES = [
    ("show_run", {"run": "--evidence"}),
    ("verify", {"hosts": "web, --help"}),
    ("verify", {"hosts": "web;id"}),
    ("explain_path", {"source": "web:x", "target": "web"}),
]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [NO_NAMES[0], *(pytest.param(*case, marks=pytest.mark.full) for case in NO_NAMES[1:])],
)
def test_no_argument_can_be_an_option(tmp_path: Path, tool: str, arguments: dict[str, str]) -> None:
    async def use(client: Client) -> None:
        text = await refusal(client, tool, **arguments)
        assert text.endswith(" is no name")
        for each in (await client.list_tools()).tools:
            assert each.description
            assert "\n  " not in each.description, each.name

    with_client(tmp_path, use)


def test_standard_output_is_the_protocol_s_alone(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(EXISTING, encoding="utf-8")
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    command = [sys.executable, "-m", "labrun", "-v", "mcp"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for message in messages:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(timeout=60) == 0
    assert [line["id"] for line in lines] == [1, 2]
    assert lines[0]["result"]["serverInfo"]["name"] == "labrun"


def test_a_client_that_goes_while_a_tool_works_is_no_fault_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(EXISTING, encoding="utf-8")
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    with subprocess.Popen(
        [sys.executable, "-m", "labrun", "mcp"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        first = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        process.stdin.write(json.dumps(first) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.stdout.close()
        asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        process.stdin.write(f"{json.dumps(ready)}\n{json.dumps(asked)}\n")
        process.stdin.close()
        told = process.stderr.read()
        assert (process.wait(timeout=120), told) == (0, "")


def test_the_lab_file_is_not_read_from_the_protocol(tmp_path: Path) -> None:
    done = run_labrun("--lab", "-", "mcp", cwd=tmp_path, stdin=EXISTING)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: mcp needs standard input for itself\nhint: name a lab file with --lab FILE\n"
    )


def test_each_call_has_the_server_s_own_options() -> None:
    invocation = Invocation(
        "mcp", lab="x.yaml", state_dir=Path("s"), timeout=5.0, allow_outside=True, fork="trial"
    )
    assert words_of(invocation) == [
        *("--lab=x.yaml", "--state-dir=s", "--fork=trial", "--timeout=5.0", "--allow-outside")
    ]
    assert words_of(Invocation("mcp")) == []


def test_a_long_answer_is_cut_off_and_says_so() -> None:
    rows = [{"status": "failed"}] * 250 + [{"status": "ok"}] * 50
    short = in_short({"ok": False, "results": rows}, all_rows=False)
    assert (len(short["results"]), short["left_out"]) == (200, 50)
    assert short["counts"] == {"failed": 250, "ok": 50}
    assert "left_out" not in in_short({"results": rows[:200]}, all_rows=True)


def test_what_is_no_document_is_an_error() -> None:
    from labrun.runner.commands.mcp.calls import _document

    with pytest.raises(LabrunError, match=r"^labrun verify printed no document: Killed$"):
        _document(["verify"], b"", b"Killed\n")
