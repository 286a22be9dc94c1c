"""Whatever a value contains is data: the scripts of configure, run by the real sh."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labrun.errors import CommandError, UnreadableError
from labrun.tasks.guest.facts import links
from labrun.tasks.guest.facts.nm import PROBE as NM_PROBE
from labrun.tasks.guest.facts.nm import observed
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import (
    Captured,
    Facts,
    Probe,
    apply_script,
    gather_script,
    install,
    install_word,
    marker,
    parse_facts,
    quote,
)
from tests.fuzz import examples

# sh cannot carry NUL in a word.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
NASTY = [
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "a\nb\n\n",
    "\\",
    "-n",
    "%s%n",
    "$HOME ${m} $m",
    "  leading and trailing  ",
    "\r\n",
    "EOF\nframe end",
    "é ü 漢字 🙂",
    "!history",
    "*",
    "~",
    "",
]


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


def sh(script: str, cwd: Path | None = None) -> Ended:
    """Run the script; bytes on both sides, so that no carriage return is made into something else."""
    done = subprocess.run(["sh", "-s"], input=script.encode(), capture_output=True, cwd=cwd, check=False)
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def installing(text: str, cwd: Path | None = None) -> Ended:
    return sh(guest_script("install_file") + text, cwd)


@settings(max_examples=examples(60))
@given(st.lists(TEXT, max_size=5))
def test_quoted_words_arrive_as_they_are(words: list[str]) -> None:
    done = sh("".join(f"printf '%s\\0' {quote(word)}\n" for word in words))
    assert done.stdout.split("\0")[:-1] == words


@pytest.mark.parametrize("text", NASTY)
def test_nothing_in_a_value_is_run(text: str, tmp_path: Path) -> None:
    done = installing(f"printf %s {quote(text)}\n" + install(f"{tmp_path}/file", text, "0600"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "file").read_bytes() == text.encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@settings(max_examples=examples(40))
@given(TEXT)
def test_installed_files_hold_any_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("install")
    assert installing(install(f"{folder}/new dir/it's", text, "0640")).stderr == ""
    path = folder / "new dir" / "it's"
    assert path.read_bytes() == text.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("strict", ["", "set -e\n"], ids=["goes on", "ends at errors"])
def test_a_file_is_never_there_half_written_and_the_reason_is_told(tmp_path: Path, strict: str) -> None:
    full = tmp_path / "full"
    full.mkdir()
    small = f"mount -t tmpfs -o size=16k tmpfs {full}"
    fill = f"echo old >{full}/file; dd if=/dev/zero of={full}/rest bs=4k 2>/dev/null"
    text = install(f"{full}/file", "new", "0600")
    script = f"{small}; {fill}\n{guest_script('install_file')}{strict}{text}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{script}said=$?; cat {full}/file; ls -A {full}; exit $said"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "No space left on device" in done.stdout
    if not strict:
        assert done.stdout.splitlines()[-3:] == ["old", "file", "rest"]


@pytest.mark.parametrize("mode", ["0600", "0644", "0755"])
def test_a_file_is_never_readable_too_early(tmp_path: Path, mode: str) -> None:
    """Its mode stands from the first byte on, or, of a program, nobody else can read it before it has it."""
    watched = 'chmod() { stat -c %a "$2"; command chmod "$@"; }\n'
    done = installing(f"umask 000\n{watched}{install(f'{tmp_path}/file', 'x', mode)}")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == int(mode, 8)
    assert done.stdout == ("600\n" if mode == "0755" else "")


def test_an_unset_word_installs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old", encoding="utf-8")
    done = installing("set -eu\n" + install_word(f"{tmp_path}/file", '"$missing"', "0600"))
    assert done.returncode != 0
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"


def test_a_nul_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="a NUL character cannot be handed to a shell"):
        quote("a\0b")


def test_markers_differ_from_script_to_script() -> None:
    assert len({marker() for _ in range(50)}) == 50


def gathered(probes: list[Probe], cwd: Path | None = None, mark: str = "mark") -> str:
    done = sh(gather_script(probes, mark), cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@settings(max_examples=examples(30))
@given(st.dictionaries(st.sampled_from("abcdefgh"), TEXT, max_size=5))
def test_files_come_back_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    facts = parse_facts(gathered([Probe((f"{quote(str(folder))}/*",))]), "mark")
    assert facts.under(str(folder)).keys() == files.keys()
    for name, text in files.items():
        # awk ends every line; whether the last one had an end is the only thing lost.
        whole = text if text.endswith("\n") or not text else text + "\n"
        assert facts.under(str(folder))[name] == whole


def test_a_file_that_imitates_frames_stays_a_file(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("\nlabrun-0 end\n\nmark-x file /etc/passwd\nroot\n", encoding="utf-8")
    mark = marker()
    facts = parse_facts(gathered([Probe((f"{tmp_path}/*",))], mark=mark), mark)
    assert list(facts.files) == [f"{tmp_path}/evil"]
    assert facts.words == {"end"}


def test_links_to_dev_null_and_empty_files_are_files_and_directories_are_not(tmp_path: Path) -> None:
    (tmp_path / "masked").symlink_to("/dev/null")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    facts = parse_facts(gathered([Probe((f"{tmp_path}/*",))]), "mark")
    assert facts.under(str(tmp_path)) == {"masked": "", "empty": ""}


def test_a_command_comes_back_with_both_streams_and_its_status(tmp_path: Path) -> None:
    script = "capture one sh -c 'echo out; echo err >&2; exit 3'\nframe seen it\n"
    facts = parse_facts(gathered([Probe((), script)]), "mark")
    one = facts.commands["one"]
    assert (one.status, one.text, one.error) == (3, "out\n", "err\n")
    assert facts.commands["one"].last_line == "err"
    assert "seen it" in facts.words


def test_a_gather_that_broke_off_is_no_gather() -> None:
    whole = gathered([Probe((), "capture one true\n")])
    with pytest.raises(CommandError, match="the script broke off before its end"):
        parse_facts(whole[: whole.index("end")], "mark")


def test_a_section_ends_at_its_first_error_and_the_next_one_goes_on(tmp_path: Path) -> None:
    sections = [("one", "echo first; false; touch never"), ("two", "touch there; echo fine")]
    done = sh(apply_script(sections, "mark"), tmp_path)
    facts = parse_facts(done.stdout, "mark")
    assert {name: (said.status, said.text.strip()) for name, said in facts.commands.items()} == {
        "one": (1, "first"),
        "two": (0, "fine"),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


def test_a_section_s_own_exit_does_not_end_the_script() -> None:
    facts = parse_facts(sh(apply_script([("one", "exit 7"), ("two", "exit 0")], "mark")).stdout, "mark")
    assert [facts.commands[name].status for name in ("one", "two")] == [7, 0]


def test_what_is_begun_is_ended_when_the_session_is_cut(tmp_path: Path) -> None:
    lines = (
        "i=0; while [ $i -lt 2000 ]; do echo some output that nobody reads; i=$((i + 1)); done; touch done"
    )
    script = apply_script([("one", lines), ("two", "touch also")], "mark")
    reader, writer = os.pipe()
    with subprocess.Popen(
        ["sh", "-s"], stdin=subprocess.PIPE, stdout=writer, stderr=writer, cwd=tmp_path
    ) as run:
        os.close(writer)
        os.close(reader)
        run.communicate(script.encode(), timeout=30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["also", "done"]


def test_noise_on_stderr_never_stands_in_an_answer(tmp_path: Path) -> None:
    noisy = "say() { echo warning: noise >&2; echo '[]'; echo more >&2; return $1; }\n"
    script = (
        f"{noisy}capture good say 0\ncapture bad say 3\ncapture quiet true\nprintf x | capture piped cat\n"
    )
    commands = parse_facts(gathered([Probe((), script)]), "mark").commands
    assert commands["good"] == Captured("[]\n", 0, "warning: noise\nmore\n")
    assert commands["bad"] == Captured("[]\n", 3, "warning: noise\nmore\n")
    assert commands["quiet"] == Captured("", 0)
    assert commands["piped"].text == "x"
    assert commands["bad"].last_line == "more"


def test_an_ip_that_makes_noise_is_understood(tmp_path: Path) -> None:
    """Both of its answers come from one process."""
    tools = tmp_path / "bin"
    tools.mkdir()
    shown = '[{"ifname":"eth0","mtu":1500,"addr_info":[]}]'
    for name, text in {
        "busctl": 'echo \'busctl: noise\' >&2; echo \'{"type":"a","data":[{}]}\'',
        "ip": f"cat >/dev/null; echo 'ip: noise' >&2; echo '{shown}'; echo '[]'; echo 'ip: more' >&2",
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    here = Probe((), f"PATH={quote(str(tools))}:$PATH\n")
    facts = parse_facts(gathered([here, NM_PROBE, links.PROBE]), "mark")
    assert facts.commands["link"] == Captured(shown + "\n", 0, "ip: noise\nip: more\n")
    assert facts.commands["route4"].text == "[]\n"
    assert observed(facts).nics["eth0"].mtu == 1500


def test_a_captured_command_costs_no_second_process() -> None:
    """What keeps stderr apart becomes the command itself: the parent of each is the script's own shell."""
    script = "".join(f"capture {n} sh -c 'echo $PPID'\n" for n in range(3))
    found = parse_facts(gathered([Probe((), script)]), "mark")
    assert len({found.commands[str(n)].text for n in range(3)}) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\nm status one x\n\nm end\n", 'status of one: "x" in place of a number'),
        (
            "\nm status one " + "9" * 5000 + "\n\nm end\n",
            'status of one: "' + "9" * 38 + "… in place of a number",
        ),
        ("\nm out a\n" + "\n" * 8_000_000 + "\nm end\n", "gather: more than 200000 lines"),
        ("\nm x" * 30_000 + "\nm end\n", "gather: more than 20000 parts"),
    ],
    ids=["word", "digits", "lines", "frames"],
)
def test_what_no_script_prints_is_an_error_in_words(text: str, reason: str) -> None:
    began = time.process_time()
    with pytest.raises(UnreadableError) as caught:
        parse_facts(text, "m")
    assert str(caught.value) == reason
    assert time.process_time() - began < 1


