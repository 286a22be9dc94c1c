# Ask systemd about units if no link has a boot start one of them, or if files of others keep it from starting.
# Defines: no_start. Needs frames.
# Set files to those in /etc that give a unit a condition, a command or a requirement of somebody's own.
own_words() {
files=''
for file in /etc/ssh/sshd_not_to_be_run /etc/systemd/system/"$1" /etc/systemd/system/"$1".d/*.conf /etc/systemd/system/service.d/*.conf; do
[ -f "$file" ] || continue
case $file in
*/sshd_not_to_be_run) case $1 in ssh*) files=" $file";; esac; continue;;
# Links are names of units of the vendor's.
*."${1##*.}") [ -L "$file" ] || files="$files $file"; continue;;
esac
while IFS= read -r line || [ -n "$line" ]; do
case $line in
Condition*=?* | Assert*=?* | ExecStart*=?* | ExecCondition=?* | Require*=?* | Requisite=?* | BindsTo=?*) files="$files $file"; break;;
esac
done <"$file"
done
[ -n "$files" ]
}
no_start() {
[ -d /run/systemd/system ] || return 0
starts='' kept=''
for unit; do
[ -c "/etc/systemd/system/$unit" ] && continue
linked=
for each in /etc/systemd/system/*.wants/"$unit" /etc/systemd/system/*.requires/"$unit" \
/usr/lib/systemd/system/*.wants/"$unit" /lib/systemd/system/*.wants/"$unit"; do
[ ! -L "$each" ] || linked=yes
done
[ -n "$linked" ] || continue
if own_words "$unit" && ! said=$(systemd-analyze condition --unit="$unit" 2>&1 && systemd-analyze verify --man=no "$unit" 2>&1)
then kept="$unit$files"
else starts=yes
fi
done
if [ -z "$starts" ] && [ -n "$kept" ]; then frame out "kept $kept"; printf '%s\n' "$said"; frame status "kept $kept" 1; fi
[ -n "$starts$kept" ] || capture "no-start $*" systemctl show --property=Id,LoadState,UnitFileState -- "$@"
}
