# Put libvirt's own chains back into iptables: it creates them only when its daemon starts, and cannot start a
# network without them. Nothing is done where they are; whoever has no iptables needs none of them.
set -u
put_back() { # program, table, built-in chain, libvirt's chain
"$1" -w -t "$2" -N "$4" 2>/dev/null
"$1" -w -t "$2" -C "$3" -j "$4" 2>/dev/null || "$1" -w -t "$2" -I "$3" -j "$4"
}
for program in iptables ip6tables; do
command -v "$program" >/dev/null || continue
put_back "$program" filter INPUT LIBVIRT_INP
put_back "$program" filter OUTPUT LIBVIRT_OUT
put_back "$program" filter FORWARD LIBVIRT_FWO
put_back "$program" filter FORWARD LIBVIRT_FWI
put_back "$program" filter FORWARD LIBVIRT_FWX
put_back "$program" nat POSTROUTING LIBVIRT_PRT
put_back "$program" mangle POSTROUTING LIBVIRT_PRT
done
