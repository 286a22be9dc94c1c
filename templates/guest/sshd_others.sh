# Name every other sshd that listens here, with its arguments, without a process. Needs frames and sshd_login.
for each in /proc/[0-9]*/cmdline; do
title=''
{ IFS= read -r title <"$each"; } 2>/dev/null
case $title in
"sshd: "*" [listener]"*)
number=${each#/proc/} number=${number%/cmdline}
# That of a container is not this host's.
# shellcheck disable=SC3013 # dash, bash and busybox have it
if [ "$number" != "$pid" ] && [ "/proc/$number/ns/net" -ef /proc/self/ns/net ]; then
frame "sshd-other ${title%% \[listener\]*}"
fi;;
esac
done
