"""Whatever a value is, it stays data: through a real shell, through every file that is rendered and read."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from labrun.errors import UnreadableError
from labrun.tasks.configure.nm_profiles import property_fault
from labrun.tasks.configure.resources import explain, gather, plan_host
from labrun.tasks.configure.sshd import render as render_sshd
from labrun.tasks.configure.sshd_profiles import Setting, settings_in
from labrun.tasks.guest.facts.sysctl import settings_of
from labrun.tasks.guest.keyfile import escaped, parse, properties, render, unescaped
from labrun.tasks.guest.scripts import guest_script, wrapped
from labrun.tasks.guest.shell import (
    Captured,
    Facts,
    Probe,
    apply_script,
    gather_script,
    install,
    marker,
    parse_facts,
    quote,
    typed_file,
)
from tests.fuzz import examples
from tests.hostile import HOSTILE, LINES, TEXTS
from tests.unit.tasks.configure.test_cases import facts_of, spec_of

MANY = settings(max_examples=examples(60))
NET = "10.63.9"


def sh(script: str) -> bytes:
    """Run a script as labrun does in a guest, by a real shell; what it printed."""
    done = subprocess.run(["/bin/sh", "-s"], input=wrapped(script).encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def parses(script: str) -> None:
    done = subprocess.run(["/bin/sh", "-n"], input=wrapped(script).encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), script


@MANY
@given(st.lists(TEXTS, min_size=1, max_size=20))
@example(list(HOSTILE))
def test_words_reach_a_command_as_they_are(texts: list[str]) -> None:
    out = sh("printf '%s\\0' " + " ".join(map(quote, texts)))
    assert out.decode().split("\0")[:-1] == texts


def test_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a NUL character cannot be handed to a shell$"):
        quote("a\0b")


@settings(max_examples=examples(20))
@given(st.lists(TEXTS, min_size=1, max_size=10))
@example(list(HOSTILE))
def test_files_hold_what_was_given_whoever_writes_them(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory, "it's a $(folder)")
        lines = [install(f"{folder}/{number}", text, "0600") for number, text in enumerate(texts)]
        typed = [typed_file(f"{folder}/t{number}", text, "0644") for number, text in enumerate(texts)]
        sh("\n".join([guest_script("install_file"), *lines, *typed]))
        for number, text in enumerate(texts):
            assert (folder / str(number)).read_bytes() == text.encode()
            assert (folder / f"t{number}").read_bytes() == text.encode()
            assert (folder / f"t{number}").stat().st_mode & 0o777 == 0o644


@settings(max_examples=examples(20))
@given(st.lists(TEXTS, min_size=1, max_size=10))
@example(list(HOSTILE))
def test_what_a_gather_reads_is_what_files_and_commands_hold(texts: list[str]) -> None:
    mark = marker()
    with tempfile.TemporaryDirectory() as directory:
        for number, text in enumerate(texts):
            Path(directory, f"{number}.conf").write_bytes(text.encode())
        said = "".join(f"capture c{number} printf %s {quote(text)}\n" for number, text in enumerate(texts))
        facts = parse_facts(sh(gather_script([Probe((f"{directory}/*.conf",), said)], mark)).decode(), mark)
        for number, text in enumerate(texts):
            whole = text if text.endswith("\n") or not text else f"{text}\n"
            assert facts.files[f"{directory}/{number}.conf"] == whole
            assert facts.commands[f"c{number}"] == Captured(text, 0)


@MANY
@given(TEXTS)
@example("\f")
@example("\r")
def test_a_keyfile_reads_back_as_it_was_written(text: str) -> None:
    # GLib drops a form feed that leads a value, and has no escape for it.
    assume(not text.startswith("\f"))
    written = render({"connection": {"id": escaped(text), "type": "ethernet"}, "ipv4": {"method": "auto"}})
    sections = parse(written)
    assert list(sections) == ["connection", "ipv4"]
    assert unescaped(sections["connection"]["id"]) == text
    assert render(sections) == written
    if text:
        assert properties(sections)["connection.id"] in (text, *(str(yes).lower() for yes in (True, False)))


def test_a_keyfile_keeps_the_escapes_that_networkmanager_writes_in_lists() -> None:
    text = "[ipv4]\ndns-search=a\\;b;c\\\\;d;\n\n[match]\ninterface-name=e\\sf;\\sg \n"
    assert render(parse(text)) == text


@pytest.mark.parametrize("value", ["a\nb", "a\0b"])
def test_a_line_break_never_gets_into_a_keyfile_unescaped(value: str) -> None:
    with pytest.raises(ValueError, match=r"^\[ipv4\] has a value with a line break or a NUL in it$"):
        render({"ipv4": {"method": value}})


@MANY
@given(TEXTS | st.text(max_size=20))
@example("1\n2")
@example("\ud800")
def test_a_kernel_parameter_is_one_line_or_refused(text: str) -> None:
    key = "net.ipv4.tcp_syncookies"
    running = "/proc/sys/net/ipv4/tcp_syncookies"
    spec = {"host": "r", "sections": {"sysctl": {"values": {key: text}}}}
    facts = Facts({running: "1\n"}, {}, frozenset({f"writable {running}"}))
    (part,) = plan_host(spec, facts).sections
    (item,) = part.items
    lines = explain(spec)
    if item.state == "refused":
        assert (part.apply, lines) == ("", [])
        return
    parses(apply_script([("sysctl", part.apply)], marker()))
    parses(gather(spec, (), marker()))
    stub = 'sysctl() { printf "%s\\0" "$@"; }\ninstall() { cat; }\n'
    set_to, _, file = sh(stub + "\n".join(lines)).decode().partition("\0")[2].partition("\0")
    assert set_to == f"{key}={text}"
    assert settings_of(file) == {"net/ipv4/tcp_syncookies": text.strip()}


@MANY
@given(st.lists(TEXTS | st.text(max_size=20), min_size=1, max_size=3))
@example(["yes\nMatch all"])
@example(["\ud800"])
@example(["=0"])
def test_an_sshd_setting_is_one_line_or_refused(values: list[str]) -> None:
    spec = spec_of("host-fresh")
    wanted = spec["sections"]["sshd"]["settings"]
    wanted.append({"keyword": "Banner", "values": values, "reason": ""})
    (part,) = plan_host(spec, facts_of("host-fresh"), ["sshd"]).sections
    item = next(item for item in part.items if item.name == "banner")
    if "a value must" in (item.why or ""):
        assert item.state == "refused"
        assert part.apply == ""
        return
    written = render_sshd((Setting("Banner", tuple(values)),))
    assert [setting.values[0] for setting in settings_in(written)] == [value.strip() for value in values]
    parses(gather(spec, ["sshd"], marker()))
    stub = "install() { cat; }\nsshd() { :; }\nsystemctl() { :; }\n"
    typed = sh(stub + "\n".join(explain(spec, ["sshd"]))).decode()
    assert typed.endswith(written.split("\n", 1)[1])


@MANY
@given(TEXTS | st.text(max_size=20))
@example("a\0b")
@example("\udc80")
def test_a_property_s_value_is_one_word_for_nmcli_or_refused(text: str) -> None:
    spec = spec_of("host-fresh")
    profile = spec["sections"]["nmcli"]["profiles"][0]
    profile["properties"] = {"connection.stable-id": text, "ipv4.dns-search": "x"}
    if property_fault("connection.stable-id", text):
        assert "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)
        assert plan_host(spec, facts_of("host-fresh"), ["nmcli"]).is_empty
        return
    script = gather(spec, ["nmcli"], marker())
    parses(script)
    (line,) = [line for line in script.split("| capture") if "connection modify" in line] or [""]
    words = shlex.split(line.split("connection modify ", 1)[1].partition("\ncapture ")[0], comments=False)
    assert words[:4] == ["connection.stable-id", text, "ipv4.dns-search", "x"]
    stub = 'rm() { :; }\nnmcli() { printf "%s\\0" "$@"; }\n'
    typed = sh(stub + "\n".join(explain(spec, ["nmcli"]))).decode().split("\0")
    assert typed[typed.index("connection.stable-id") + 1] == text


@MANY
@given(LINES)
def test_a_plan_made_of_what_nmcli_answered_parses(text: str) -> None:
    spec, facts = spec_of("host-fresh"), facts_of("host-fresh")
    profile = spec["sections"]["nmcli"]["profiles"][0]
    profile["properties"] = {"connection.stable-id": text}
    network = profile["network"]
    said = {
        **profile["settings"],
        "connection": {**profile["settings"]["connection"], "stable-id": escaped(text)},
    }
    commands = {**facts.commands, f"profile-{network}": Captured(render(said), 0)}
    plan = plan_host(spec, Facts(facts.files, commands, facts.words), ["nmcli"])
    (part,) = plan.sections
    parses(apply_script([(part.section, part.apply)], marker()))
    parses("\n".join(part.commands))


def _leaves(tree: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of all texts in a spec."""
    if isinstance(tree, str):
        return [path]
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [leaf for key, below in pairs for leaf in _leaves(below, (*path, key))]


