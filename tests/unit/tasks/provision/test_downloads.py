"""Downloads from servers that break off, stall, lie and change their minds: whole and true, or nothing."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.errors import LabrunError
from labrun.tasks.provision import downloads
from labrun.tasks.provision.checksums import Digest
from labrun.tasks.provision.downloads import Patience, download, read_text
from labrun.tasks.provision.http_client import DownloadError, shown
from tests.image_server import Shelf, image_server

DATA = bytes(range(256)) * 8192
QUICK = Patience(stall=2.0, pause=0.0)
DIGEST = Digest("sha256", hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with image_server() as shelf:
        yield shelf


def _get(
    *urls: str, target: Path, digest: Digest | None = DIGEST, patience: Patience = QUICK
) -> list[tuple[int, int | None]]:
    seen: list[tuple[int, int | None]] = []
    download(urls, target, digest, progress=lambda have, size: seen.append((have, size)), patience=patience)
    return seen


def _refusal(*urls: str, target: Path, digest: Digest | None = DIGEST, patience: Patience = QUICK) -> str:
    with pytest.raises(DownloadError) as caught:
        _get(*urls, target=target, digest=digest, patience=patience)
    return str(caught.value)


def _ranges(shelf: Shelf) -> list[str]:
    return [each for _, each in shelf.asked]


def test_a_file_comes_whole_with_its_progress(shelf: Shelf, tmp_path: Path) -> None:
    seen = _get(shelf.put("/disk", DATA), target=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert [have for have, _ in seen] == sorted(have for have, _ in seen)


def test_what_breaks_off_is_resumed_where_it_did(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", DATA, ends=[1000, 5000, None])
    _get(url, target=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert _ranges(shelf) == ["", "bytes=1000-", "bytes=6000-"]


def test_a_later_call_resumes_what_an_earlier_one_left(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", DATA, ends=[70_000, 0])
    why = _refusal(url, target=tmp_path / "file")
    assert why == f"image: {url} broke off after 70000 of {len(DATA)} bytes"
    shelf.files["/disk"].ends = [None]
    shelf.asked.clear()
    _get(url, target=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert _ranges(shelf) == ["bytes=70000-"]


def test_what_was_whole_when_it_was_killed_is_not_asked_for_again(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", DATA)
    _get(url, target=tmp_path / "file")
    _get(url, target=tmp_path / "file")
    assert len(shelf.asked) == 1


def test_a_server_without_ranges_begins_anew(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", DATA, ranges=False, ends=[1000, None])
    _get(url, target=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert _ranges(shelf) == ["", "bytes=1000-"]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_mark_of_the_version_no_part_is_asked_for(etag: str, shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", DATA, etag=etag, ends=[1000, None])
    _get(url, target=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert _ranges(shelf) == ["", ""]


def test_a_file_that_changes_between_two_parts_is_not_patched_together(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", b"old" * 100_000, ends=[1000, 0])
    _refusal(url, target=tmp_path / "file")
    shelf.put("/disk", DATA, etag='"2"')
    _get(url, target=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_wrong_part_is_thrown_away(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", DATA, wrong_start=True, ends=[1000, None])
    _get(url, target=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert _ranges(shelf) == ["", "bytes=1000-", ""]


def test_a_file_that_became_shorter_begins_anew(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", DATA + b"tail", ends=[len(DATA) + 2, 0])
    _refusal(url, target=tmp_path / "file")
    shelf.put("/disk", DATA)
    _get(url, target=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_promises_more_than_it_has_is_given_up(
    ranges: bool, shelf: Shelf, tmp_path: Path
) -> None:
    url = shelf.put("/disk", DATA, length=len(DATA) + 10, ranges=ranges)
    why = _refusal(url, target=tmp_path / "file")
    short = f" broke off after {len(DATA)} of {len(DATA) + 10} bytes"
    assert why == f"image: {url}{': the server answers 416' if ranges else short}"
    assert len(shelf.asked) < 12


def test_a_server_that_promises_less_than_it_has_gives_another_checksum(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", DATA, length=1000)
    wrong = hashlib.sha256(DATA[:1000]).hexdigest()
    assert _refusal(url, target=tmp_path / "file") == (
        f"image: what came from {url} has another checksum: sha256 {wrong}, and not {DIGEST.value} "
        "(it was changed at the vendor's or on the way: nothing of it is kept)"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_says_no_length_is_believed_by_the_checksum(shelf: Shelf, tmp_path: Path) -> None:
    assert _get(shelf.put("/disk", DATA, length=-1), target=tmp_path / "file")[-1] == (len(DATA), None)
    cut = shelf.put("/cut", DATA, length=-1, ends=[1000])
    assert "has another checksum" in _refusal(cut, target=tmp_path / "other")


def test_a_server_that_stalls_is_given_up_and_resumed(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", DATA, stalls=True, ends=[1000, 0])
    patience = Patience(stall=0.3, pause=0.0, tries=2)
    began = time.monotonic()
    why = _refusal(url, target=tmp_path / "file", patience=patience)
    assert why == f"image: {url} sent nothing for 0.3 s"
    assert time.monotonic() - began < 20
    shelf.put("/disk", DATA)
    _get(url, target=tmp_path / "file")
    assert _ranges(shelf)[-1] == "bytes=1000-"


def test_a_server_that_drips_is_given_up(shelf: Shelf, tmp_path: Path) -> None:
    """Each wait is short, so that only the pace tells."""
    url = shelf.put("/disk", DATA, drips=True)
    patience = Patience(stall=1.0, pause=0.0, tries=1)
    why = _refusal(url, target=tmp_path / "file", patience=Patience(1.0, pause=0.0, tries=1, largest=2**40))
    assert why.startswith(f"image: {url} sent only ")
    assert why.endswith(f" bytes in {patience.stall:g} s")


def test_what_is_too_large_is_refused_before_and_while_it_comes(shelf: Shelf, tmp_path: Path) -> None:
    small = Patience(stall=2.0, pause=0.0, largest=1000)
    url = shelf.put("/disk", DATA)
    why = _refusal(url, target=tmp_path / "file", patience=small)
    assert why == f"image: {url} has {len(DATA)} bytes, and labrun takes 1000"
    assert not (tmp_path / "file").exists()
    url = shelf.put("/endless", DATA, length=-1)
    why = _refusal(url, target=tmp_path / "file", patience=small)
    assert why == f"image: {url} sends more than 1000 bytes"
    assert (tmp_path / "file").stat().st_size < len(DATA)


def test_what_does_not_fit_on_the_disk_is_refused_at_once(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", DATA, length=2**50)
    with pytest.raises(LabrunError, match=r"^image: \d+ MiB do not fit: "):
        _get(url, target=tmp_path / "file", patience=Patience(largest=2**60))
    assert len(shelf.asked) == 1


def test_redirects_are_followed(shelf: Shelf, tmp_path: Path) -> None:
    shelf.put("/there", DATA)
    url = shelf.put("/here", b"", code=302, location="/there")
    _get(url, target=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


def test_redirects_in_a_circle_end(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/a", b"", code=302, location="/b")
    shelf.put("/b", b"", code=302, location="/a")
    assert _refusal(url, target=tmp_path / "file") == f"image: {url} redirects in a circle, or too often"
    assert len(shelf.asked) < 8


@pytest.mark.parametrize(
    "place", ["file:///etc/shadow", "ftp://127.0.0.1/x", "data:,x", "gopher://x/", "http://", "//"]
)
def test_no_redirect_leads_off_the_web(place: str, shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", b"", code=302, location=place)
    assert _refusal(url, target=tmp_path / "file").startswith("image: ")
    assert not (tmp_path / "file").exists()
    assert len(shelf.asked) < 4


def test_a_redirect_to_plain_http_is_refused_without_a_checksum(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", b"", code=302, location="http://images.invalid/disk")
    assert _refusal(url, target=tmp_path / "file", digest=None) == (
        f"image: {url} leads elsewhere: http://images.invalid/disk is plain HTTP: "
        "anybody on the way could change what comes"
    )


@pytest.mark.parametrize("url", ["http://images.invalid/disk", "http://127.0.0.1.images.invalid/disk"])
def test_plain_http_is_refused_without_a_checksum(url: str, tmp_path: Path) -> None:
    assert _refusal(url, target=tmp_path / "file", digest=None) == (
        f"image: {url} is plain HTTP: anybody on the way could change what comes "
        "(use https://, or give its checksum with --sha256)"
    )


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://there/x", "https://", "http://[", "x", "http://a:b/"]
)
def test_other_addresses_are_refused(url: str, tmp_path: Path) -> None:
    assert "is not an address to download from (https:// or http://)" in _refusal(url, target=tmp_path / "f")


@pytest.mark.parametrize(("code", "asked"), [(404, 1), (403, 1), (500, 3), (503, 3)])
def test_a_server_that_refuses_is_asked_again_only_if_that_may_help(
    code: int, asked: int, shelf: Shelf, tmp_path: Path
) -> None:
    url = shelf.put("/disk", b"", code=code)
    why = f"image: {url}: the server answers {code}"
    assert _refusal(url, target=tmp_path / "file").startswith(why)
    assert len(shelf.asked) == asked


def test_mirrors_are_tried_in_turn(shelf: Shelf, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/disk"
    changed = shelf.put("/changed", b"something else")
    cut = shelf.put("/cut", DATA, ends=[1000, 0], etag='"other"')
    _get(dead, changed, cut, shelf.put("/disk", DATA), target=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    # What one mirror began is not continued from another.
    assert [each for path, each in shelf.asked if path == "/disk"] == [""]


def test_no_answer_names_the_way_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/disk"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert _refusal(url, target=tmp_path / "file") == (
        f"image: {url}: Connection refused "
        "(without a way out, bring the file by hand: labrun image import FILE; http_proxy is respected)"
    )


def test_the_proxy_of_the_environment_is_used(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put("/disk", DATA)
    monkeypatch.setenv("http_proxy", shelf.url)
    monkeypatch.delenv("no_proxy", raising=False)
    _get("http://images.invalid/disk", target=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert shelf.headers[0]["Host"] == "images.invalid"
    monkeypatch.setenv("no_proxy", "images.invalid")
    assert (
        "Name or service not known"
        in _refusal("http://images.invalid/disk", target=tmp_path / "other", patience=Patience(tries=1))
        or len(shelf.asked) == 1
    )


def test_a_login_in_the_address_is_sent_and_never_shown(shelf: Shelf, tmp_path: Path) -> None:
    shelf.put("/there", DATA)
    url = shelf.put("/disk", b"", code=302, location="/gone").replace("http://", "http://me:s3cret@")
    why = _refusal(url + "?token=s3cret", target=tmp_path / "file")
    assert "s3cret" not in why
    assert shelf.headers[0]["Authorization"] == "Basic bWU6czNjcmV0"
    # Whoever it redirects to does not get it.
    assert "Authorization" not in shelf.headers[1]
    assert shown(url + "?token=s3cret") == f"{shelf.url}/disk?..."


def test_a_note_that_was_damaged_is_not_believed(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("/disk", DATA, ends=[1000, 0])
    target = tmp_path / "file"
    for text in ("", "[]", '{"url": 7}', "[" * 9000, '{"url": "x", "mark": [], "size": "y"}'):
        shelf.files["/disk"].ends = [1000, 0]
        _refusal(url, target=target)
        downloads._note_of(target).write_text(text)
        shelf.files["/disk"].ends = [None]
        shelf.asked.clear()
        _get(url, target=target)
        assert target.read_bytes() == DATA
        assert _ranges(shelf) == [""]
        downloads.forget(target)


def test_a_list_of_checksums_is_bounded_and_private(shelf: Shelf) -> None:
    assert read_text(shelf.put("/SUMS", b"abc"), patience=QUICK) == "abc"
    with pytest.raises(DownloadError, match="is too large for a list of checksums"):
        read_text(shelf.put("/huge", b"a" * 2**21), patience=QUICK)
    with pytest.raises(DownloadError, match="is plain HTTP"):
        read_text("http://images.invalid/SUMS", patience=QUICK)
