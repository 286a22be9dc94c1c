# libvirt runs this for each of its networks, with the network's XML on the standard input:
# https://libvirt.org/hooks.html. When one of labrun's has started, what the lab's hosts may send is loaded before any
# of them starts. Each file is a script that does nothing where its table is there. Values: labs.
[ "$2/$3" = started/begin ] || exit 0
lab=$(sed -n "s|.*<labrun:lab\( [^>]*\)\{0,1\} name=['\"]\([a-z0-9-]*\)['\"].*|\2|p")
[ -n "$lab" ] || exit 0
export PATH="$PATH:/usr/sbin:/sbin"
for rules in "$labs/$lab"/.rules/*; do
    case ${rules##*/} in
        # Its device is there only now; that of another network may not be.
        forward-*) [ "$1" = "$lab-${rules##*/forward-}" ] || continue ;;
    esac
    [ ! -f "$rules" ] || sh "$rules" || exit 1
done
