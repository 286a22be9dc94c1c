# Install the text $2 at $1 atomically, made with the umask $3 and, if given, changed to the mode $4.
# The temporary file is hidden: NetworkManager, sshd and sysctl all skip names with a leading dot. If it cannot
# be written completely, the file stays as it was, and the function fails.
install_mask=$(umask)
install_file() {
install_folder=${1%/*} install_new=${1%/*}/.${1##*/}.labrun
[ -d "$install_folder" ] || mkdir -p "$install_folder"
if [ -e "$install_new" ] || [ -L "$install_new" ]; then rm -f "$install_new"; fi
umask "$3"; install_made=yes
printf %s "$2" >"$install_new" || install_made=
umask "$install_mask"
if [ -n "$install_made" ] && { [ -z "${4-}" ] || chmod "$4" "$install_new"; } && mv -f "$install_new" "$1"; then return 0; fi
rm -f "$install_new"
# The shell only reports that there was an error; dd says which.
install_why=$(dd if=/dev/zero bs=1 count=1 of="$install_new" 2>&1) || printf '%s\n' "$install_why" | head -n 1
rm -f "$install_new"
return 1
}
