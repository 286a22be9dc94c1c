# Reload sshd, and wait until it has read its files. Defines: reload_sshd.
reload_sshd() {
# Made old, what sshd writes from now on is newer, however coarse and wrong the clock is.
touch -t 197001030000 /run/labrun-sshd-reload
pid='' title='' writes=''
[ ! -e /run/sshd.pid ] || { writes=yes; touch -t 197001020000 /run/sshd.pid; }
{ read -r pid </run/sshd.pid && IFS= read -r title <"/proc/$pid/cmdline"; } 2>/dev/null || :
case $title in "sshd: "*" [listener]"*) kill -HUP "$pid" || title=;; *) title=;; esac
if [ -n "$title" ]; then :
elif [ -e /run/openrc/started/ssh ]; then rc-service --quiet ssh reload || return 1
elif [ -e /run/openrc/started/sshd ]; then rc-service --quiet sshd reload || return 1
elif [ ! -d /run/systemd/system ] && [ -d /etc/runlevels ]; then
# Without a mark of OpenRC's: nothing that runs has been found.
return 0
elif systemctl is-active --quiet ssh.service; then systemctl reload ssh.service || return 1
elif systemctl is-active --quiet sshd.service; then systemctl reload sshd.service || return 1
else return 0
fi
n=0
# shellcheck disable=SC3013 # dash, bash and busybox have it
while [ -n "$writes" ] && ! [ /run/sshd.pid -nt /run/labrun-sshd-reload ]; do
n=$((n + 1))
if [ $n -gt 200 ]; then
# Removed and not written again: by its files it has none any more.
[ -e /run/sshd.pid ] || return 0
echo 'sshd did not come back from its reload in 10 s'; return 1
fi
sleep 0.05
done
}
