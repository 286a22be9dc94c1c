# Ask sshd for the effective settings of this login, and of root. Values: login main drop_in. Defines: judge.
addr=127.0.0.1 laddr=127.0.0.1 lport=22
environment=
IFS= read -r environment 2>/dev/null <"/proc/$PPID/environ"
case $environment in *SSH_CONNECTION=*)
# shellcheck disable=SC2086 # three addresses and ports in one variable
set -- ${environment#*SSH_CONNECTION=}
addr=$1 laddr=$3 lport=${4%%[!0-9]*};;
esac
judge() { sshd -T -C "user=$user,host=$addr,addr=$addr,laddr=$laddr,lport=$lport" "$@"; }
# sshd -T needs the directory; a read-only check must not leave it behind.
[ -d /run/sshd ] || { mkdir -p /run/sshd; trap 'rmdir /run/sshd' EXIT; }
pid='' title='' with=''
{ read -r pid </run/sshd.pid; IFS= read -r title <"/proc/$pid/cmdline"; } 2>/dev/null
case $title in
"sshd: "*" -"[fo]*" [listener]"*)
title=${title%% \[listener\]*} with=${title#sshd: * }
frame "sshd-with $with";;
esac
user="$login"
blocks=$(grep -ils '^[[:space:]]*match[[:space:]]' "$main" "$main".d/*.conf)
set -f
# shellcheck disable=SC2086 # options, as sshd was started with
capture sshd judge $with
# shellcheck disable=SC2086
[ -z "$blocks" ] || { user=root; capture sshd-root judge $with; user="$login"; }
set +f
# shellcheck disable=SC3013 # dash, bash and busybox have it
[ -e /run/sshd.pid ] && [ "$drop_in" -nt /run/sshd.pid ] && frame stale-sshd
