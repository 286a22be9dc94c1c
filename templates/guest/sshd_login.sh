# How to ask sshd for the effective settings of a login from where this session came. Defines: judge with.
addr=127.0.0.1 laddr=127.0.0.1 lport=22
environment=
IFS= read -r environment 2>/dev/null <"/proc/$PPID/environ"
case $environment in *SSH_CONNECTION=*)
# shellcheck disable=SC2086 # three addresses and ports in one variable
set -- ${environment#*SSH_CONNECTION=}
addr=$1 laddr=$3 lport=${4%%[!0-9]*};;
esac
host=$addr
judge() { sshd -T -C "user=$user,host=$host,addr=$addr,laddr=$laddr,lport=$lport" "$@"; }
# sshd -T needs the directory. It stays: an sshd that starts meanwhile would lose it, and refuse every login.
[ -d /run/sshd ] || mkdir -p /run/sshd
pid='' title='' with=''
{ read -r pid </run/sshd.pid; IFS= read -r title <"/proc/$pid/cmdline"; } 2>/dev/null
case $title in
"sshd: "*" -"[fo]*" [listener]"*)
title=${title%% \[listener\]*} with=${title#sshd: * }
frame "sshd-with $with";;
esac
