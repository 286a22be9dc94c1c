"""Pull an image: its checksum first, then the file, which is an image only if it is what it should be."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import LabrunError
from labrun.progress import Amount
from labrun.tasks.provision.checksums import Digest, find_digest
from labrun.tasks.provision.downloads import Patience, download, forget, read_text
from labrun.tasks.provision.http_client import DownloadError, shown
from labrun.tasks.provision.image_import import Provenance, import_image, name_again, require_free
from labrun.tasks.provision.image_origin import Origin
from labrun.tasks.provision.image_signature import check_signature, keys_here
from labrun.tasks.provision.image_store import (
    VERSIONS,
    StoredImage,
    has_digest,
    image_directory,
    image_paths,
    list_images,
    make_store,
    open_lock,
    with_digest,
)

__all__ = ["DOWNLOADS", "Pulled", "Say", "abandon_downloads", "pull_image"]

DOWNLOADS = ".download-"
"""How the names of partial files begin; behind it, what the file has to be."""
_MB = 1_000_000

Say = Callable[[str | Amount], None]
"""Receives what is going on: words for a step, or how much of the file is here."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image that is there now; ``is_new`` = it was not before. ``verified`` says what proved it."""

    image: StoredImage
    is_new: bool
    verified: str


def pull_image(name: str, origin: Origin, say: Say, *, patience: Patience | None = None) -> Pulled:
    """Make sure that ``name`` is the image at its origin.

    What broke off is resumed, also by a later call. Content that another image has is not downloaded again.
    Raises DownloadError, or LabrunError if the file is no image; the image of that name is then as before.
    """
    patience = patience or Patience()
    require_free(name)
    digest, verified = _proof(origin, say, patience)
    if digest is not None and (found := _there(name, digest, origin, verified)):
        return found
    key = digest.value[:32] if digest else hashlib.sha256(origin.urls[0].encode()).hexdigest()[:32]
    target = make_store() / f"{DOWNLOADS}{key}"
    with _alone(target, say):
        # Another process may have brought it meanwhile.
        if digest is not None and (found := _there(name, digest, origin, verified)):
            return found
        digests = download(origin.urls, target, digest, progress=_progress(say), patience=patience)
        before = _version(name)
        say("checking")
        try:
            source = Provenance(shown(origin.urls[0]), digests, verified)
            image = import_image(target, name, provenance=source)
        finally:
            # Moved into the store, or no image: either way no beginning of anything.
            forget(target)
    return Pulled(image, _version(name) != before, verified)


def _version(name: str) -> Path:
    return image_paths(name).directory


def _proof(origin: Origin, say: Say, patience: Patience) -> tuple[Digest | None, str]:
    """Return the checksum that the file must have, and in words what vouches for it."""
    if origin.digest is not None:
        return origin.digest, f"{origin.digest.algorithm} as given"
    if not origin.checksums:
        return None, "not verified: no checksum was given, only HTTPS vouches for it"
    say("reading the vendor's checksums")
    place = shown(origin.checksums)
    try:
        text = read_text(origin.checksums, patience=patience)
    except DownloadError as error:
        raise DownloadError(
            f"the vendor's checksums cannot be read, and nothing counts without them: {error.reason}",
            hint=error.hint,
        ) from error
    text, signed = _signed(origin, text, place, patience)
    digest = find_digest(text, origin.file, place, only=origin.only)
    return digest, f"{digest.algorithm} by {place}; {signed}"


def _signed(origin: Origin, text: str, place: str, patience: Patience) -> tuple[str, str]:
    """Return what of a vendor's list counts, and in words who has signed it."""
    if not origin.signature:
        return text, "the vendor does not sign it"
    keys = origin.keys or (keys_here() if origin.key else ())
    if not keys:
        return text, "its signature was not checked"
    if origin.signature == origin.checksums:
        signature = text
    else:
        try:
            signature = read_text(origin.signature, patience=patience)
        except DownloadError as error:
            raise DownloadError(
                f"the signature of the vendor's checksums cannot be read: {error.reason}", hint=error.hint
            ) from error
    found = check_signature(text, signature, keys, origin.key, place)
    if found.by:
        return found.text, f"signed with the key {found.by}"
    if origin.keys:
        raise LabrunError(
            f"{place} was not signed with the key in {', '.join(map(str, origin.keys))}",
            step="image",
            hint=f"the vendor's key is {origin.key}" if origin.key else None,
        )
    return text, f"its signature was not checked: the key {origin.key} is not here"


def _there(name: str, digest: Digest, origin: Origin, verified: str) -> Pulled | None:
    """Return the image if it, or another one, has this content already."""
    if has_digest(image_paths(name), *digest):
        return Pulled(next(each for each in list_images() if each.name == name), False, verified)
    found = with_digest(*digest)
    if found is None:
        return None
    return Pulled(name_again(found, name, shown(origin.urls[0]), verified), True, verified)


def _progress(say: Say) -> Callable[[int, int | None], None]:
    last = -1

    def show(have: int, size: int | None) -> None:
        nonlocal last
        if have // _MB == last and have != size:
            return
        last = have // _MB
        say(Amount(have / _MB, size / _MB if size else None))

    return show


@contextmanager
def _alone(target: Path, say: Say) -> Iterator[None]:
    """Hold the download of this file, which another process may be at."""
    with open_lock(target.with_name(target.name + ".lock")) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another download")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def abandon_downloads() -> tuple[str, ...]:
    """Delete the beginnings of downloads that no process is at; return their names."""
    gone = []
    for lock in sorted((image_directory() / VERSIONS).glob(f"{DOWNLOADS}*.lock")):
        target = lock.with_suffix("")
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if target.exists():
                gone.append(target.name)
            forget(target)
    return tuple(gone)
