# Be the first process of new pid and mount namespaces, and become a command. Arguments: the parent's pid, the command.
# The parent has no pid in the new pid namespace, but the outer /proc is still mounted.
read -r parent <"/proc/$1/stat" || exit 1
case ${parent##*) } in Z*|X*) exit 1 ;; esac
shift
mount -t proc proc /proc && exec "$@"
