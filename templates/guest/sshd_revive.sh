# Start an sshd that exited because of its files. Values: on. Needs sshd_reload.
[ "$on" = live ] || exit 0
openrc_starts() {
[ ! -d /run/systemd/system ] || return 1
for level in /run/openrc/started /etc/runlevels/*; do [ ! -e "$level/$1" ] || return 0; done
return 1
}
for unit in ssh sshd; do
# Without a mark, one that a boot starts: a script that is not OpenRC's own loses its mark when it is restarted.
if openrc_starts "$unit" && ! rc-service --quiet "$unit" status >/dev/null 2>&1; then
rc-service --quiet "$unit" zap; rc-service --quiet "$unit" start; exit
fi
done
for unit in ssh.service sshd.service; do
systemctl is-failed --quiet $unit && { systemctl restart $unit; exit; }
done
reload_sshd
