"""Open libvirt connections, and enter the namespaces of a local libvirtd. No other module does either."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from labrun.connection_hints import Refusal, connection_hint, this_user
from labrun.errors import HypervisorError
from labrun.libvirt_calls import is_blocked, opened, watch
from labrun.libvirt_package import is_libvirt_missing, not_installed
from labrun.libvirt_version import too_old
from labrun.remote_refusals import remote_refusal

if TYPE_CHECKING:
    from libvirt import virConnect

__all__ = [
    "as_hypervisor_error",
    "close_all",
    "connect",
    "connect_apart",
    "daemon_pid",
    "enter_network",
    "in_daemon_namespace",
    "in_daemon_network",
    "is_active",
    "is_local",
    "leave_network",
    "networks_of",
    "own_network",
    "require_daemon",
    "translated",
    "unless_gone",
]

_CLONE_NEWNET = 0x40000000
# The monolithic daemon first, then the modular ones, each of which serves one driver.
_PID_FILES = {
    "lxc": ("libvirtd.pid", "virtlxcd.pid"),
    "qemu": ("libvirtd.pid", "virtqemud.pid"),
}

_lock = threading.Lock()
_connections: dict[str, virConnect] = {}
_apart: list[virConnect] = []
_own_network: list[int] = []  # descriptor of the network namespace that labrun was started in; at most one


def _libvirt() -> Any:
    try:
        import libvirt
    except ImportError as error:
        raise not_installed(error) from error

    watch(libvirt, "libvirtmod")
    return libvirt


def connect(uri: str) -> Any:
    """Return the process's only connection to ``uri``, opened on first use.

    libvirt connections are thread-safe. Raises HypervisorError.
    """
    libvirt = _libvirt()
    with _lock:
        known = _connections.get(uri)
        if known is not None and known.isAlive():
            return known
        connection = _connections[uri] = _opened(libvirt, uri)
        return connection


def connect_apart(uri: str) -> Any:
    """Return a further connection to ``uri``, closed with the others: for what libvirt tells by itself.

    Raises HypervisorError.
    """
    connection = _opened(_libvirt(), uri)
    with _lock:
        _apart.append(connection)
    return connection


def _opened(libvirt: Any, uri: str) -> Any:
    # libvirt prints every error on stderr unless a handler takes it. The exception has the same text.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = libvirt.open(uri)
        opened(connection, uri)
        version = connection.getLibVersion()
    except libvirt.libvirtError as error:
        said = _reason(error)
        known = remote_refusal(uri, said)
        raise HypervisorError(
            f"cannot open {uri}: {known.reason if known else said}",
            step="libvirt",
            hint=known.hint if known else _hint(libvirt, uri, error),
        ) from error
    if (refusal := too_old(uri, version)) is not None:
        connection.close()
        raise refusal
    return connection


def _hint(libvirt: Any, uri: str, error: Any) -> str:
    is_system = error.get_error_code() == libvirt.VIR_ERR_SYSTEM_ERROR
    refusal = Refusal(error.get_error_code(), error.get_int1() if is_system else None)
    return connection_hint(uri, refusal, this_user())


def close_all() -> None:
    """Close every connection. One that is referenced elsewhere lives until it is released."""
    with _lock:
        while _connections or _apart:
            connection = _apart.pop() if _apart else _connections.popitem()[1]
            with translated("libvirt"):
                connection.close()


@atexit.register
def _close_at_exit() -> None:
    # A connection that is still open when Python unloads its modules complains on stderr.
    if is_blocked():
        return
    with contextlib.suppress(HypervisorError):
        close_all()


def _reason(error: Any) -> str:
    text = error.get_error_message() or str(error)
    return str(text).strip()


def as_hypervisor_error(error: Exception) -> HypervisorError | None:
    """Return a libvirtError, or an import of libvirt that failed, as a HypervisorError, else None."""
    if isinstance(error, ImportError) and is_libvirt_missing(error):
        return not_installed(error)
    # A thread may be importing it: then the error is not one of libvirt's.
    kind = getattr(sys.modules.get("libvirt"), "libvirtError", None)
    if kind is None or not isinstance(error, kind):
        return None
    wrapped = HypervisorError(_reason(error), step="libvirt")
    wrapped.__cause__ = error
    return wrapped


@contextmanager
def translated(step: str, host: str | None = None, hint: str | None = None) -> Iterator[None]:
    """Turn a libvirtError inside the block into a HypervisorError with host and step."""
    libvirt = _libvirt()
    try:
        yield
    except libvirt.libvirtError as error:
        reason = _reason(error)
        if "already in use by interface" in reason:
            hint = "another network here has this subnet: change `cidr`, or take the other down"
        raise HypervisorError(reason, host=host, step=step, hint=hint) from error


@contextmanager
def unless_gone() -> Iterator[None]:
    """End the block without an error if the object that it looks at was removed since it was listed.

    Whatever belongs to others may vanish at any time.
    """
    libvirt = _libvirt()
    try:
        yield
    except libvirt.libvirtError as error:
        gone = ("DOMAIN", "NETWORK", "NETWORK_PORT", "NWFILTER", "STORAGE_POOL", "STORAGE_VOL")
        if error.get_error_code() not in [getattr(libvirt, f"VIR_ERR_NO_{kind}") for kind in gone]:
            raise


def is_active(listed: Any) -> bool:
    """Return whether a domain, network or pool is active; one that was removed since it was listed is not.

    Raises libvirtError.
    """
    found = 0
    with unless_gone():
        found = listed.isActive()
    return bool(found)


def _live_xml(network: Any) -> str:
    return str(network.XMLDesc(0))


def networks_of(connection: Any, xml: Callable[[Any], str] = _live_xml) -> Iterator[tuple[Any, str]]:
    """Yield every network by name with what ``xml`` reads of it. Skip networks that disappear meanwhile.

    Raises libvirtError for any other error.
    """
    # libvirt lists them as its hash table has them, in another order after each start.
    for network in sorted(connection.listAllNetworks(), key=lambda network: str(network.name())):
        text = None
        with unless_gone():
            text = xml(network)
        if text is not None:
            yield network, text


def is_local(uri: str) -> bool:
    """Return whether the URI refers to a libvirtd on this machine."""
    parts = urlsplit(uri)
    return not parts.hostname and parts.scheme.split("+")[0] in ("lxc", "qemu", "test")


def daemon_pid(uri: str) -> int | None:
    """Return the PID of the local libvirt daemon behind ``uri``, None if there is none."""
    if not is_local(uri):
        return None
    driver = urlsplit(uri).scheme.split("+")[0]
    for name in _PID_FILES.get(driver, ()):
        path = Path("/run") / name
        try:
            pid = int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if Path(f"/proc/{pid}/comm").exists() and _comm(pid) in ("libvirtd", path.stem):
            return pid
    return None


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def in_daemon_namespace(uri: str) -> list[str]:
    """Return the command prefix that runs a program in libvirtd's mount namespace, often empty.

    A container's root must be mounted where libvirtd sees it, which may be another namespace than this one.
    """
    pid = daemon_pid(uri)
    if pid is None or _mounts(pid) == _mounts(os.getpid()):
        return []
    return ["nsenter", "-t", str(pid), "-m", "--"]


def in_daemon_network(uri: str) -> list[str]:
    """Return the command prefix that runs a program in libvirtd's network namespace, often empty."""
    pid = daemon_pid(uri)
    return ["nsenter", "-t", str(pid), "-n", "--"] if pid is not None and _own_network else []


