"""Every command in an environment without libvirt-python: it works, or it says what to install."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from labrun.runner.main import VERBS, cli
from tests import places
from tests.built import build, environment

EXISTING = """\
name: fleet
hosts:
  web: {address: 127.0.0.1, ssh: {user: nobody, port: 1}}
"""

# Runs each command line in a process of its own, with labrun loaded once.
DRIVER = """\
import importlib, json, os, pkgutil, sys, tempfile
import labrun
for module in pkgutil.walk_packages(labrun.__path__, "labrun."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from labrun.runner.main import run

def one(folder, args):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        if (pid := os.fork()) == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.chdir(folder)
            code = run(args)
            sys.stdout.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0), err.seek(0)
        return [code, out.read().decode(), err.read().decode()]

print(json.dumps([one(*each) for each in json.load(sys.stdin)]))
"""

# The command lines that need libvirt: of the lab of networks, or of no lab at all.
NEEDS = {
    "break": ["break"],
    "capture": ["capture", "host01"],
    "configure": ["configure"],
    "console": ["console", "host01"],
    "down": ["down", "-y"],
    "down --name": ["down", "--name", "other", "-y"],
    "drift": ["drift"],
    "drop": ["drop", "trial", "-y"],
    "exec": ["exec", "true"],
    "fork": ["fork", "trial"],
    "image prune": ["image", "prune"],
    "inventory": ["inventory"],
    "lesson check": ["lesson", "check"],
    "lesson hint": ["lesson", "hint"],
    "lesson score": ["lesson", "score"],
    "lesson skip": ["lesson", "skip"],
    "lesson start": ["lesson", "start"],
    "lesson stop": ["lesson", "stop"],
    "list": ["list"],
    "list --orphans": ["list", "--orphans"],
    "log": ["log", "host01"],
    "mend": ["mend"],
    "net": ["net"],
    "plan": ["plan"],
    "restart": ["restart"],
    "run": ["run", "task.py"],
    "snapshot diff": ["snapshot", "diff", "good"],
    "snapshot list": ["snapshot", "list"],
    "snapshot remove": ["snapshot", "remove", "good", "-y"],
    "snapshot restore": ["snapshot", "restore", "good", "-y"],
    "snapshot save": ["snapshot", "save", "good"],
    "ssh": ["ssh", "host01", "true"],
    "start": ["start"],
    "status": ["status"],
    "stop": ["stop"],
    "tc": ["tc", "host01:network1"],
    "up": ["up"],
    "verify": ["verify"],
}

DOCTOR = {"doctor": ["doctor"]}

# Another extra, which this environment does not have either.
MCP = {"mcp": ["mcp"]}
FLEET = {
    "fleet install": ["fleet", "install"],
    "fleet status": ["fleet", "status"],
    "engine dask": ["--engine", "dask://127.0.0.1:1", "exec", "true"],
}

# What needs none: the exit code in the lab of networks.
NEEDS_NONE = {
    "completion": (["completion", "bash"], 0),
    "configure --help": (["configure", "--help"], 0),
    "fleet init": (["fleet", "init", "ann@site"], 0),
    "graph": (["graph"], 0),
    "history": (["history"], 0),
    "image list": (["image", "list"], 0),
    "init": (["init", "--lab", "new.yaml"], 0),
    "report": (["report", "--html", "page.html"], 0),
    "schema": (["schema"], 0),
    "validate": (["validate"], 0),
    "verify --offline": (["verify", "--offline"], 0),
    "verify --pair --offline": (["verify", "--offline", "--pair", "host01:host03"], 0),
    "version": (["-V"], 0),
}

# Of the lab of existing machines, none of which answers here: 4 is "no login".
OF_EXISTING = {
    "configure": (["configure"], 4),
    "configure --dry-run": (["configure", "--dry-run"], 4),
    "drift": (["drift"], 4),
    "exec": (["exec", "true"], 4),
    "graph": (["graph"], 0),
    "history": (["history"], 0),
    "inventory": (["inventory"], 0),
    "plan": (["plan"], 0),
    "status": (["status"], 4),
    "validate": (["validate"], 0),
    "verify": (["verify"], 4),
    "verify --offline": (["verify", "--offline"], 0),
}


@dataclass(frozen=True, slots=True)
class Done:
    """What a command line ended with."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Swept:
    """What every command line ended with: in the lab of networks, and in that of existing machines."""

    python: Path
    lab: dict[str, Done]
    existing: dict[str, Done]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Run every command line in an environment with labrun and without libvirt-python."""
    built = build(tmp_path_factory.mktemp("built"))
    folder = tmp_path_factory.mktemp("bare")
    commands = environment(
        folder / "venv", built.wheel, without=("libvirt", "_libvirt", "mcp", "distributed", "dask")
    )
    networks = (places.EXAMPLES / "kvm-network-lab.yaml").read_text(encoding="utf-8")
    for name, text in (("lab", networks), ("existing", EXISTING)):
        (folder / name).mkdir()
        (folder / name / "lab.yaml").write_text(text, encoding="utf-8")
        (folder / name / "task.py").write_text("def greet(task):\n    pass\n", encoding="utf-8")
    needs_none = {name: line for name, (line, _) in NEEDS_NONE.items()}
    of_existing = {name: line for name, (line, _) in OF_EXISTING.items()}
    cases = {
        **{("lab", name): line for name, line in {**NEEDS, **needs_none, **DOCTOR, **MCP}.items()},
        **{("existing", name): line for name, line in {**of_existing, **DOCTOR, **FLEET}.items()},
    }
    done = subprocess.run(
        [commands / "python", "-P", "-c", DRIVER],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder), "LANG": "C.UTF-8"},
        input=json.dumps([[str(folder / lab), line] for (lab, _), line in cases.items()]),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = dict(zip(cases, (Done(*each) for each in json.loads(done.stdout)), strict=True))
    by_lab = {
        kind: {name: end for (lab, name), end in found.items() if lab == kind} for kind in ("lab", "existing")
    }
    return Swept(commands / "python", **by_lab)


def leaves(command: click.Command, name: str) -> Iterator[str]:
    """Yield the full names of the commands in a command that do something themselves."""
    if not isinstance(command, click.Group):
        yield name
        return
    ctx = click.Context(command, info_name=name)
    for inner in command.list_commands(ctx):
        below = command.get_command(ctx, inner)
        assert below is not None
        yield from leaves(below, f"{name} {inner}")


def test_no_command_is_forgotten() -> None:
    ctx = click.Context(cli, info_name="labrun")
    every = set()
    for verb in VERBS:
        command = cli.get_command(ctx, verb)
        assert command is not None
        every |= set(leaves(command, verb))
    # They work on files, timers and devices of this machine; libvirt is not asked.
    elsewhere = {
        *("diff", "doctor", "mcp", "show"),
        *("fleet install", "fleet status", "fleet stop"),
        *("host-bridge confirm", "host-bridge create", "host-bridge remove", "host-bridge show"),
        *("image build", "image check", "image import", "image pull", "image remove"),
        *("schedule install", "schedule remove", "schedule status"),
    }
    assert every - elsewhere == {name.split(" --")[0] for name in [*NEEDS, *NEEDS_NONE]} - {"version"}


def test_what_needs_libvirt_says_what_to_install(swept: Swept) -> None:
    hint = f"hint: {swept.python} -m pip install 'labrun[libvirt]' (its build needs: "
    wrong = {
        name: done
        for name in NEEDS
        if (done := swept.lab[name]).code != 5
        or "this needs libvirt, and libvirt-python is not installed\n" not in done.err
        or hint not in done.err
    }
    assert wrong == {}


def test_what_needs_no_libvirt_works(swept: Swept) -> None:
    ends = {name: (swept.lab[name].code, swept.lab[name].err) for name in NEEDS_NONE}
    assert ends == {name: (code, "") for name, (_, code) in NEEDS_NONE.items()}


def test_a_lab_of_existing_machines_needs_no_libvirt(swept: Swept) -> None:
    ends = {name: swept.existing[name] for name in OF_EXISTING}
    assert {name: done.code for name, done in ends.items()} == {
        name: code for name, (_, code) in OF_EXISTING.items()
    }
    assert {name: done for name, done in ends.items() if "libvirt" in done.out + done.err} == {}


def test_doctor_says_so_once(swept: Swept) -> None:
    done = swept.lab["doctor"]
    assert done.code == 5
    assert done.out.count("libvirt-python") == 1
    assert f"mend     {swept.python} -m pip install 'labrun[libvirt]'" in done.out


def test_doctor_only_mentions_it_where_every_machine_exists(swept: Swept) -> None:
    done = swept.existing["doctor"]
    assert (
        "has no libvirt-python\n        matters  labrun needs it to reach libvirt; labs of existing"
        in done.out
    )
    assert "x     " not in done.out.split("has no libvirt-python")[0]


def test_another_extra_is_named_as_well(swept: Swept) -> None:
    done = swept.lab["mcp"]
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: this needs the MCP SDK, which is not installed\n"
        f"hint: {swept.python} -m pip install 'labrun[mcp]'\n"
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("fleet install", "labrun fleet"),
        ("fleet status", "labrun fleet"),
        ("engine dask", "--engine dask://"),
    ],
)
def test_the_extra_of_fleets_is_named(swept: Swept, name: str, what: str) -> None:
    done = swept.existing[name]
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: {what} needs Dask.distributed, which is not installed\n"
        f"hint: {swept.python} -m pip install 'labrun[fleet]'\n"
    )
