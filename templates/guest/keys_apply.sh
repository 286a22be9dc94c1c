# Change files of authorized keys. Defines: put_keys USER PATH DROP ADD, which takes the lines DROP out of a
# file and appends ADD; empty = none. Other lines stay as they are, whoever adds them meanwhile.
put_keys() {
keys_folder=${2%/*} keys_new=${2%/*}/.${2##*/}.labrun
keys_home=$(getent passwd "$1" | cut -d: -f6)
if [ ! -d "$keys_folder" ]; then
mkdir -p "$keys_folder"
case $keys_folder in "$keys_home"/*) chmod 700 "$keys_folder"; chown "$1:" "$keys_folder";; esac
fi
rm -f "$keys_new"
(
umask 077
: >"$keys_new"
if [ ! -e "$2" ]; then chown "$1:" "$keys_new"
else
chown --reference="$2" "$keys_new"
chmod --reference="$2" "$keys_new"
# A file without a line that stays is no error.
if [ -z "$3" ]; then awk 1 "$2" >"$keys_new"; else grep -vxF -e "$3" "$2" >"$keys_new" || [ $? -eq 1 ]; fi
fi
[ -z "$4" ] || printf '%s\n' "$4" >>"$keys_new"
) && mv -f "$keys_new" "$2" && return
rm -f "$keys_new"
return 1
}