SPECS = (
    "router-fresh",
    "names-fresh",
    "firewall-fresh",
    "files-fresh",
    "packages-missing",
    "sysctl-refused",
    "sshd-lists-configured",
)


def test_a_secret_that_needs_no_quotes_is_hidden_as_a_word_of_the_shell() -> None:
    spec = spec_of("files-fresh")
    spec["sections"]["files"]["files"][0]["text"] = "-n"
    spec["sections"]["files"]["secrets"] = ["-n"]
    commands = [
        command for part in plan_host(spec, facts_of("files-fresh")).sections for command in part.commands
    ]
    assert any("printf %s '<secret>' >" in command for command in commands)
    parses("\n".join(commands))


@settings(max_examples=examples(80))
@given(st.sampled_from(SPECS), st.data(), TEXTS)
def test_whatever_text_of_a_spec_is_hostile_the_scripts_still_parse(
    name: str, data: st.DataObject, text: str
) -> None:
    spec = spec_of(name)
    # What is in base64 labrun has spelled itself.
    leaves = [leaf for leaf in _leaves(spec["sections"]) if leaf[-1] != "base64"]
    leaf = data.draw(st.sampled_from(leaves))
    below = spec["sections"]
    for key in leaf[:-1]:
        below = below[key]
    below[leaf[-1]] = text
    try:
        plan = plan_host(spec, facts_of(name))
    except UnreadableError as refusal:
        if not isinstance(refusal.__cause__, ValueError):
            raise
        # No address, no mode: the lab file's checks let none of these come here.
        assert leaf[:2] == ("nmcli", "profiles") or leaf[-1] == "mode"
        return
    parses(gather(spec, (), marker()))
    parses(apply_script([(part.section, part.apply) for part in plan.sections if part.apply], marker()))
    for part in plan.sections:
        parses(f"on=boot\n{part.undo}")
    if leaf[-1] not in ("on_change", "validate"):
        # These are commands of the user's, and are typed as they are.
        parses("\n".join(command for part in plan.sections for command in part.commands))
        parses("\n".join(explain(spec)))
