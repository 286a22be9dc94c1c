# What else filters here, and the desired table as this nft lists it. Needs nft_look. Defines: nft_compare.
# Values: nft_text nft_define, and what labrun's drop-in for sshd (nft_drop_in) will contain: nft_declared.
nft_rivals() {
for f in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
[ -e "$f/firewalld.service" ] || continue
systemctl is-active --quiet firewalld.service 2>/dev/null && frame nft-rival firewalld
break
done
command -v ufw >/dev/null && grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf && frame nft-rival ufw
}
# sshd combines all `Port` lines.
nft_ssh_ports() {
set --
for f in /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf; do
[ ! -e "$f" ] || [ "$f" = "$nft_drop_in" ] || set -- "$@" "$f"
done
port='^[[:space:]]*[Pp][Oo][Rr][Tt][[:space:]=]\{1,\}'
# shellcheck disable=SC2046,SC2086 # they are numbers
set -- $nft_declared $([ $# -eq 0 ] || sed -n "s/$port\([0-9]\{1,5\}\).*/ \1/p" "$@")
[ $# -gt 0 ] || set -- 22
ssh_ports=$*
frame nft-ssh "$ssh_ports"
}
# It is loaded into a separate network namespace, so that two listings by the same nft are compared.
nft_wanted() {
command -v nft >/dev/null || return 0
# shellcheck disable=SC2086 # numbers; family and name
{
printf 'define %s = { ' "$nft_define"
printf '%s, ' $ssh_ports
echo '}'
printf %s "$nft_text"
} | capture nft-wanted unshare -n sh -c 'nft -f - && nft -s list table "$@"' sh $nft_table
}
nft_compare() { nft_look; nft_rivals; nft_ssh_ports; nft_wanted; }
