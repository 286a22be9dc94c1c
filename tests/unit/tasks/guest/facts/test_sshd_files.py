"""Which files sshd reads: found by the guest's own shell in a folder made for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labrun.tasks.guest.scripts import assigned, guest_script

_FILES = {
    "sshd_config.d/10-one.conf": "Include {root}/apart/deeper.conf\n",
    "sshd_config.d/20-two.conf": "PermitRootLogin no\nMatch User a\n",
    "apart/deeper.conf": "match all\n",
    "apart/other.conf": "X11Forwarding no\n",
}


def _read(root: Path, main: str) -> tuple[str, str]:
    """Return the names of the files, and of those with Match blocks, relative to ``root``."""
    for name, text in (_FILES | {"sshd_config": main}).items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("{root}", str(root)))
    values = {"m": "--", "main": str(root / "sshd_config")}
    script = assigned(values) + guest_script("frames") + "capture() { :; }\n" + guest_script("sshd_files")
    script += 'printf \'%s\\n\' "$sshd_files" "$blocks"\n'
    done = subprocess.run(
        ["sh"], input=script, capture_output=True, text=True, check=True, timeout=60, cwd="/"
    )
    assert done.stderr == ""
    files, blocks = done.stdout.replace(f"{root}/", "").splitlines()
    return files.removeprefix("sshd_config").strip(), blocks.strip()


_USUAL = "sshd_config.d/10-one.conf sshd_config.d/20-two.conf"


@pytest.mark.parametrize(
    ("main", "files", "blocks"),
    [
        ("Port 22\n", "", ""),
        ("Match User b\n", "", "sshd_config"),
        (
            "Include {root}/sshd_config.d/*.conf\n",
            f"{_USUAL} apart/deeper.conf",
            "sshd_config.d/20-two.conf apart/deeper.conf",
        ),
        # Spelled otherwise, the same folder is read in a second step.
        (
            'include = "sshd_config.d/*.conf"\n',
            f"{_USUAL} apart/deeper.conf",
            "sshd_config.d/20-two.conf apart/deeper.conf",
        ),
        # Only one of the folder.
        (
            "Include {root}/sshd_config.d/20-two.conf\nMatch all\n",
            "sshd_config.d/20-two.conf",
            "sshd_config sshd_config.d/20-two.conf",
        ),
        (
            "Include {root}/apart/other.conf {root}/sshd_config.d/*.conf\n",
            f"{_USUAL} apart/other.conf apart/deeper.conf",
            "sshd_config.d/20-two.conf apart/deeper.conf",
        ),
        ("#Include {root}/sshd_config.d/*.conf\n", "", ""),
    ],
)
def test_included_files_and_those_with_blocks(tmp_path: Path, main: str, files: str, blocks: str) -> None:
    found, with_blocks = _read(tmp_path, main)
    assert sorted(found.split()) == sorted(files.split())
    assert sorted(with_blocks.split()) == sorted(blocks.split())


def test_a_folder_that_is_empty(tmp_path: Path) -> None:
    _read(tmp_path, "")
    for path in (tmp_path / "sshd_config.d").iterdir():
        path.unlink()
    (tmp_path / "sshd_config").write_text(f"Include {tmp_path}/sshd_config.d/*.conf\nMatch User b\n")
    values = {"m": "--", "main": str(tmp_path / "sshd_config")}
    script = (
        assigned(values)
        + guest_script("frames")
        + guest_script("sshd_files")
        + 'echo "$sshd_files,$blocks"\n'
    )
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{tmp_path}/sshd_config, {tmp_path}/sshd_config\n"