def _mounts(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return ""


def enter_network(uri: str) -> bool:
    """Move this thread, and threads it starts, into libvirtd's network namespace. Return whether it moved.

    The lab's bridges are there. Do nothing if libvirtd shares this namespace or is remote, or if labrun
    does not run as root. Call it in the main thread before any other thread exists.
    """
    pid = daemon_pid(uri)
    if pid is None or os.geteuid() != 0:
        return False
    path = Path(f"/proc/{pid}/ns/net")
    try:
        if path.readlink() == Path("/proc/self/ns/net").readlink():
            return False
        if not _own_network:
            _own_network.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        with path.open("rb") as namespace:
            _set_network(namespace.fileno())
    except OSError as error:
        raise HypervisorError(
            f"cannot enter the network namespace of libvirtd (pid {pid}): {error.strerror}",
            step="namespace",
        ) from error
    return True


def require_daemon(uri: str) -> None:
    """Make sure that a local libvirtd runs, so that its network can be entered: its socket may start it.

    Without one the addresses of guests would be those of strangers. Raises HypervisorError.
    """
    if is_local(uri) and daemon_pid(uri) is None:
        connect(uri)


def leave_network() -> None:
    """Move this thread back to the network that labrun was started in. Other threads do not move.

    Programs that this thread starts run there too. Raises HypervisorError.
    """
    if not _own_network:
        return
    try:
        _set_network(_own_network[0])
    except OSError as error:
        raise HypervisorError(
            f"cannot go back to the network that labrun was started in: {error.strerror}", step="namespace"
        ) from error


@contextmanager
def own_network() -> Iterator[None]:
    """Work in the network that labrun was started in for the time of the block, in this thread.

    Downloads need it: the hypervisor's own may have no way out. Raises HypervisorError.
    """
    if not _own_network:
        yield
        return
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        leave_network()
        try:
            yield
        finally:
            _set_network(before.fileno())


def _set_network(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
