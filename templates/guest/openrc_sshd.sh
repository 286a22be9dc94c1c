# Defines: openrc_sshd.

# Start a service of sshd as a boot does: while no sshd listens. Its sessions stay. The guard starts it again when it
# rolls back.
openrc_sshd() {
sshd_pid=''
{ read -r sshd_pid </run/sshd.pid; } 2>/dev/null
case $(cat "/proc/${sshd_pid:-none}/comm" 2>/dev/null) in
sshd) kill "$sshd_pid";;
*) sshd_pid=; timeout 30 rc-service --quiet "$1" stop;;
esac
sshd_round=0
while [ -n "$sshd_pid" ] && [ -e "/proc/$sshd_pid" ] && [ $sshd_round -lt 200 ]; do
sshd_round=$((sshd_round + 1)); sleep 0.05
done
timeout 30 rc-service --quiet "$1" zap
# Without the mark by which the guard finds what a change has left running.
timeout 60 env -u LABRUN_CHANGE rc-service --quiet "$1" start
} >/dev/null 2>&1 </dev/null
