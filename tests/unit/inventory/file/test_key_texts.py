"""What editors show of each key: complete, valid, and what docs/lab-file-keys.md says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from labrun.inventory.file.jsonschema import json_schema
from labrun.inventory.file.key_reference import reference
from labrun.inventory.file.key_texts import PLACES, TEXTS
from tests import places

SCHEMA = json_schema()
MODELS: dict[str, Any] = {"LabFile": SCHEMA, **SCHEMA["$defs"]}
KEYS = [(name, key) for name, model in MODELS.items() for key in model.get("properties", {})]


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_every_key_has_a_meaning_and_an_example_that_is_valid(name: str, key: str) -> None:
    value = MODELS[name]["properties"][key]
    assert re.fullmatch(r".+\.", value["description"]), f"{name}.{key} has no text in key_texts.py"
    assert "  " not in value["description"]
    (example,) = value["examples"]
    jsonschema.Draft202012Validator({**value, "$defs": SCHEMA["$defs"]}).validate(example)


def test_there_is_no_text_of_a_key_that_does_not_exist() -> None:
    assert {(name, key) for name, texts in TEXTS.items() for key in texts} <= set(KEYS)
    assert set(PLACES) == set(TEXTS) == set(MODELS)


def test_the_schema_has_a_name_of_its_own_and_no_markup_of_the_code() -> None:
    assert SCHEMA["$id"] == "urn:labrun:lab-file"
    assert "``" not in json.dumps(SCHEMA)


def test_the_page_of_keys_is_made_from_the_models() -> None:
    page = (places.ROOT / "docs" / "lab-file-keys.md").read_text(encoding="utf-8")
    assert page == reference(), (
        "python -m labrun.inventory.file.key_reference > docs/lab-file-keys.md writes it anew"
    )


def patterns(schema: Any) -> Iterator[str]:
    """Yield every regular expression of a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        yield from schema.get("patternProperties", {})
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for part in parts:
        yield from patterns(part)


# A unit of an ECMA-262 pattern with the flag u: nothing may be escaped that has no need of it.
ESCAPE = r"\\(?:[\^$\\.*+?()\[\]{}|/]|[dDsSwWbBnrtfv]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
CLASS = rf"\[\^?(?:{ESCAPE}|\\-|[^\]\\])*\]"
UNIT = (
    rf"(?:{ESCAPE}|{CLASS}|\((?!\?)|\(\?(?:[:=!]|<[=!])|[)|.^$*+?]|\{{\d+(?:,\d*)?\}}|[^\\\[\](){{}}|*+?^$.])"
)


@pytest.mark.parametrize("pattern", sorted(set(patterns(SCHEMA))))
def test_every_pattern_is_one_of_ecma_262(pattern: str) -> None:
    assert re.fullmatch(f"(?:{UNIT})*", pattern)


@pytest.mark.parametrize("pattern", [r"a\"b", r"(?P<x>a)", r"a\Z", r"[a\"]", "(?i)a", "a{,3}"])
def test_a_pattern_of_python_alone_is_found(pattern: str) -> None:
    assert not re.fullmatch(f"(?:{UNIT})*", pattern)


PROGRAM = """
const Ajv = require('ajv/dist/2020').default;
const ajv = new Ajv({allErrors: true, strict: false, validateFormats: false});
const check = ajv.compile(require('./lab.schema.json'));
const files = JSON.parse(require('fs').readFileSync(0));
process.stdout.write(JSON.stringify(files.map(file => check(file) ? [] : check.errors)));
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ajv, yaml-language-server and the schema."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("node")
    packages = ["ajv@8", "yaml-language-server@1"]
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, *packages],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=300,
    )
    (folder / "lab.schema.json").write_text(json.dumps(SCHEMA))
    return folder


@pytest.mark.full
def test_ajv_takes_the_schema(node: Path) -> None:
    good = {"name": "demo", "hosts": {"web": {"memory": 512, "ssh": {"user": "CORP\\alice"}}}}
    bad = {"name": "demo", "hosts": {"web": {"memory": "much", "ssh": {"user": 'a"b'}}}}
    done = subprocess.run(
        ["node", "-e", PROGRAM],
        cwd=node,
        input=json.dumps([good, bad]),
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    none, errors = json.loads(done.stdout)
    assert none == []
    assert {error["instancePath"] for error in errors} == {"/hosts/web/memory", "/hosts/web/ssh/user"}


class Server:
    """A language server, spoken to over its standard streams."""

    def __init__(self, folder: Path) -> None:
        program = folder / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
        self.process = subprocess.Popen(
            ["node", program, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder
        )

    def send(self, method: str, params: Any, number: int | None = None) -> None:
        """Send a request, or a notification if there is no number."""
        self._write({"method": method, "params": params, **({} if number is None else {"id": number})})

    def answer(self, number: int) -> Any:
        """Return the result of a request; what the server asks meanwhile is answered with nothing."""
        while True:
            message = self._read()
            if "method" in message and "id" in message:
                items = message["params"].get("items", []) if isinstance(message["params"], dict) else []
                self._write({"id": message["id"], "result": [{} for _ in items] or None})
            elif message.get("id") == number:
                return message["result"]

    def _write(self, content: Any) -> None:
        assert self.process.stdin is not None
        data = json.dumps({"jsonrpc": "2.0", **content}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self.process.stdin.flush()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        length = 0
        while line := self.process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return json.loads(self.process.stdout.read(length))


@pytest.mark.full
@pytest.mark.timeout(120)
def test_hovering_over_a_key_explains_it(node: Path) -> None:
    text = (
        "# yaml-language-server: $schema=./lab.schema.json\n"
        "name: demo\n"
        "networks: {net1: {mode: nat, cidr: 10.1.0.0/24}}\n"
        "hosts:\n  web:\n    memory: 512\n    networks: {net1: {ipv4: dhcp, mac: '02:00:00:00:00:01'}}\n"
    )
    uri = (node / "lab.yaml").as_uri()
    server = Server(node)
    try:
        server.send("initialize", {"processId": None, "rootUri": node.as_uri(), "capabilities": {}}, 1)
        assert server.answer(1)["capabilities"]["hoverProvider"]
        server.send("initialized", {})
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        server.send("textDocument/didOpen", {"textDocument": document})
        lines = text.splitlines()
        for number, key in enumerate(("memory", "mode", "cidr", "mac", "hosts"), 2):
            line = next(at for at, each in enumerate(lines) if f"{key}:" in each)
            position = {"line": line, "character": lines[line].index(f"{key}:") + 1}
            server.send("textDocument/hover", {"textDocument": {"uri": uri}, "position": position}, number)
            shown = server.answer(number)["contents"]["value"]
            texts = {**TEXTS["LabFile"], **TEXTS["NetworkModel"], **TEXTS["NicModel"], **TEXTS["Settings"]}
            plain = texts[key][0].replace("`", "")
            assert plain in re.sub(r"[\\`]", "", shown)
    finally:
        server.process.terminate()
        server.process.communicate()
