# On a machine of a fleet: remove the given folders and files below ~/$base, and print those that were there.
# The last one takes the folder along.
cd -- "$HOME/$base" 2>/dev/null || exit 0
for name do
    [ -e "$name" ] && echo "$name"
    rm -rf -- "$name"
done
rmdir -- keys certificates packages 2>/dev/null || :
find . -mindepth 1 -maxdepth 1 ! -name lock | grep -q . || { cd / && rm -rf -- "${HOME:?}/$base"; }
