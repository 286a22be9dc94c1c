# What ifupdown has of the NICs, and its files: nothing where it is not installed. Needs frames.
if command -v ifup >/dev/null && [ -e /etc/network/interfaces ]; then
frame ifupdown
[ ! -d /usr/libexec/ifupdown-ng ] || frame ifupdown-ng
! command -v resolvconf >/dev/null || frame ifupdown-resolver
set -- /etc/network/interfaces
for each in /etc/network/interfaces.d/*; do [ ! -f "$each" ] || set -- "$@" "$each"; done
capture ifupdown-files grep -Hs '' "$@"
capture ifupdown-up cat /run/network/ifstate /run/ifstate
# openresolv's folder, and that of Debian's resolvconf.
capture ifupdown-dns grep -Hs '' /run/resolvconf/interfaces/* /run/resolvconf/interface/*
capture ifupdown-leases grep -hs '^ *option routers ' /var/lib/dhcp/dhclient.*.leases /var/lib/dhcp/dhclient.leases
fi
