"""What a guest with OpenRC says its next boot would start: the shell itself, OpenRC's answers in files."""

from __future__ import annotations

import subprocess
from pathlib import Path

from labrun.tasks.guest.scripts import guest_script

DEPTREE = """\
depinfo_0_service='ssh'
depinfo_0_ineed_0='logger'
depinfo_0_ineed_1='net'
depinfo_1_service='logger'
depinfo_1_ineed_0='clock'
depinfo_1_ineed_1='ssh'
depinfo_2_service='clock'
depinfo_2_broken_0='nosuch'
depinfo_2_ineed_0='nosuch'
depinfo_3_service='net'
depinfo_3_providedby_0='networking'
"""


def vital(root: Path, order: str, **levels: str) -> dict[str, dict[str, str]]:
    """Return the properties of each service; ``order`` is what OpenRC would start.

    ``levels`` are its runlevels, with the names of services and, after a ``+``, of stacked runlevels.
    """
    for name in ("ssh", "networking", "logger"):
        service = root / "etc/init.d" / name
        service.parent.mkdir(parents=True, exist_ok=True)
        service.write_text("#!/bin/sh\n")
        service.chmod(0o755)
    for level, names in levels.items():
        folder = root / "etc/runlevels" / level
        folder.mkdir(parents=True)
        for name in names.split():
            if name.startswith("+"):
                (folder / name[1:]).mkdir()
            else:
                (folder / name).symlink_to(root / "etc/init.d" / name)
    for path, text in {
        "lib/rc/bin/rc-depend": f'#!/bin/sh\necho "$*" >{root}/asked\necho {order}\n',
        "bin/rc-service": "#!/bin/sh\n",
        "run/openrc/deptree": DEPTREE,
        "guard/x": "",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        (root / path).chmod(0o755)
    script = guest_script("services_openrc") + guest_script("openrc_boot") + "openrc_vital -u\n"
    for path in ("/etc/runlevels", "/etc/init.d", "/lib/rc/bin", "/run/openrc", "/run/systemd"):
        script = script.replace(f" {path}", f" {root}{path}").replace(f'"{path}', f'"{root}{path}')
        script = script.replace(f"={path}", f"={root}{path}")
    done = subprocess.run(
        ["sh"],
        input=f"guard={root}/guard\nPATH={root}/bin:$PATH\n{script}",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines()) for block in done.stdout.strip().split("\n\n")
    ]
    return {block["Id"]: block for block in blocks}


def test_a_service_is_enabled_if_openrc_would_start_it(tmp_path: Path) -> None:
    found = vital(tmp_path, "networking", sysinit="networking", default="+own", own="ssh", nonetwork="logger")
    assert (tmp_path / "asked").read_text() == "-q -u -s -a networking ssh\n"
    assert found["networking"]["UnitFileState"] == "enabled"
    assert found["ssh"]["UnitFileState"] == "ruled out by a keyword"
    assert found["NetworkManager"] == {
        "Id": "NetworkManager",
        "LoadState": "not-found",
        "ActiveState": "inactive",
        "UnitFileState": "",
    }


def test_a_runlevel_that_no_boot_enters_starts_nothing(tmp_path: Path) -> None:
    found = vital(tmp_path, "networking", sysinit="networking", nonetwork="ssh")
    assert found["ssh"]["UnitFileState"] == "disabled"


def test_what_a_service_needs_is_followed_to_what_is_missing(tmp_path: Path) -> None:
    found = vital(tmp_path, "networking ssh", sysinit="networking", default="ssh")
    assert (found["ssh"]["Needs"], found["ssh"]["Missing"]) == ("logger net clock nosuch", "nosuch")
    assert (found["networking"]["Needs"], found["networking"]["Missing"]) == ("", "")


def test_without_openrc_s_answer_its_links_count(tmp_path: Path) -> None:
    found = vital(tmp_path, "", sysinit="networking", nonetwork="ssh")
    assert found["ssh"]["UnitFileState"] == "enabled"
