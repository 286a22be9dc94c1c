"""What the seed of a downloaded image spares its first boot, and that labrun's own image is not touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.key_pairs import make_host_key
from labrun.tasks.provision.specs import machine_spec, seeded

MODULES = ("cloud_init_modules", "cloud_config_modules", "cloud_final_modules")


def user_data(lab: Lab, host: str) -> dict[str, Any]:
    spec = seeded(
        machine_spec(lab, lab.hosts[host]),
        lab,
        instance="i-1",
        host_key=make_host_key(host),
        login_keys=["ssh-ed25519 AAAA"],
        password="secret",
    )
    head, _, text = spec.seed.user_data.partition("\n")
    assert head == "#cloud-config"
    return dict(yaml.safe_load(text))


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABRUN_IMAGE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    path = tmp_path_factory.mktemp("lab") / "lab.yaml"
    path.write_text(
        "name: lean\nhypervisor: qemu:///system\ndefaults: {image: some}\n"
        "networks: {left: {mode: isolated, cidr: 10.0.0.0/24}}\n"
        "hosts: {one: {networks: {left: 10.0.0.11}}}\n",
        encoding="utf-8",
    )
    return load_lab(path)


@pytest.mark.parametrize("manifest", [None, '{"name": "x", "recipe": "abc"}', "[]"])
def test_labruns_own_image_has_its_own_list(images: Path, lab: Lab, manifest: str | None) -> None:
    if manifest is not None:
        (images / "some").mkdir()
        (images / "some" / "image.json").write_text(manifest, encoding="utf-8")
    assert not {*MODULES, "bootcmd"} & user_data(lab, "one").keys()


def test_others_run_what_the_seed_needs_and_no_more(images: Path, lab: Lab) -> None:
    (images / "some").mkdir()
    (images / "some" / "image.json").write_text('{"name": "x", "url": "https://x"}', encoding="utf-8")
    data = user_data(lab, "one")
    run = [module for key in MODULES for module in data[key]]
    # Each key of the seed has the module that acts on it.
    of_keys = {
        "hostname": "set_hostname",
        "users": "users_groups",
        "ssh_keys": "ssh",
        "ssh_pwauth": "set_passwords",
        "manage_etc_hosts": "update_etc_hosts",
        "bootcmd": "bootcmd",
    }
    assert data.keys() >= of_keys.keys()
    assert set(of_keys.values()) <= set(run)
    # A disk that is larger than the image is used.
    assert {"growpart", "resizefs"} <= set(run)
    assert not {"apt_configure", "package_update_upgrade_install", "snap", "install_hotplug"} & set(run)
    assert len(run) == len(set(run))
    (command,) = data["bootcmd"]
    assert command[:3] == ["cloud-init-per", "once", "labrun-lean"]
    assert "e2scrub_reap.service" in command[-1]
    assert command[-1].endswith("exit 0")
