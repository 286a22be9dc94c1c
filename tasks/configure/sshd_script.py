"""The shell text that asks sshd what holds, has it check the drop-in first, and has it read it."""

from __future__ import annotations

from labrun.tasks.guest.shell import install, install_word, quote
from labrun.tasks.state.sections import SSHD

__all__ = ["DROP_IN", "MAIN", "apply_script", "probe_script", "undo_script"]

(DROP_IN,) = SSHD.files
MAIN = "/etc/ssh/sshd_config"
_SOCKET = "systemctl --quiet is-active ssh.socket sshd.socket 2>/dev/null && frame sshd-socket\n"

# A listener that somebody started with another file or option goes by that; its title has its arguments.
# Whether root may log in can stand in a Match block for root, which the login's own user never meets.
# sudo empties the environment; the login's own is still that of the parent process. `read` drops
# the NULs, so the port is cut where its digits end.
_JUDGE = """\
addr=127.0.0.1 laddr=127.0.0.1 lport=22
environment=
IFS= read -r environment 2>/dev/null <"/proc/$PPID/environ"
case $environment in *SSH_CONNECTION=*)
set -- ${{environment#*SSH_CONNECTION=}}
addr=$1 laddr=$3 lport=${{4%%[!0-9]*}};;
esac
judge() {{ sshd -T -C "user=$user,host=$addr,addr=$addr,laddr=$laddr,lport=$lport" "$@"; }}
# sshd -T wants the directory, and whoever only looks leaves none behind.
[ -d /run/sshd ] || {{ mkdir -p /run/sshd; trap 'rmdir /run/sshd' EXIT; }}
pid= title= with=
{{ read -r pid </run/sshd.pid; IFS= read -r title <"/proc/$pid/cmdline"; }} 2>/dev/null
case $title in
"sshd: "*" -"[fo]*" [listener]"*)
title=${{title%% \\[listener\\]*}} with=${{title#sshd: * }}
frame "sshd-with $with";;
esac
user={user}
blocks=$(grep -ils '^[[:space:]]*match[[:space:]]' {main} {main}.d/*.conf)
set -f
capture sshd judge $with
[ -z "$blocks" ] || {{ user=root; capture sshd-root judge $with; user={user}; }}
set +f
[ -e /run/sshd.pid ] && [ {drop_in} -nt /run/sshd.pid ] && frame stale-sshd
"""
_CANONICAL = "printf %s {text} | capture canonical judge -f /dev/stdin\n"
_APPLY = """\
[ -d /run/sshd ] || mkdir -p /run/sshd
tree=/run/labrun-sshd.$$
[ ! -e "$tree" ] || rm -rf "$tree"
trap 'rm -rf "$tree"' EXIT
mkdir -m 700 "$tree" "$tree/sshd_config.d"
set --
for f in /etc/ssh/sshd_config.d/*.conf; do
[ "$f" = {drop_in} ] || [ ! -e "$f" ] || set -- "$@" "$f"
done
[ $# -eq 0 ] || cp "$@" "$tree/sshd_config.d/"
text={text}
printf %s "$text" >"$tree/sshd_config.d/00-labrun.conf"
include='[Ii][Nn][Cc][Ll][Uu][Dd][Ee]'
sed "/^[[:space:]]*$include[[:space:]]/s#\\(/etc/ssh/\\)\\{{0,1\\}}sshd_config\\.d/#$tree/sshd_config.d/#g" \\
{main} >"$tree/sshd_config"
if ! said=$(sshd -t -f "$tree/sshd_config" 2>&1); then
printf 'sshd -t: %s\\n' "$said" | sed -e '/: terminating, /d' -e "s#$tree/#/etc/ssh/#g"
exit 1
fi
"""
# What `systemctl reload` has sshd told is this signal, after `sshd -t`, which has been asked already; through
# systemd it costs a host as much as a login. Not every listener has a pid file that leads to it.
_RELOAD = """\
reload_sshd() {
: >/run/labrun-sshd-reload
pid= title=
{ read -r pid </run/sshd.pid && IFS= read -r title <"/proc/$pid/cmdline"; } 2>/dev/null || :
case $title in "sshd: "*" [listener]"*) kill -HUP "$pid" || title=;; *) title=;; esac
if [ -n "$title" ]; then :
elif systemctl is-active --quiet ssh.service; then systemctl reload ssh.service || return 1
elif systemctl is-active --quiet sshd.service; then systemctl reload sshd.service || return 1
else return 0
fi
n=0
while [ -e /run/sshd.pid ] && [ /run/labrun-sshd-reload -nt /run/sshd.pid ]; do
n=$((n + 1)); [ $n -le 200 ] || { echo 'sshd did not come back from its reload in 10 s'; return 1; }
sleep 0.05
done
}
"""

# An sshd that could not listen where it was told to has ended, and reloading does not start it.
_REVIVE = """\
[ "$on" = live ] || exit 0
for unit in ssh.service sshd.service; do
systemctl is-failed --quiet $unit && { systemctl restart $unit; exit; }
done
reload_sshd
"""


def probe_script(user: str, *, unclear: str | None, socket: bool) -> str:
    """Return what asks sshd what holds for this user's login.

    ``unclear`` is a drop-in that sshd is to say in its own words; with ``socket`` it is asked too
    whether systemd listens in its place.
    """
    script = _JUDGE.format(user=quote(user), drop_in=DROP_IN, main=MAIN)
    if unclear is not None:
        script += _CANONICAL.format(text=quote(unclear))
    return script + _SOCKET if socket else script


def apply_script(text: str, before: str | None) -> str:
    """Return what checks the drop-in beside all other files, puts it in place and has sshd read it."""
    return (
        _APPLY.format(text=quote(text), drop_in=DROP_IN, main=MAIN)
        + _RELOAD
        + install_word(DROP_IN, '"$text"', "0600")
        + f"reload_sshd || {{ {_put_back(before)}reload_sshd; exit 1; }}\n"
    )


def undo_script() -> str:
    """Return what puts the drop-in back as it was, and an sshd on its feet that ended over the new one."""
    return f"{_RELOAD}restore {DROP_IN}\n{_REVIVE}"


def _put_back(before: str | None) -> str:
    return f"rm -f {DROP_IN}\n" if before is None else install(DROP_IN, before, "0600")
