"""What a lab file of somebody else's can make this machine read, wait for and keep in memory."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from labrun.errors import HostKeyError, LabFileError
from labrun.inventory.file.file_contents import ALL, LARGEST
from labrun.inventory.file.lab_json import lab_from_json, lab_to_json
from labrun.inventory.file.load import load_lab
from labrun.inventory.file.template_process import Renderer, TemplateError
from labrun.inventory.model import Lab
from labrun.tasks.guest.known_hosts import known_keys
from tests.unit.command_line import run_labrun

MIB = 1024 * 1024


def lab_of(directory: Path, files: str, *, hosts: int = 1, allow_outside: bool = False) -> Lab:
    path = directory / "lab.yaml"
    lines = [f"  h{number}: {{address: 192.0.2.{number + 1}}}" for number in range(hosts)]
    path.write_text("\n".join(["name: demo", "hosts:", *lines, "defaults:", f"  files: {files}"]) + "\n")
    return load_lab(path, allow_outside=allow_outside)


def refusal(directory: Path, files: str, *, hosts: int = 1, allow_outside: bool = False) -> list[str]:
    with pytest.raises(LabFileError) as caught:
        lab_of(directory, files, hosts=hosts, allow_outside=allow_outside)
    assert caught.value.exit_code == 2
    assert {problem.line for problem in caught.value.problems} == {hosts + 4}
    return [
        (problem.what + (f" ({problem.hint})" if problem.hint else "")).replace(str(directory), "DIR")
        for problem in caught.value.problems
    ]


# What is read


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)


def _endless_link(path: Path) -> None:
    path.symlink_to(path.name)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "FIFO": (_fifo, '"x" is not a regular file'),
    "socket": (_socket, '"x" cannot be read: No such device or address'),
    "directory": (Path.mkdir, '"x" cannot be read: Is a directory'),
    "large": (_large, '"x" is larger than 1 MiB (put it into a package or an image)'),
    "link to itself": (_endless_link, '"x" cannot be read: '),
    "link out": (
        lambda path: path.symlink_to("/etc/hostname"),
        '"x" is outside the lab file\'s folder (--allow-outside permits it)',
    ),
    "link to a device": (
        lambda path: path.symlink_to("/dev/zero"),
        '"x" is outside the lab file\'s folder (--allow-outside permits it)',
    ),
}
WAYS = {
    "src": "{/f: {src: x}}",
    "template": "{/f: {template: x}}",
    "include": "{/f: {template: outer}}",
    "import": "{/f: {template: importing}}",
    "extends": "{/f: {template: extending}}",
}
OUTSIDE = ("../shadow", "sub/../../shadow", "{outside}", "link/shadow")


def crossed(kinds: Iterable[str], usual: str) -> list[object]:
    """Return each way with each kind: all ways with the usual kind, all kinds by `include`, the rest as full.

    `import` and `extends` find their file as `include` does.
    """
    return [
        pytest.param(
            way, kind, marks=[pytest.mark.full] if way in ("import", "extends") and kind != usual else []
        )
        for way in WAYS
        for kind in kinds
    ]


def prepare(directory: Path) -> None:
    (directory / "outer").write_text("{% include 'x' %}")
    (directory / "importing").write_text("{% import 'x' as y %}")
    (directory / "extending").write_text("{% extends 'x' %}")


@pytest.mark.parametrize(("way", "kind"), crossed(ODD, "FIFO"))
def test_only_regular_files_below_the_lab_file_are_read(
    way: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    prepare(tmp_path)
    make, says = ODD[kind]
    make(Path("x"))
    (said,) = refusal(tmp_path, WAYS[way])
    assert says in said


@pytest.mark.parametrize(("way", "name"), crossed(OUTSIDE, "link/shadow"))
def test_what_is_outside_is_refused_unless_it_is_allowed(way: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    (folder / "sub").mkdir(parents=True)
    (folder / "link").symlink_to("..")
    (tmp_path / "shadow").write_text("kept")
    name = name.format(outside=tmp_path / "shadow")
    for file, statement in (("outer", "include"), ("extending", "extends")):
        (folder / file).write_text(f"{{% {statement} '{name}' %}}")
    (folder / "importing").write_text(f"{{% import '{name}' as y %}}kept")
    files = WAYS[way].replace("x}", f"{name}}}")
    (said,) = refusal(folder, files)
    shown = name if len(name) <= 60 else name[:59] + "…"  # as every message shows it
    assert f'"{shown}" is outside the lab file\'s folder (--allow-outside permits it)' in said
    (found,) = lab_of(folder, files, allow_outside=True).hosts["h0"].files
    assert found.content == b"kept"


@pytest.mark.parametrize("name", ["sub/file", "./sub/../sub/file", "link"])
def test_what_stays_inside_is_fine(name: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_text("kept")
    (tmp_path / "link").symlink_to("sub/file")
    (found,) = lab_of(tmp_path, f"{{/f: {{src: {name}}}}}").hosts["h0"].files
    assert found.content == b"kept"


def test_a_folder_that_is_a_link_itself_is_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("kept")
    (tmp_path / "link").symlink_to("real")
    (found,) = lab_of(tmp_path / "link", "{/f: {src: file}}").hosts["h0"].files
    assert found.content == b"kept"


def test_a_file_of_proc_that_waits_is_not_waited_for(tmp_path: Path) -> None:
    (said,) = refusal(tmp_path, "{/f: {src: /proc/kmsg}}", allow_outside=True)
    assert said.startswith('"/proc/kmsg" cannot be read: ')


def test_the_option_and_its_variable(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret").write_text("kept")
    lab = "name: demo\nhosts: {a: {address: 192.0.2.1, files: {/f: {src: ../secret}}}}\n"
    (tmp_path / "folder" / "lab.yaml").write_text(lab)
    refused = run_labrun("validate", cwd=tmp_path / "folder")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(
        'lab.yaml:2: hosts.a.files./f.src: "../secret" is outside the lab file\'s folder'
        " (--allow-outside permits it)\n"
    )
    assert refused.stderr.endswith("\nerror: lab.yaml has 1 problem\n")
    for words, env in ((["--allow-outside"], {}), ([], {"LABRUN_ALLOW_OUTSIDE": "1"})):
        done = run_labrun("validate", *words, cwd=tmp_path / "folder", env=env)
        assert (done.returncode, done.stderr) == (0, "")
    cron = run_labrun(
        "schedule", "install", "--cron", "--every", "1h", "--allow-outside", cwd=tmp_path / "folder"
    )
    assert " --allow-outside " in cron.stdout


def test_all_that_is_read_and_rendered_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("{{ 'x' * 1000000 }}{{ host.name }}")
    hosts = ALL // 1_000_000 + 2
    said = refusal(tmp_path, "{/f: {template: t}}", hosts=hosts)
    assert said == ["the files up to this one add up to more than 64 MiB"]


def test_one_file_for_many_hosts_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(LARGEST))
    lab = lab_of(tmp_path, "{/f: {src: f}}", hosts=ALL // LARGEST + 2)
    assert len({id(host.files[0].content) for host in lab.hosts.values()}) == 1


# What is rendered

# With LOOP, what takes as long as a template may: another test has the loop alone.
SLOW = ("{% set x = 10 ** (10 ** 8) %}", "{{ lipsum(n=10 ** 6) }}")
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
BOMBS = {
    LOOP: "t: this takes more than 5 s",
    "{% set x = 10 ** (10 ** 8) %}": "t: this takes more than 5 s",
    "{{ 'a' * 10 ** 9 }}": "t",
    "{{ ['a'] * 10 ** 9 }}": "t",
    "{% for a in range(99999) %}{{ 'a' * 999 }}{% endfor %}": "t: this renders to more than 1 MiB of text",
    "{{ '%099999999999d' | format(1) }}": "t",
    "{{ '{:>99999999999}'.format(1) }}": "t",
    "{{ 'a'.ljust(10 ** 10) }}": "t",
    "{{ 'a' | center(10 ** 10) }}": "t",
    "{{ 'a' | indent(10 ** 10) }}{{ 'a' | wordwrap(1) }}": "t",
    "{{ range(10 ** 9) | list }}": "t:1: Range too big. ",
    "{{ lipsum(n=10 ** 6) }}": "t: this",
    "{% include 't' %}": "t:1: this is nested too deeply",
    "{% extends 't' %}": "t",
    "{% import 't' as x %}": "t",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "t:1: this is nested too deeply",
    "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}": "t: this is nested too deeply",
    "{% if 1 %}" * 200 + "{% endif %}" * 200: "t",
    "{{ 10 ** 5000 }}": "t",
}


@pytest.mark.parametrize(
    "template",
    [pytest.param(each, marks=pytest.mark.full) if each in (LOOP, *SLOW) else each for each in BOMBS],
    ids=lambda text: text[:40],
)
def test_a_template_that_would_not_end_or_fills_the_memory_is_a_problem_with_a_line(
    template: str, tmp_path: Path
) -> None:
    (tmp_path / "t").write_text(template)
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (said,) = refusal(tmp_path, "{/f: {template: t}}")
    assert said.startswith(BOMBS[template]), said
    assert len(said) < 2000
    assert time.monotonic() - began < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024, "KiB"


def test_after_one_that_took_too_long_nobody_waits_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labrun.inventory.file.template_process.SECONDS", 1.0)
    (tmp_path / "t").write_text(LOOP)
    began = time.monotonic()
    said = refusal(tmp_path, "{/f: {template: t}, /g: {template: t}}", hosts=20)
    assert said == ["t: this takes more than 1 s"]
    # Twenty hosts with two files each.
    assert time.monotonic() - began < 20


def test_the_process_that_renders_has_no_secrets_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "secret")
    with Renderer(lambda _name: "{{ host.name }}", {"hosts": {"a": {"name": "a"}}}, MIB) as renderer:
        assert renderer.render("t", "a") == "a"
        assert renderer._process is not None
        pid = renderer._process.pid
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"secret" not in environment
        assert b"HOME=" not in environment
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_that_was_killed_is_a_problem_and_no_crash() -> None:
    with Renderer(lambda _name: "x", {"hosts": {"a": {}}}, MIB) as renderer:
        renderer.render("t", "a")
        assert renderer._process is not None
        renderer._process.kill()
        with pytest.raises(TemplateError):
            renderer.render("t", "a")
        assert renderer.render("t", "a") == "x"


def test_where_no_process_can_be_started_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t").write_text("x")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    (said,) = refusal(tmp_path, "{/f: {template: t}}")
    assert said == "t: no process can be started to render it: No such file or directory"


def test_a_lab_without_templates_starts_no_process(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    script = (
        "import subprocess, sys; subprocess.Popen = None; from labrun.inventory.file.load import load_lab;"
        "load_lab(sys.argv[1]); print('jinja2' in sys.modules)"
    )
    lab_of(tmp_path, "{/f: {src: f}}")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "lab.yaml")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


# The lab file itself


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_fifo, "this is not a regular file (--lab - reads standard input)"),
        (
            lambda path: path.symlink_to("/dev/zero"),
            "this is not a regular file (--lab - reads standard input)",
        ),
        (lambda path: path.symlink_to("/dev/tty"), ""),
        (_large, "the file is larger than 1 MiB (a lab file describes a lab, it is not for data)"),
        (_endless_link, "the file cannot be read: Too many levels of symbolic links"),
    ],
    ids=["FIFO", "/dev/zero", "/dev/tty", "large", "endless link"],
)
@pytest.mark.parametrize("command", ["validate", "history"])
def test_what_stands_in_a_lab_file_s_place_is_not_waited_for(
    make: Callable[[Path], object], says: str, command: str, tmp_path: Path
) -> None:
    make(tmp_path / "odd.yaml")
    done = run_labrun("--lab", "odd.yaml", "--state-dir", "state", command, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    if command == "validate" and says:
        assert done.stderr == f"odd.yaml: {says}\nerror: odd.yaml has 1 problem\n"


BOMB = "name: demo\na: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
MERGES = "name: demo\na: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 50)}], y: 1}}\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "text", [BOMB, MERGES, "[" * 500_000, "- " * 200_000, "&a " * 100_000, "? " * 100_000]
)
def test_yaml_that_grows_is_refused_at_once(text: str, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(text)
    began = time.process_time()
    with pytest.raises(LabFileError):
        load_lab(tmp_path / "lab.yaml")
    assert time.process_time() - began < 10


def test_a_lab_is_the_same_after_json(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("name: demo\nhosts: {a: {address: 192.0.2.1, sshd: false, services: {cron: enabled}}}\n")
    lab = load_lab(path)
    assert lab_from_json(lab_to_json(lab)) == lab


@pytest.mark.parametrize("kind", ["FIFO", "/dev/zero"])
def test_a_known_hosts_file_that_a_lab_names_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "known"
    _fifo(path) if kind == "FIFO" else path.symlink_to(kind)
    with pytest.raises(HostKeyError, match=r"cannot read .*/known: not a regular file"):
        known_keys(path, "host")
