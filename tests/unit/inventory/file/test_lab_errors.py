"""Every kind of bad lab file, by the exact text that a person reads."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import yaml

from labrun.errors import LabFileError, UsageError
from labrun.inventory.file import yaml_tree as tree
from labrun.inventory.file.load import load_lab
from labrun.inventory.file.source import find_lab_file
from tests import places

CASES = sorted((places.RECORDED / "lab_errors").glob("*.yaml"))


DOTTED = {"::ffff:0:0/96": "::ffff:0.0.0.0/96", "::ffff:a66:100/120": "::ffff:10.102.1.0/120"}


def refusal(path: str, data: bytes | None = None) -> str:
    """Return what is said of a file of the current directory, written first where data is given."""
    if data is not None:
        Path(path).write_bytes(data)
    with pytest.raises(LabFileError) as caught:
        load_lab(path)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.fixture(autouse=True)
def _in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.stem))
def test_case(case: Path) -> None:
    expected = case.with_suffix(".txt").read_text(encoding="utf-8")
    if sys.version_info >= (3, 13):  # which writes IPv4 in IPv6 with dots
        for before, now in DOTTED.items():
            expected = expected.replace(before, now)
    assert refusal("lab.yaml", case.read_bytes()) + "\n" == expected


def test_every_case_has_its_text() -> None:
    texts = {text.stem for text in CASES[0].parent.glob("*.txt")}
    assert texts == {case.stem for case in CASES}
    assert len(texts) >= 30


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"name: d\xe9mo\n", "lab.yaml:1: the file is not UTF-8 (byte 0xe9) (save it as UTF-8)"),
        (b"name: demo\nhosts: \xff\n", "lab.yaml:2: the file is not UTF-8 (byte 0xff) (save it as UTF-8)"),
        ("name: demo\n".encode("utf-16"), "lab.yaml:1: the file is not UTF-8 (byte 0xff) (save it as UTF-8)"),
        (b"name: demo\n\x00\n", "lab.yaml:2: the control character U+0000 is not allowed"),
        (b"name: \x1b[31mdemo\n", "lab.yaml:1: the control character U+001B is not allowed"),
        (
            b"#" * (1024 * 1024 + 1),
            "lab.yaml: the file is larger than 1 MiB (a lab file describes a lab, it is not for data)",
        ),
        (b"\xef\xbb\xbf", "lab.yaml:1: the file is empty (a lab file begins with name:)"),
    ],
    ids=["latin-1", "second line", "utf-16", "nul", "escape", "huge", "only a byte order mark"],
)
def test_bytes_that_are_no_lab_file(data: bytes, expected: str) -> None:
    assert refusal("lab.yaml", data) == expected


def test_a_number_of_many_digits_is_no_number() -> None:
    text = f"name: demo\nhosts: {{a: {{memory: {'9' * 500_000}, address: 192.0.2.1}}}}\n"
    shown = "9" * 59 + "…"
    assert refusal("lab.yaml", text.encode()) == (
        f'lab.yaml:2: hosts.a.memory: expected a whole number, got "{shown}" (MiB as a number, such as 512)'
    )


def test_an_alias_chain_deeper_than_any_stack() -> None:
    links = "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 5000))
    assert refusal("lab.yaml", f"a0: &a0 [x]\n{links}".encode()) == (
        "lab.yaml:39: a38[0]: values are nested more than 40 levels deep"
    )


def test_a_directory() -> None:
    Path("labs").mkdir()
    assert refusal("labs") == "labs: this is a directory, not a lab file (--lab labs/lab.yaml)"


def test_no_file() -> None:
    assert refusal("lab.yaml") == "lab.yaml: there is no such file"


def test_a_name_that_no_file_can_have() -> None:
    assert refusal("lab\0.yaml") == "lab\0.yaml: the file cannot be read: the name has a null byte"


def test_standard_input_is_named_as_such() -> None:
    with pytest.raises(LabFileError) as caught:
        load_lab("-", stdin=io.StringIO("name: demo\n"))
    assert str(caught.value) == "<stdin>:1: hosts: this key is missing"


def test_standard_input_may_be_bytes() -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"name: \xff\n"), encoding="utf-8")
    with pytest.raises(LabFileError) as caught:
        load_lab("-", stdin=stdin)
    assert str(caught.value) == "<stdin>:1: the file is not UTF-8 (byte 0xff) (save it as UTF-8)"


def test_the_file_of_the_nearest_parent_is_found(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("name: demo\n")
    below = tmp_path / "one" / "two"
    below.mkdir(parents=True)
    assert find_lab_file(below) == (tmp_path / "lab.yaml").resolve()
    (below.parent / "lab.yaml").mkdir()
    assert find_lab_file(below) == (tmp_path / "lab.yaml").resolve()


def test_no_file_above() -> None:
    with pytest.raises(UsageError) as caught:
        find_lab_file(Path("/"))
    assert str(caught.value) == "no lab.yaml in / or above (name one with --lab FILE)"


def test_many_wrong_names_are_answered_soon() -> None:
    hosts = "".join(f"  host{n:04}: {{networks: {{netwrok{n:04}: dhcp}}}}\n" for n in range(1000))
    nets = "".join(f"  network{n:04}: {{mode: very-isolated}}\n" for n in range(1000))
    said = refusal("lab.yaml", f"name: demo\nnetworks:\n{nets}hosts:\n{hosts}".encode())
    assert len(said.splitlines()) == 1000


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.stem.startswith("yaml")], ids=lambda case: str(case.stem)
)
def test_the_text_is_the_same_without_libyaml(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_LOADER", yaml.SafeLoader)
    assert refusal("lab.yaml", case.read_bytes()) + "\n" == case.with_suffix(".txt").read_text(
        encoding="utf-8"
    )
