# Whether a gateway is there. Defines: answers.
answers() {
ping -c 1 -W 1 -n "$1" >/dev/null 2>&1 || [ $? -eq 127 ] ||
case $(ip neigh show to "$1") in *lladdr*) true ;; *) false ;; esac
}
