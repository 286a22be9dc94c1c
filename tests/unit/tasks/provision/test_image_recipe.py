"""The recipes of images: what each is made of, and how layers lie over each other."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import get_args

import pytest

from labrun.inventory.recipes import RECIPES, STORED_RECIPES, RecipeName
from labrun.tasks.provision.image_recipe import merged_recipe, recipe_digest, recipe_folders, recipe_lines


def _layer(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def test_the_digest_follows_names_contents_layers_and_the_release(tmp_path: Path) -> None:
    base = _layer(tmp_path / "recipe", packages="sudo\n")
    digests = [recipe_digest("bookworm", (base,)), recipe_digest("trixie", (base,))]
    assert recipe_digest("bookworm", (base,)) == digests[0]
    over = _layer(tmp_path / "over", enabled="a.service\n")
    digests += [recipe_digest("bookworm", (base, over)), recipe_digest("bookworm", (over, base))]
    (base / "packages").write_text("sudo\ncurl\n")
    digests.append(recipe_digest("bookworm", (base,)))
    (base / "packages").rename(base / "parcels")
    digests.append(recipe_digest("bookworm", (base,)))
    assert len(set(digests)) == 6


def test_a_single_layer_is_used_as_it_is(tmp_path: Path) -> None:
    base = _layer(tmp_path / "recipe", packages="sudo\n")
    with merged_recipe((base,)) as merged:
        assert merged == base


def test_lists_are_added_to_and_taken_from_and_other_files_replaced(tmp_path: Path) -> None:
    base = _layer(tmp_path / "base", packages="# why\nsudo\nnm\ncurl\n", customize="base\n", masked="a\n")
    (base / "customize").chmod(0o755)
    one = _layer(tmp_path / "one", packages="-nm\nnetworkd\ncurl\n", finish="first\n", early="one\n")
    two = _layer(tmp_path / "two", packages="netplan\n", finish="second\n", early="two\n")
    with merged_recipe((base, one, two)) as merged:
        assert recipe_lines(merged / "packages") == ["sudo", "curl", "networkd", "netplan"]
        assert recipe_lines(merged / "masked") == ["a"]
        assert recipe_lines(merged / "enabled") == []
        assert (merged / "finish").read_text() == "first\nsecond\n"
        assert (merged / "early").read_text() == "two\n"
        assert stat.S_IMODE((merged / "customize").stat().st_mode) == 0o755
    assert not merged.exists()


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_names_each_package_and_unit_once(name: str) -> None:
    with merged_recipe(recipe_folders(RECIPES[name])) as merged:
        for file in ("packages", "enabled", "masked", "dpkg.cfg"):
            lines = recipe_lines(merged / file)
            assert len(set(lines)) == len(lines) > 0, file
            assert all(line == line.strip() != "" and line[0] != "-" for line in lines), file


@pytest.mark.parametrize("name", RECIPES)
def test_each_layer_takes_away_only_what_a_layer_below_it_has(name: str) -> None:
    below: dict[str, set[str]] = {"packages": set(), "enabled": set(), "masked": set()}
    for folder in recipe_folders(RECIPES[name]):
        for file, lines in below.items():
            own = recipe_lines(folder / file)
            assert {line[1:] for line in own if line.startswith("-")} <= lines, (folder, file)
            lines.update(own)


def test_the_images_of_all_recipes_have_names_of_their_own() -> None:
    assert len(STORED_RECIPES) == len(RECIPES)
    assert tuple(RECIPES) == get_args(RecipeName)
    assert STORED_RECIPES["debian-12-networkd"] is RECIPES["debian-12:networkd"]
    assert all(":" not in name for name in STORED_RECIPES)
