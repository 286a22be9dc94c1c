"""The shell text that has sshd check the drop-in before it counts, and has it read it."""

from __future__ import annotations

from labrun.tasks.guest.facts.sshd import DROP_IN, MAIN
from labrun.tasks.guest.shell import install, install_word, quote

__all__ = ["apply_script", "undo_script"]


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
