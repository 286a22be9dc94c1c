# Inspect the files "$@". Values: largest. Defines: text_of.
for f; do
shift
if [ -L "$f" ]; then frame "file-link $f"
elif [ -f "$f" ]; then set -- "$@" "$f"
elif [ -e "$f" ]; then frame "file-other $f"
fi
done
sums=
if [ $# -gt 0 ]; then
sums=$(sha256sum -- "$@")
capture files-stat stat -c '%a %U %G %n' -- "$@"
capture files-hash printf '%s\n' "$sums"
fi
text_of() {
case "
$sums
" in *"
$1  $3
"*) return;; esac
if [ -f "$3" ] && [ ! -L "$3" ] && [ "$(wc -c <"$3")" -le "$largest" ]
then capture "file-text-$2" base64 -w 0 -- "$3"; fi
}
