# What decides whether a login succeeds, for someone who is already inside. Each command ends by itself, so that a
# service that hangs does not hide the rest. Values: login key client server port. Needs frames first_boot no_driver
# boot_state openrc_services.
brief() { timeout 2 "$@"; }
capture boot boot_state
if by_openrc; then
frame boot-by OpenRC
capture units openrc_services ssh sshd
else
capture jobs brief systemctl --no-legend list-jobs
capture units brief systemctl show --property=Id,LoadState,UnitFileState,ActiveState,Result -- NetworkManager.service systemd-networkd.service \
ssh.service sshd.service ssh.socket sshd.socket
fi
capture nm brief busctl --json=short call org.freedesktop.NetworkManager /org/freedesktop \
org.freedesktop.DBus.ObjectManager GetManagedObjects
capture sockets brief ss -H -lntp
capture qdiscs brief tc qdisc show
# Tables of iptables' own; those that nft keeps are in its ruleset.
for v in 4 6; do
case $v in 4) names=/proc/net/ip_tables_names tool=iptables-legacy-save ;; *)
names=/proc/net/ip6_tables_names tool=ip6tables-legacy-save ;; esac
[ -z "$(cat $names 2>/dev/null)" ] || capture "iptables $v" brief $tool
done
# Debian's name for the log of a login was `sshd` until OpenSSH 9.8.
capture refusals brief journalctl -q -o cat -n 12 --since=-3min -t sshd -t sshd-session
capture disks brief df -P -k / /var /tmp /run
capture inodes brief df -P -i / /var /tmp /run
capture first-boot first_boot
capture no-driver no_driver
# In a container the kernel's log is the hypervisor's.
killed() { brief dmesg | sed -n 's/.*Out of memory: Killed process [0-9]* (\([^)]*\)).*/\1/p' | tail -n 5; }
[ -e /run/systemd/container ] || capture killed killed
for file in /etc/nologin /run/nologin /var/run/nologin; do [ ! -e $file ] || { frame "nologin $file"; break; }; done
# sshd -T needs the directory. It stays: an sshd that starts meanwhile would lose it, and refuse every login.
[ -d /run/sshd ] || mkdir -p /run/sshd
capture sshd-check brief sshd -t
asks=$(brief sshd -T -C "user=$login,host=$client,addr=$client,laddr=$server,lport=$port" 2>/dev/null)
asked=$?
frame out sshd-asks; printf '%s\n' "$asks"; frame status sshd-asks $asked
pid=''
{ read -r pid </run/sshd.pid; } 2>/dev/null
case $(cat "/proc/${pid:-none}/comm" 2>/dev/null) in sshd) frame "sshd-process $(sed 's/.*) \(.\).*/\1/' "/proc/$pid/stat")" ;; esac
account=$(getent passwd "$login") || frame no-account
rest=${account%:*} shell=${account##*:} home=${rest##*:}
[ -z "$account" ] || {
frame "home $home"
frame "shell $shell"
[ -x "$shell" ] || frame no-shell
frame "groups $(id -Gn "$login")"
frame "expires $(getent shadow "$login" | cut -d: -f8)"
frame "today $(($(date +%s) / 86400))"
}
# The files that sshd would look for the key in, and who may write to each or to what it is in.
files=${asks#*authorizedkeysfile }
case $files in "$asks") files='' ;; esac
files=${files%%
*}
for file in ${files:-.ssh/authorized_keys}; do
case $file,$home in none,* | *,) continue ;; esac
file=$(printf '%s' "$file" | sed "s|%h|$home|g; s|%u|$login|g; s|%%|%|g")
case $file in /*) ;; *) file=$home/$file ;; esac
if [ ! -e "$file" ]; then frame "keys absent $file"; continue; fi
if grep -qF "$key" "$file"; then frame "keys there $file"; else frame "keys others $file"; fi
while :; do
frame "mode $(stat -Lc '%a %U' "$file") $file"
case $file in "$home" | /) break ;; esac
file=${file%/*} file=${file:-/}
done
done
