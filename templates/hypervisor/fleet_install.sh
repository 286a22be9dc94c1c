# On a machine of a fleet: install labrun's wheel into a folder below ~/$base, unless its file $ready has that
# mark. Called with FOLDER WHEEL PYTHON MARK. Two machines may share a home: one installs, the other finds it done.
set -e
umask 077
cd -- "$HOME/$base"
exec 9>lock
flock 9
[ "$(cat -- "$1/$ready" 2>/dev/null)" = "$4" ] && exit 0
rm -rf -- "$1"
found=
for python in "python$3" python3; do
    has=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    [ "$has" = "$3" ] && found=$python && break
done
[ -n "$found" ] || { echo "there is no Python $3, which this labrun runs with" >&2; exit 1; }
"$found" -m venv -- "$1" >&2
[ -d "packages/$1/wheels" ] && set -- "$@" --no-index --find-links "packages/$1/wheels"
name=$1 wheel=$2 mark=$4
shift 4
"$name/bin/python" -m pip install --quiet --no-input --disable-pip-version-check "$@" \
    --constraint "packages/$name/constraints.txt" "packages/$name/${wheel}[fleet]" >&2
rm -rf -- "packages/$name/wheels"
printf '%s\n' "$mark" > "$name/$ready"
