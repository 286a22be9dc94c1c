# Start an sshd that exited because of its files. Values: on. Needs sshd_reload.
[ "$on" = live ] || exit 0
for unit in ssh sshd; do
if [ -e "/run/openrc/started/$unit" ] && ! rc-service --quiet "$unit" status >/dev/null 2>&1; then
rc-service --quiet "$unit" zap; rc-service --quiet "$unit" start; exit
fi
done
for unit in ssh.service sshd.service; do
systemctl is-failed --quiet $unit && { systemctl restart $unit; exit; }
done
reload_sshd
