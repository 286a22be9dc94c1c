# Files that the next boot reads are put in force now, so that the new login proves them too. Value: guard.
if [ -d /etc/.labrun-tree ] && [ -e "$guard/armed" ]; then
for each in /etc/sysctl.d/*.conf /etc/sysctl.conf; do
[ ! -e "$each" ] || cmp -s "/etc/.labrun-tree/${each#/etc/}" "$each" || sysctl -q -e -p "$each"
done
rehearse_pid='' rehearse_title=''
# There is no newline at its end, which `read` takes for a failure.
{ read -r rehearse_pid </run/sshd.pid && IFS= read -r rehearse_title <"/proc/$rehearse_pid/cmdline"; } || :
case $rehearse_title in "sshd: "*" [listener]"*) ! sshd -t || kill -HUP "$rehearse_pid";; esac
fi >/dev/null 2>&1 </dev/null
