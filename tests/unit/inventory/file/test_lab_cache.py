"""Labs that were read before: the same as from their file, and never anybody else's word for it."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import pytest

from labrun.errors import LabFileError
from labrun.inventory.file.lab_cache import KEPT, cache_directory, remembered_lab
from labrun.inventory.file.load import load_lab
from tests import places

EXAMPLES = sorted((places.EXAMPLES).glob("*.yaml"))
LAB = """\
name: demo
networks: {n1: {cidr: 10.0.1.0/24}}
hosts: {a: {networks: {n1: 10.0.1.10}}}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "labrun" / "labs"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.yaml"
    path.write_text(LAB)
    return path


def kept(cache: Path) -> list[Path]:
    return sorted(cache.glob("*")) if cache.exists() else []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_lab_is_the_same_from_memory(path: Path, cache: Path) -> None:
    first, second = remembered_lab(path), remembered_lab(path)
    assert first == second == load_lab(path)
    assert first is not second
    assert isinstance(second.hosts, MappingProxyType)
    assert list(second.hosts) == list(first.hosts)
    has_files = any(host.files for host in first.hosts.values())
    assert len(kept(cache)) == (0 if has_files else 1)


def test_what_is_remembered_needs_no_parser(file: Path) -> None:
    script = (
        "import sys; from labrun.inventory.file.lab_cache import remembered_lab as read; read(sys.argv[1]);"
        "print([name for name in ('pydantic', 'yaml') if name in sys.modules])"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert said == ["['pydantic', 'yaml']\n", "[]\n"]


def test_another_text_or_place_is_read_anew(file: Path, tmp_path: Path, cache: Path) -> None:
    assert remembered_lab(file).hosts["a"].interfaces[0].ipv4 is not None
    file.write_text(LAB.replace("10.0.1.10", "10.0.1.11"))
    assert str(remembered_lab(file).hosts["a"].interfaces[0].ipv4) == "10.0.1.11/24"
    elsewhere = tmp_path / "other" / "lab.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(LAB)
    assert remembered_lab(elsewhere).directory == str(elsewhere.parent)
    assert len(kept(cache)) == 3


def test_a_wrong_file_is_refused_every_time(file: Path, cache: Path) -> None:
    file.write_text(LAB + "nonsense: 1\n")
    for _ in range(2):
        with pytest.raises(LabFileError):
            remembered_lab(file)
    assert kept(cache) == []


def test_contents_beside_the_file_are_read_every_time(file: Path, tmp_path: Path, cache: Path) -> None:
    file.write_text(LAB.replace("}}}\n", "}, files: {/etc/motd: {src: motd}}}}\n"))
    for text in ("one", "two"):
        (tmp_path / "motd").write_text(text)
        assert [each.content for each in remembered_lab(file).hosts["a"].files] == [text.encode()]
    assert kept(cache) == []


FORGED = [
    b"",
    b"junk",
    b"[" * 100_000,
    pickle.dumps("no lab"),
    b'["os.mkdir","evil"]',
    b'["Lab"]',
    b'["Host","a"]',
    b'["__import__","os"]',
]


@pytest.mark.parametrize("content", FORGED, ids=lambda content: repr(content[:20]))
@pytest.mark.parametrize("signed", [False, True])
def test_what_is_no_lab_is_written_anew(content: bytes, signed: bool, file: Path, cache: Path) -> None:
    lab = remembered_lab(file)
    (place,) = kept(cache)
    content = hashlib.sha256(content).hexdigest().encode() + b"\n" + content if signed else content
    place.write_bytes(content)
    assert remembered_lab(file) == lab
    assert place.read_bytes() != content


def _link_to_itself(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SPOILT: dict[str, Callable[[Path], object]] = {
    "link": _link_to_itself,
    "FIFO": _fifo,
    "others can write to it": lambda path: path.chmod(0o622),
    "somebody else's": lambda path: shutil.chown(path, 12345),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("kind", SPOILT)
def test_what_others_could_have_written_is_written_anew(kind: str, file: Path, cache: Path) -> None:
    lab = remembered_lab(file)
    (place,) = kept(cache)
    SPOILT[kind](place)
    assert remembered_lab(file) == lab
    assert place.is_file()
    assert not place.is_symlink()
    assert (place.stat().st_uid, place.stat().st_mode & 0o777) == (0, 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("kind", ["somebody else's", "others can write to it"])
@pytest.mark.parametrize("above", [0, 1, 2])
def test_a_folder_of_somebody_else_s_is_not_used(kind: str, above: int, file: Path, cache: Path) -> None:
    lab = remembered_lab(file)
    (place,) = kept(cache)
    place.write_bytes(b"not read, and not written")
    SPOILT[kind](place.parents[above])
    assert remembered_lab(file) == lab
    assert place.read_bytes() == b"not read, and not written"


def test_what_others_could_have_written_is_not_believed(file: Path, cache: Path) -> None:
    lab = remembered_lab(file)
    (place,) = kept(cache)
    file.write_text(LAB.replace("demo", "forged"))
    remembered_lab(file)
    (forged,) = set(kept(cache)) - {place}
    place.write_bytes(forged.read_bytes())
    file.write_text(LAB)
    assert remembered_lab(file).name == "forged", "its own owner's word counts"
    place.chmod(0o622)
    assert remembered_lab(file) == lab
    assert place.stat().st_mode & 0o777 == 0o600


def test_only_so_many_are_kept(file: Path, cache: Path) -> None:
    for number in range(KEPT + 3):
        file.write_text(LAB + f"# {number}\n")
        remembered_lab(file)
    assert len(kept(cache)) == KEPT


@pytest.mark.parametrize("home", ["/dev/null/nowhere", "/proc/nowhere"])
def test_without_a_place_labs_are_read(home: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    assert remembered_lab(file) == remembered_lab(file) == load_lab(file)


def test_the_cache_is_below_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_directory() == Path("/home/somebody/.cache/labrun/labs")
