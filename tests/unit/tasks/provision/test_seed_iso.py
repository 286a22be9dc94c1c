"""The seed ISO: found by its label, with the names and bytes that cloud-init asks for."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from pycdlib.pycdlib import PyCdlib

from labrun.tasks.provision.driver import Seed
from labrun.tasks.provision.seed_iso import seed_iso

SEED = Seed("instance-id: i-1\n", "#cloud-config\nhostname: hôte\n", "version: 2\n")


def _files(data: bytes, view: str) -> dict[str, str]:
    image = PyCdlib()
    image.open_fp(BytesIO(data))
    found = {}
    for entry in image.list_children(**{f"{view}_path": "/"}):
        name = image.full_path_from_dirrecord(entry, rockridge=view == "rr").strip("/")
        if entry.is_dot() or entry.is_dotdot() or not name:
            continue
        out = BytesIO()
        image.get_file_from_iso_fp(out, **{f"{view}_path": f"/{name}"})
        found[name] = out.getvalue().decode("utf-8")
    image.close()
    return found


@pytest.mark.parametrize("view", ["joliet", "rr"])
def test_both_views_have_the_files_as_given(view: str) -> None:
    assert _files(seed_iso(SEED), view) == {
        "meta-data": SEED.meta_data,
        "user-data": SEED.user_data,
        "network-config": SEED.network_config,
    }


@pytest.mark.parametrize("view", ["joliet", "rr"])
def test_an_empty_network_config_is_left_out(view: str) -> None:
    without = Seed(SEED.meta_data, SEED.user_data, "")
    assert sorted(_files(seed_iso(without), view)) == ["meta-data", "user-data"]


@pytest.mark.skipif(shutil.which("blkid", path="/usr/sbin:/sbin:/usr/bin") is None, reason="needs blkid")
def test_blkid_finds_the_label_that_cloud_init_looks_for(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    path.write_bytes(seed_iso(SEED))
    blkid = shutil.which("blkid", path="/usr/sbin:/sbin:/usr/bin") or "blkid"
    said = subprocess.run(
        [blkid, "-p", "-o", "value", "-s", "LABEL", str(path)], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "cidata"


def test_a_large_user_data_survives() -> None:
    large = Seed(SEED.meta_data, "#cloud-config\n" + "# x\n" * 100_000, "")
    data = seed_iso(large)
    assert len(data) % 2048 == 0
    assert _files(data, "joliet")["user-data"] == large.user_data
