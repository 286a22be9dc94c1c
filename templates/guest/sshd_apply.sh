# Check the drop-in along with all other files. Values: text main drop_in.
[ -d /run/sshd ] || mkdir -p /run/sshd
tree=/run/labrun-sshd.$$
[ ! -e "$tree" ] || rm -rf "$tree"
trap 'rm -rf "$tree"' EXIT
mkdir -m 700 "$tree" "$tree/sshd_config.d"
set --
for f in /etc/ssh/sshd_config.d/*.conf; do
[ "$f" = "$drop_in" ] || [ ! -e "$f" ] || set -- "$@" "$f"
done
[ $# -eq 0 ] || cp "$@" "$tree/sshd_config.d/"
printf %s "$text" >"$tree/sshd_config.d/00-labrun.conf"
include='[Ii][Nn][Cc][Ll][Uu][Dd][Ee]'
sed "/^[[:space:]]*${include}[[:space:]]/s#\(/etc/ssh/\)\{0,1\}sshd_config\.d/#$tree/sshd_config.d/#g" \
"$main" >"$tree/sshd_config"
if ! said=$(sshd -t -f "$tree/sshd_config" 2>&1); then
printf 'sshd -t: %s\n' "$said" | sed -e '/: terminating, /d' -e "s#$tree/#/etc/ssh/#g"
exit 1
fi