def test_a_reason_is_one_line_and_no_longer_than_a_table_takes() -> None:
    assert Captured("x" * 10_000, 1).last_line == "x" * 4_000
    assert Captured("\n" * 1_000_000, 1).last_line == "exit status 1"
    assert Captured("out\n", 1, "first\nlast\n\n").last_line == "last"


def test_a_file_that_is_too_large_for_a_setting_is_named() -> None:
    with pytest.raises(UnreadableError) as caught:
        parse_facts(f"\nm file /etc/hosts\n{' ' * 3_000_000}\nm files\n/etc/hosts\n\nm end\n", "m")
    assert caught.value.on("evil") == "/etc/hosts on evil: 3000000 characters, more than 1048576"


def test_a_fact_is_parsed_once_whoever_needs_it() -> None:
    asked: list[Facts] = []

    def count(facts: Facts) -> int:
        asked.append(facts)
        if len(asked) == 1:
            raise UnreadableError("not yet")
        return len(asked)

    facts = Facts(commands={"nm": Captured('[{"type": "a", "data": {}}]', 0), "link": Captured("[]", 0)})
    with pytest.raises(UnreadableError):
        facts.once(count)
    assert (facts.once(count), facts.once(count)) == (2, 2)
    assert Facts(commands=facts.commands) == facts, "what was parsed says nothing new"
    assert Facts().once(count) == 3


def test_the_state_of_networkmanager_is_parsed_once() -> None:
    said = {name: Captured("[]", 0) for name in ("link", "route4")}
    facts = Facts(commands={**said, "nm": Captured('{"type": "a{}", "data": [{}]}', 0)})
    assert observed(facts) is observed(facts)
