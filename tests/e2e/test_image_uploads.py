"""Images on their way to a remote hypervisor: shown, once for all labs, and nothing half counts."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.labs import RunningLab
from tests.second_hypervisor import SecondHypervisor, lab_on
from tests.tiny_guest import tiny_disk

pytestmark = [pytest.mark.lxc, pytest.mark.full]

LAB = """\
name: {name}
hypervisor: {uri}
defaults: {{image: big, memory: 64, disk: 1}}
networks: {{n: {{mode: isolated, cidr: {net}.0/24}}}}
hosts: {{one: {{networks: {{n: {net}.11}}}}}}
images: {{big: {{path: big.qcow2}}}}
"""
# Long enough to be stopped in the middle.
MIB = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a large image, none of which is a hole."""
    made = tmp_path_factory.mktemp("uploads")
    raw = tiny_disk(made / "big.qcow2").with_suffix(".raw")
    with raw.open("r+b") as file:
        file.seek(1024 * 1024)
        for _ in range(MIB):
            file.write(os.urandom(1024 * 1024))
    command = ["qemu-img", "convert", "-O", "qcow2", str(raw), str(made / "big.qcow2")]
    subprocess.run(command, check=True, capture_output=True)
    raw.unlink()
    return made


@pytest.fixture(scope="module")
def imported(folder: Path, older: SecondHypervisor) -> RunningLab:
    """The lab, whose image is in the store of this machine."""
    made = lab_on(older, folder, LAB.format(name="e2e-uploads", uri=older.uri(), net="10.201.1"))
    made.env["LABRUN_IMAGE_DIR"] = str(folder / "images")
    up = made.json("up", "--no-wait")
    assert [row["actual"] for row in up.of("image")] == ["qemu: imported, uploaded"], up.trouble()
    return made


@pytest.fixture
def lab(imported: RunningLab, older: SecondHypervisor) -> Iterator[RunningLab]:
    assert imported.run("-y", "down").exit_code == 0
    forget(older)
    yield imported
    assert imported.run("-y", "down").exit_code == 0
    forget(older)


def forget(older: SecondHypervisor) -> None:
    """Remove the image's volumes, which stay for other labs."""
    older.inside(
        "cd /var/lib/labrun/pool-images 2>/dev/null && rm -f e2e-uploads.big-*;"
        " virsh -c qemu:///system pool-refresh labrun.images >/dev/null 2>&1; true"
    )


def blocks(older: SecondHypervisor) -> int:
    """Return how many KiB of the image are there."""
    found = older.inside("du -ck /var/lib/labrun/pool-images/e2e-uploads.big-* 2>/dev/null | tail -n 1")
    return int(found.split()[0]) if found.strip() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_upload_that_is_stopped_is_done_again(
    number: signal.Signals, lab: RunningLab, older: SecondHypervisor
) -> None:
    words = older.words(*lab.arguments("up", "--no-wait"))
    running = subprocess.Popen(
        words,
        env=lab.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        until = time.monotonic() + 120
        while blocks(older) < 10 * 1024:
            assert running.poll() is None, running.communicate()[0].decode()
            assert time.monotonic() < until, "no upload"
        running.send_signal(number)
        said = running.communicate(timeout=60)[0].decode()
    finally:
        running.kill()
        running.wait()
    assert running.returncode == (130 if number is signal.SIGINT else -signal.SIGKILL), said
    assert 0 < blocks(older) < MIB * 1024, "it was over before it was stopped"
    (row,) = lab.json("plan").of("image")
    assert (row["status"], row["actual"]) == ("would-change", "qemu: would be uploaded")
    up = lab.json("up", "--no-wait")
    assert [row["actual"] for row in up.of("image")] == ["qemu: uploaded"], up.trouble()
    assert blocks(older) >= MIB * 1024
    assert lab.json("up", "--no-wait").statuses() <= {"ok", "skipped"}


def test_it_is_shown_in_megabytes_and_once_for_two_labs(
    lab: RunningLab, folder: Path, older: SecondHypervisor
) -> None:
    size = round((folder / "big.qcow2").stat().st_size / 1e6)
    done = lab.run("up", "--no-wait")
    assert done.exit_code == 0, done.stderr
    shown = [line.split("s  ", 1)[1] for line in done.stderr.splitlines() if ": upload (" in line]
    assert shown == [f"hypervisor: upload (e2e-uploads.big, {size} MB)"]
    other = lab_on(
        older, folder / "other", LAB.format(name="e2e-again", uri=older.uri("root"), net="10.201.2")
    )
    # The same image, by its name in the store.
    text = other.path.read_text().replace("image: big", "image: e2e-uploads.big")
    other.path.write_text("".join(line for line in text.splitlines(True) if not line.startswith("images")))
    other.env["LABRUN_IMAGE_DIR"] = str(folder / "images")
    try:
        up = other.run("up", "--no-wait")
        assert up.exit_code == 0, up.stderr
        assert ": upload (" not in up.stderr
        assert "uploaded" not in up.stdout
    finally:
        assert other.run("-y", "down").exit_code == 0


def test_a_terminal_sees_it_grow(lab: RunningLab, older: SecondHypervisor) -> None:
    ours, theirs = pty.openpty()
    environment = {**lab.environment(), "TERM": "xterm", "COLUMNS": "120"}
    words = older.words(*lab.arguments("up", "--no-wait"))
    running = subprocess.Popen(
        words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break  # the other end is closed
        said += piece
    os.close(ours)
    assert running.wait(60) == 0, said.decode(errors="replace")
    seen = re.findall(r"(\d+) of (\d+) MB, (\d+)%\s+e2e-uploads\.big", said.decode(errors="replace"))
    assert len({done for done, _, _ in seen}) >= 2, seen
    assert all(round(100 * int(done) / int(whole)) - int(share) in (-1, 0, 1) for done, whole, share in seen)
