"""What the guard does with files, and how it looks at its own way in: its functions, run by a real shell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import places
from tests.loopback_sshd import SSHD
from tests.shares import every, of_ci

GUEST = places.GUEST_SHELL
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and namespaces take root")

HEAD = """\
export LC_ALL=C.UTF-8
guard=$1/guard live=$1/live run=run-1 occasion=now on=live failing='' wide=yes labrun_only=functions
[ -d "$guard" ] || mkdir "$guard" "$live"
. "$1/snapshot.sh"
. "$1/compare.sh"
. "$1/trees.sh"
. "$1/outside.sh"
. "$1/outside_units.sh"
. "$1/hidden.sh"
. "$1/put_back.sh"
. "$1/afterwards.sh"
. "$1/guard.sh"
"""


class Guest:
    """A folder with the guard's functions, whose records lie in it too."""

    def __init__(self, root: Path):
        self.root = root
        for name in (
            *("snapshot", "compare", "trees", "outside", "outside_units", "hidden", "put_back", "afterwards"),
            "guard",
        ):
            text = (GUEST / f"{name}.sh").read_text()
            text = text.replace("/run/labrun-", f"{root}/run-labrun-").replace(
                "/var/lib/labrun/", f"{root}/lib/"
            )
            (root / f"{name}.sh").write_text(text)

    def run(self, script: str, *before: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*before, "sh", "-c", HEAD + script, "sh", str(self.root)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


# --- a whole folder -------------------------------------------------------------------------------

TREE = """\
mkdir -p "$1/etc/d/deep" "$1/etc/empty" && cd "$1/etc" || exit
echo a >a; echo b >b; echo 'x y' >'with space'; echo t >'trailing '; echo l >' leading'; echo s >'st*r'
echo secret >d/key; chmod 600 d/key; echo x >d/deep/x; chmod 750 d/deep; echo . >.hidden
ln -s a link; ln -s /nowhere broken; ln -s d folder; mkfifo pipe
mkdir .labrun-tree
cp -a [!.]* ' leading' .hidden .labrun-tree/
tree_list >"$guard/tree1"
"""
DAMAGE = [
    "echo more >>a",
    "rm a",
    "touch -d @0 a",
    "cp -p a /dev/shm/$$; echo B >a; touch -r /dev/shm/$$ a; rm /dev/shm/$$",
    "chmod 777 a d/key d",
    "rm -rf d",
    "mv d e",
    "rm -rf d; echo file >d",
    "rm -rf d; ln -s empty d",
    "rm a; mkdir a; echo x >a/x",
    "rm a; ln -s b a",
    "ln -sfn b link; ln -sfn empty folder; ln -sfn /dev/null broken",
    "rm link; echo file >link",
    "rm -rf empty; rm .hidden pipe",
    "echo new >new; echo new >'new '; mkdir -p x/y; echo z >'x/y/z z'; ln -s a new-link; echo h >.new",
    "rm 'with space' 'trailing ' ' leading' 'st*r'",
    "echo x >'with space'; echo x >'trailing '; echo x >' leading'; echo x >'st*r'",
    "echo x >trailing; echo x >'trailing  '",
    "rm -rf ./* ./.[!.]i*",
    "rm pipe; echo x >pipe",
    "rm a b; ln d/key a; ln d/key b",
]
NEEDS_ROOT = [
    "chown -R -h 7:7 .; chmod -R u=rwx,go= .",
    "chown 7:7 a d; chown -h 7:7 link pipe",
    "echo x >a; chattr +i a 2>/dev/null || :; echo n >new; chattr +a new 2>/dev/null || :",
    "echo x >d/key; chattr +i d 2>/dev/null || :",
    "echo m >../mounted; mount --bind ../mounted a",
]


def listing(folder: Path, *, own: bool) -> dict[str, tuple[object, ...]]:
    """Return whatever lies in a folder; with ``own`` also which inode it is and when that changed."""
    found: dict[str, tuple[object, ...]] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if name.split("/")[0] == ".labrun-tree":
            continue
        stat = path.lstat()
        what: tuple[object, ...] = (oct(stat.st_mode), stat.st_uid, stat.st_gid)
        if path.is_symlink():
            what += (str(path.readlink()),)
        elif path.is_file():
            what += (path.read_bytes(), stat.st_mtime_ns)
        found[name] = (*what, stat.st_ino, stat.st_ctime_ns) if own else what
    return found


def put_back(guest: Guest, damage: str) -> None:
    etc = guest.root / "etc"
    assert guest.run(TREE).returncode == 0
    before = listing(etc, own=False)
    looks = f'cd "$1/etc"; {damage}\ncd /; tree_put_back "$1/etc" 1'
    done = guest.run(looks, *(["unshare", "--mount"] if os.geteuid() == 0 else []))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert listing(etc, own=False) == before
    again = listing(etc, own=True)
    script = 'tree_put_back "$1/etc" 1 && tree_list >"$live/tree" || exit\n'
    done = guest.run(script + 'tree_difference "$guard/tree1" "$live/tree" sure')
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert listing(etc, own=True) == again


@pytest.mark.parametrize("damage", every(2, DAMAGE))
def test_a_folder_is_put_back_whole_and_then_left_alone(guest: Guest, damage: str) -> None:
    put_back(guest, damage)


@as_root
@pytest.mark.parametrize("damage", NEEDS_ROOT[:4])
def test_owners_and_attributes_are_no_obstacle(guest: Guest, damage: str) -> None:
    put_back(guest, damage)


@as_root
def test_a_file_that_something_is_mounted_on_is_written_in_its_place(guest: Guest) -> None:
    assert guest.run(TREE).returncode == 0
    script = f'cd "$1/etc"; {NEEDS_ROOT[4]}; echo changed >a; cd /; tree_put_back "$1/etc" 1; cat "$1/etc/a"'
    done = guest.run(script, "unshare", "--mount")
    assert done.stdout == "a\n"


@pytest.mark.parametrize("damage", ["rm -rf etc", "rm -rf etc/.labrun-tree etc/a etc/d", "mv etc elsewhere"])
def test_a_folder_that_is_gone_with_its_copies_comes_back_from_the_spare_ones(
    guest: Guest, damage: str
) -> None:
    done = guest.run(TREE + 'cp -a "$1/etc" "$guard/spare1"')
    assert done.returncode == 0, done.stderr
    etc = guest.root / "etc"
    before = listing(etc, own=False)
    done = guest.run(f'cd "$1"; {damage}; tree_put_back "$1/etc" 1')
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert listing(etc, own=False) == before


def test_what_was_only_touched_stays_the_file_it_is(guest: Guest) -> None:
    assert guest.run(TREE).returncode == 0
    path = guest.root / "etc/a"
    inode = path.stat().st_ino
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.chmod(mode)
    assert guest.run('tree_put_back "$1/etc" 1').returncode == 0
    assert path.stat().st_ino == inode


def test_a_pipe_that_was_touched_is_not_waited_for(guest: Guest) -> None:
    assert guest.run(TREE).returncode == 0
    path = guest.root / "etc/pipe"
    mode = path.lstat().st_mode
    path.chmod(0o600)
    path.chmod(mode)
    assert guest.run('tree_put_back "$1/etc" 1').returncode == 0


def test_a_name_that_is_two_lines_harms_no_other_file(guest: Guest) -> None:
    assert guest.run(TREE).returncode == 0
    odd = [guest.root / "etc" / "x\n" / "b", guest.root / "etc" / "rm\t./a"]
    odd[0].parent.mkdir()
    odd[0].write_text("odd\n")
    odd[1].parent.mkdir()
    odd[1].write_text("odd\n")
    before = listing(guest.root / "etc", own=False)
    assert guest.run('tree_put_back "$1/etc" 1').returncode == 0
    assert listing(guest.root / "etc", own=False) == before


def test_what_differs_is_named(guest: Guest) -> None:
    assert guest.run(TREE).returncode == 0
    script = 'cd "$1/etc"; echo x >a; rm "trailing "; echo n >new; tree_list >"$live/tree"\n'
    done = guest.run(script + 'tree_difference "$guard/tree1" "$live/tree" sure')
    assert done.stdout == "put ./a\nrm ./new\nput ./trailing \n"
    done = guest.run('echo "$1/etc" >"$guard/roots"; on=boot differences')
    etc = guest.root / "etc"
    assert done.stdout.splitlines() == [
        f"{etc}/{name} is not as before" for name in ("a", "new", "trailing ")
    ]


# --- single files ---------------------------------------------------------------------------------

KEEP = 'mkdir -p "$1/etc/.labrun-kept"; cd "$1/etc"; echo old >a; ln -s a link; cp -a a link .labrun-kept/\n'


@pytest.mark.parametrize(
    ("damage", "name", "end"),
    [
        ("echo new >a", "a", "old\n"),
        ("rm a", "a", "old\n"),
        ("rm a; ln -s nowhere a", "a", "old\n"),
        ("ln -sfn b link", "link", "old\n"),
        ("mkdir d; ln -sfn d link", "link", "old\n"),
        ("mkdir d; rm a; ln -s d a", "a", "old\n"),
        ('echo "$1/etc/new" >"$guard/absent"; echo new >new', "new", None),
        ('echo "$1/etc/new" >"$guard/absent"; ln -s nowhere new', "new", None),
        ('echo "$1/etc/new" >"$guard/absent"', "new", None),
        (': >"$guard/absent"; echo mine >new', "new", "mine\n"),
        ('echo "$1/etc/new2" >"$guard/absent"; echo mine >new', "new", "mine\n"),
    ],
)
def test_a_file_goes_back_once_and_may_be_asked_for_again(
    guest: Guest, damage: str, name: str, end: str | None
) -> None:
    done = guest.run(
        f'{KEEP}: >"$guard/absent"; {damage}\nrestore "$1/etc/{name}" && restore "$1/etc/{name}"'
    )
    assert (done.returncode, done.stderr) == (0, "")
    path = guest.root / "etc" / name
    assert (path.read_text() if path.is_symlink() or path.exists() else None) == end


@as_root
def test_a_file_goes_back_where_there_is_no_room(guest: Guest) -> None:
    script = 'mkdir "$1/etc"; mount -t tmpfs -o size=16k none "$1/etc"; ' + KEEP
    script += (
        "echo new >a; cat /dev/zero >fill 2>/dev/null; echo x >more 2>/dev/null; [ -s more ] && exit 9\n"
    )
    done = guest.run(script + 'restore "$1/etc/a" && cat a', "unshare", "--mount")
    assert (done.returncode, done.stdout) == (0, "old\n")


@as_root
def test_a_file_that_never_could_be_changed_counts_as_put_back(guest: Guest) -> None:
    script = KEEP + 'mount --bind a a; restore "$1/etc/a"; echo $?; echo new >a; restore "$1/etc/a"; echo $?'
    assert guest.run(script, "unshare", "--mount").stdout == "0\n1\n"


# --- the record -----------------------------------------------------------------------------------


def test_the_record_says_what_is_not_as_before_in_lines_of_a_bounded_length(guest: Guest) -> None:
    (guest.root / "lib").mkdir()
    lines = 'lines=$(i=0; while [ $i -lt 30 ]; do i=$((i + 1)); printf "%0400d\\n" $i; done)\n'
    guest.run(f"printf '%1024s\\n' '' >\"$guard/record\"\n{lines}write_record \"$lines\"")
    for path in (guest.root / "run-labrun-rolled-back", guest.root / "lib/rolled-back"):
        first, *rest = path.read_text().splitlines()
        assert first == "run-1 now"
        assert [len(line) for line in rest] == [300] * 20
    assert not (guest.root / "guard/record").exists()


@as_root
@pytest.mark.parametrize("has_room", [True, False])
def test_the_record_is_written_on_a_full_disk_into_the_room_that_was_set_aside(
    guest: Guest, has_room: bool
) -> None:
    script = """\
mkdir "$1/lib"; mount -t tmpfs -o size=16k none "$1/lib"
guard=$1/lib/guard; mkdir "$guard"
"""
    script += "printf '%1024s\\n' '' >\"$guard/record\"\n" if has_room else ""
    script += 'cat /dev/zero >"$1/lib/fill" 2>/dev/null\nwrite_record "a is not as before"\n'
    done = guest.run(script + 'cat "$1/lib/rolled-back"', "unshare", "--mount")
    said = ["run-1 now", "a is not as before"]
    assert [line for line in done.stdout.splitlines() if line.strip()] == (said if has_room else [])
    assert (guest.root / "run-labrun-rolled-back").read_text().splitlines() == said


# --- the way in -----------------------------------------------------------------------------------

SCENE = """\
mount -t tmpfs none /run
ip link set lo up
for each in eth0 eth1; do
ip link add $each type veth peer name far-$each; ip link set far-$each up; ip link set $each up
done
ip address add 10.0.0.1/24 dev eth0; ip address add 10.1.0.1/24 dev eth1
ip address add fd00::1/64 dev eth0 nodad
ip route add default via 10.0.0.254
echo '192.0.2.7 50000 10.0.0.1 22' >"$guard/way"
ssh-keygen -q -t ed25519 -N '' -f "$1/key"
echo "HostKey $1/key" >"$1/sshd_config"
sshd() { command "$SSHD" -f "$conf" "$@"; }
conf=$1/sshd_config
listen() {
python3 -c 'import socket, sys, time
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.setsockopt(41, socket.IPV6_V6ONLY, len(sys.argv) < 3) if ":" in sys.argv[1] else None
s.bind((sys.argv[1], 22)); s.listen(); print(flush=True); sys.stdout.close(); time.sleep(60)' "$@" >"$1.up" &
listener=$!
until [ -s "$1.up" ]; do sleep 0.01; done
}
cd "$1"
"""
OPEN: dict[str, str] = {
    "everywhere": "listen 0.0.0.0",
    "on its address": "listen 10.0.0.1",
    "on both families": "listen :: both",
    "over IPv6": "echo 'fd00::7 5 fd00::1 22' >guard/way; listen fd00::1",
    "over IPv6, everywhere": "echo 'fd00::7 5 fd00::1 22' >guard/way; listen ::",
    "over a link-local address": """\
listen ::
until at=$(ip -6 -o address show dev eth0 scope link | awk '{print $4}'); [ -n "$at" ]; do sleep 0.01; done
echo "fe80::9%eth0 5 ${at%/*}%eth0 22" >guard/way""",
    "nobody came over ssh": "echo >guard/way",
    "nothing is known": "rm guard/way",
}
CLOSED: dict[str, tuple[str, str]] = {
    "no address": ("ip address del 10.0.0.1/24 dev eth0", "no link that is up has 10.0.0.1"),
    "link down": ("ip link set eth0 down", "no link that is up has 10.0.0.1"),
    "no route": ("ip route del default", "there is no route to 192.0.2.7"),
    "a route that leads nowhere": ("ip route add blackhole 192.0.2.0/24", "there is no route to 192.0.2.7"),
    "a rule that forbids it": (
        "ip rule add pref 1 to 192.0.2.0/24 prohibit",
        "there is no route to 192.0.2.7",
    ),
    "a rule that forbids sshd alone": (
        "ip rule add pref 1 ipproto 6 sport 22 prohibit",
        "there is no route to 192.0.2.7 for port 22",
    ),
    "somebody else listens": (': >"$guard/greets"', "sshd listens on 10.0.0.1 port 22 and does not answer"),
    "nobody listens": ("kill $listener; wait $listener", "nothing listens on 10.0.0.1 port 22"),
    "it listens elsewhere": (
        "kill $listener; wait $listener; listen 10.1.0.1",
        "nothing listens on 10.0.0.1 port 22",
    ),
    "it listens on loopback": (
        "kill $listener; wait $listener; listen 127.0.0.1",
        "nothing listens on 10.0.0.1 port 22",
    ),
    "it listens over IPv6 alone": (
        "kill $listener; wait $listener; listen ::",
        "nothing listens on 10.0.0.1 port 22",
    ),
    "sshd refuses its file": (
        'echo Nonsense yes >>"$conf"',
        """\
sshd does not accept its configuration: {root}/sshd_config: line 2: Bad configuration option: Nonsense
{root}/sshd_config: terminating, 1 bad configuration options""",
    ),
    "logins are refused": (": >/run/nologin", "logins are refused by a nologin file"),
}
# An address, a route, a rule, a listener, and what sshd itself says.
_CLOSED_IN_CI = (
    *("no address", "no route", "a rule that forbids it", "it listens elsewhere", "sshd refuses its file"),
    "logins are refused",
)
NAMESPACES = ("unshare", "--net", "--mount")
END = '\nway_in; echo "status $?"; kill $listener 2>/dev/null\n'


def looked(guest: Guest, script: str) -> list[str]:
    done = guest.run(f"SSHD={SSHD}\n{SCENE}{script}{END}", *NAMESPACES)
    return done.stdout.splitlines()


@as_root
@pytest.mark.parametrize("how", every(2, OPEN))
def test_a_way_in_that_is_open(guest: Guest, how: str) -> None:
    assert looked(guest, OPEN[how]) == ["status 0"]


@as_root
@pytest.mark.parametrize("how", of_ci(CLOSED, _CLOSED_IN_CI))
def test_a_way_in_that_is_closed_says_why(guest: Guest, how: str) -> None:
    script, why = CLOSED[how]
    said = looked(guest, f"listen 0.0.0.0\n{script}")
    assert said == [*why.format(root=guest.root).splitlines(), "status 1"]


@as_root
def test_what_comes_and_goes_is_not_open_where_commands_have_run(guest: Guest) -> None:
    script = """\
listen 0.0.0.0
differ='' looks=0
way_in() { looks=$((looks + 1)); [ $looks -ne 3 ] || { echo closed for a moment; return 1; }; }
still_open; echo "status $?"; looks=0
echo /etc >"$guard/roots"; still_open; echo "status $?"
"""
    assert looked(guest, script)[:3] == ["status 0", "closed for a moment", "status 0"]


# --- what hides or stops what a login needs -----------------------------------------------------


@as_root
def test_what_is_mounted_over_a_folder_goes_and_other_mounts_stay(guest: Guest) -> None:
    script = """\
mount -t tmpfs none /home; mount_state >"$guard/mounts"; : >/home/old
mount -t tmpfs none /home; mkdir "/home/a b"; mount -t tmpfs none "/home/a b"; mount -t tmpfs none /mnt
put_back_mounts
ls /home; mount_state | grep -cx /mnt; mount_difference "$guard/mounts" /proc/self/mounts | grep -c home
"""
    assert guest.run(script, "unshare", "--mount").stdout.splitlines() == ["old", "1", "0"]


@as_root
def test_what_hides_the_guard_s_own_folders_goes_before_all_else(guest: Guest) -> None:
    script = """\
mount -t tmpfs none /run; live=/run/own; mkdir $live; mount_state >"$guard/mounts"; uncover; cat $live/decided
rm $live/decided; mount -t tmpfs none /run; mount -t tmpfs none /run; mount -t tmpfs none /dev
uncover; cat $live/decided; [ -c /dev/null ] && echo there
mount -t tmpfs none /proc; uncover; [ -e /proc/self/mounts ] && echo there
mount --bind /dev /mnt; mount -t tmpfs none /dev; cp -a /mnt/null /dev/.labrun-null
mount_state >"$guard/mounts"
mknod() { false; }; echo x >/dev/null; uncover; [ -c /dev/null ] && echo there
"""
    done = guest.run(script, "unshare", "--mount")
    assert done.stdout.splitlines() == ["undo", "undo", "there", "there", "there"]


def test_a_stopped_server_goes_on_and_a_stopped_job_does_not(guest: Guest) -> None:
    script = """\
cp /bin/sleep "$1/sshd"; "$1/sshd" 60 & server=$!; sleep 60 & job=$!
state() { read -r line <"/proc/$1/stat"; line=${line##*") "}; echo "${line%% *}"; }
while read -r name <"/proc/$server/comm"; [ "$name" != sshd ]; do sleep 0.01; done
for each in $server $job; do
kill -STOP $each; while [ "$(state $each)" != T ]; do sleep 0.01; done
done
wake; while [ "$(state $server)" = T ]; do sleep 0.01; done
state $job; kill -KILL $server $job
"""
    assert guest.run(script).stdout == "T\n"


@as_root
def test_what_was_stopped_in_a_container_on_the_host_stays_so(guest: Guest) -> None:
    script = """\
cp /bin/sleep "$1/sshd"; "$1/sshd" 60 & server=$!; unshare --pid --fork "$1/sshd" 60 & container=$!
state() { read -r line <"/proc/$1/stat"; line=${line##*") "}; echo "${line%% *}"; }
until inner=$(pgrep -P $container -x sshd); do sleep 0.01; done
while read -r name <"/proc/$server/comm"; [ "$name" != sshd ]; do sleep 0.01; done
for each in $server $inner; do
kill -STOP $each; while [ "$(state $each)" != T ]; do sleep 0.01; done
done
wake; while [ "$(state $server)" = T ]; do sleep 0.01; done
state $inner; kill -KILL $server $inner
"""
    assert guest.run(script).stdout == "T\n"


@as_root
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("NetworkingEnabled=true", "true"),
        ("NetworkingEnabled=false", "false"),
        ("WimaxEnabled=true", ""),
    ],
)
def test_a_network_that_was_switched_off_is_on_again_before_the_next_boot(
    guest: Guest, before: str, after: str
) -> None:
    script = f"""\
state=/var/lib/NetworkManager/NetworkManager.state; mount -t tmpfs none /var/lib; mkdir "${{state%/*}}"
echo /etc >"$guard/roots"; [ -z "{before}" ] || echo "{before}" >"$guard/networking"
echo NetworkingEnabled=false >$state; on=boot; put_back_networking
sed -n 's/^NetworkingEnabled=//p' $state
"""
    assert guest.run(script, "unshare", "--mount").stdout.strip() == after
