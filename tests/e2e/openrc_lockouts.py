"""Changes after which the next boot would have no way into a guest of OpenRC: by what it starts then."""

from __future__ import annotations

import json

from tests.e2e.lockouts import Case, on_change, only_file

__all__ = ["KINDS", "RC_BOOT"]

_SCRIPT = "#!/sbin/openrc-run\nstart() {{ {}; }}\n"


def _script(path: str, text: str, *others: tuple[str, str]) -> Case:
    """Return a case of a new service, and of other files."""
    files = {path: {"mode": "0755", "content": text}, **{other: {"content": more} for other, more in others}}
    return Case(more=f"files: {json.dumps(files)}")


def _harmless(path: str, content: str) -> Case:
    return Case(files={path: (content, None)}, stays=True)


_NEEDS_NEW = ("/etc/conf.d/ssh", 'rc_need="new"\n')
RC_BOOT: dict[str, Case] = {
    # What a service needs, or where it may not run, by all files that say so.
    "need": only_file("/etc/conf.d/ssh", 'rc_need="nosuch"\n'),
    "needall": on_change("echo 'rc_ssh_need=nosuch' >>/etc/rc.conf"),
    "needpart": only_file("/etc/rc.conf.d/x.conf", "rc_ssh_need=nosuch\n"),
    "keyword": only_file("/etc/conf.d/ssh", 'rc_keyword="-lxc -docker"\n'),
    "netneed": only_file("/etc/conf.d/networking", 'rc_need="nosuch"\n'),
    "netkeyword": only_file("/etc/conf.d/networking", 'rc_keyword="-lxc -docker"\n'),
    "needbad": _script("/etc/init.d/new", _SCRIPT.format("false"), _NEEDS_NEW),
    "needslow": _script("/etc/init.d/new", _SCRIPT.format("sleep 1000"), _NEEDS_NEW),
    # What sshd's own script reads.
    "port": only_file("/etc/default/ssh", "SSHD_OPTS='-o Port=2222'\n"),
    "port2": only_file("/etc/default/ssh", "SSHD_OPTS=-p2222\n"),
    "other": only_file("/etc/default/ssh", "SSHD_OPTS='-f /nowhere'\n"),
    "nonsense": only_file("/etc/default/ssh", 'SSHD_OPTS="\n'),
    "ends": only_file("/etc/default/ssh", "exit 0\n"),
    "users": only_file("/etc/default/ssh", "SSHD_OPTS=-oAllowUsers=nobody\n"),
    "notrun": only_file("/etc/ssh/sshd_not_to_be_run", "x\n"),
    "script": on_change("sed -i '2i exit 0' /etc/init.d/ssh"),
    # What starts the runlevels, and which.
    "level": on_change("rc-update del ssh default; rc-update add ssh nonetwork"),
    "inittab": on_change("sed -i 's/^id:2:/id:1:/' /etc/inittab"),
    "inittab2": on_change("sed -i '/^l2:/d' /etc/inittab"),
    "rc": on_change("sed -i '2i exit 0' /etc/init.d/rc"),
    "rcs": on_change("chmod 644 /etc/init.d/rcS"),
    # The network's own script, and the guard's.
    "nonet": only_file("/etc/default/networking", "CONFIGURE_INTERFACES=no\n"),
    "excluded": only_file("/etc/default/networking", "EXCLUDE_INTERFACES=eth0\n"),
    "netscript": on_change("sed -i '2i exit 0' /etc/init.d/networking"),
    "guard": on_change(
        "rc-update --all del labrun-guard; rm -f /etc/init.d/labrun-guard; rc-service ssh stop"
    ),
    # What makes no difference to a boot stays.
    "comment": _harmless("/etc/default/ssh", "# own\nSSHD_OPTS=-oLogLevel=VERBOSE\n"),
    "othernic": _harmless("/etc/default/networking", "EXCLUDE_INTERFACES=eth9\nVERBOSE=yes\n"),
    "needgood": _harmless("/etc/conf.d/ssh", 'rc_need="dbus"\n'),
}
KINDS = ("need", "port", "inittab", "needgood")
