"""`labrun init`: what it writes, what it says, and that it overwrites nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.starting.templates import TEMPLATES
from tests import places
from tests.unit.command_line import run_labrun

KATHARA = places.RECORDED / "starting" / "kathara"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "My Lab").mkdir()
    return tmp_path / "My Lab"


def test_it_writes_a_lab_called_like_the_folder(folder: Path) -> None:
    done = run_labrun("init", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "wrote lab.yaml from the template two-networks\nnext: labrun up\n"
    assert load_lab(folder / "lab.yaml").name == "my-lab"
    valid = run_labrun("validate", cwd=folder)
    assert (valid.returncode, valid.stderr) == (0, "")


def test_existing_machines_are_not_brought_up(folder: Path) -> None:
    done = run_labrun("init", "--template", "existing", cwd=folder)
    assert done.stdout == (
        "wrote lab.yaml from the template existing\nnext: fill it in, then labrun verify\n"
    )
    assert run_labrun("init", "-q", "--lab", "b.yaml", cwd=folder).stdout == ""


def test_it_never_overwrites(folder: Path) -> None:
    (folder / "lab.yaml").write_text("mine", encoding="utf-8")
    done = run_labrun("init", "--template", "nat", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: lab.yaml exists, and init never overwrites a file\n"
        "hint: --lab FILE writes another one, --lab - to stdout\n"
    )
    assert (folder / "lab.yaml").read_text(encoding="utf-8") == "mine"


def test_a_link_that_leads_nowhere_is_not_written_through(folder: Path) -> None:
    (folder / "lab.yaml").symlink_to("elsewhere")
    done = run_labrun("init", cwd=folder)
    assert done.returncode == 2
    assert not (folder / "elsewhere").exists()


def test_a_lab_file_above_is_left_and_one_is_written_here(folder: Path) -> None:
    (folder.parent / "lab.yaml").write_text("above", encoding="utf-8")
    assert run_labrun("init", cwd=folder).returncode == 0
    assert (folder / "lab.yaml").is_file()
    assert (folder.parent / "lab.yaml").read_text(encoding="utf-8") == "above"


def test_another_file_and_standard_output(folder: Path) -> None:
    done = run_labrun("--lab", "other/x.yaml", "init", cwd=folder)
    assert (done.returncode, done.stderr) == (
        1,
        "error: cannot write other/x.yaml: No such file or directory\n",
    )
    (folder / "other").mkdir()
    done = run_labrun("init", "--lab", "other/x.yaml", cwd=folder)
    assert done.stdout == (
        "wrote other/x.yaml from the template two-networks\nnext: labrun --lab other/x.yaml up\n"
    )
    assert load_lab(folder / "other" / "x.yaml").name == "other"
    printed = run_labrun("init", "--lab", "-", "--template", "nat", cwd=folder)
    assert "\nname: my-lab\n" in printed.stdout
    assert not (folder / "lab.yaml").exists()


def test_json_says_what_was_written(folder: Path) -> None:
    document = json.loads(run_labrun("init", "--json", "--template", "chain", cwd=folder).stdout)
    assert document["ok"] is True
    assert (document["template"], document["file"]) == ("chain", str(folder / "lab.yaml"))


def test_the_list_has_every_template_on_80_columns(folder: Path) -> None:
    done = run_labrun("init", "--list", cwd=folder)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(TEMPLATES)
    assert all(len(line) <= 80 for line in lines)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("words", "stderr"),
    [
        (
            ("--template", "natt"),
            'error: --template: no template is called "natt"\nhint: did you mean "nat"?\n',
        ),
        (
            ("--template", "zzzzzz"),
            (
                'error: --template: no template is called "zzzzzz"\n'
                "hint: there are two-networks, nat, dmz, chain, dual-stack, existing\n"
            ),
        ),
        (
            ("--template", "nat", "--from", "x"),
            "error: --template and --from exclude each other\nhint: leave one of them out\n",
        ),
        (("--from", "x.yml"), "x.yml: there is no such file\nerror: x.yml has 1 problem\n"),
        (
            ("--from", "."),
            (
                "error: .: the folder has no file that labrun can read\n"
                "hint: a containerlab or netlab topology (YAML), a Vagrantfile, Kathara's lab.conf, or a"
                " libvirt URI such as qemu:///system\n"
            ),
        ),
    ],
)
def test_what_is_wrong_is_said(words: tuple[str, ...], stderr: str, folder: Path) -> None:
    done = run_labrun("init", *words, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", stderr)
    assert not list(folder.iterdir())


def test_what_another_tool_s_file_has_and_labrun_has_not_is_listed(folder: Path) -> None:
    done = run_labrun("init", "--from", str(KATHARA / "lab.conf"), cwd=folder)
    assert done.returncode == 0
    assert done.stdout.startswith(f"wrote lab.yaml from {KATHARA / 'lab.conf'}, a Kathara scenario\n")
    start = f"{KATHARA / 'lab.conf'}: not taken over: "
    assert [line.removeprefix(start) for line in done.stderr.splitlines()] == [
        'line 14: pc2: "bridged"="true": has no counterpart',
        'r1.startup:4: "systemctl start frr": a command that labrun does not run',
        "network net-c: 100.0.0.8/30: overlaps 100.0.0.8/30 of another network",
        "r2: address 100.0.0.10/30: outside the network's subnet",
    ]
    assert load_lab(folder / "lab.yaml").name == "static-routing"


def test_domains_of_libvirt_are_read(folder: Path) -> None:
    done = run_labrun("init", "--from", "test:///default", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert list(load_lab(folder / "lab.yaml").hosts) == ["test"]


def test_a_hypervisor_that_is_not_there_is_an_error_of_the_hypervisor(folder: Path) -> None:
    done = run_labrun("init", "--from", "qemu+unix:///system?socket=/nowhere", cwd=folder)
    assert done.returncode == 5
    assert "cannot open qemu+unix:///system?socket=/nowhere" in done.stderr
    assert not (folder / "lab.yaml").exists()
