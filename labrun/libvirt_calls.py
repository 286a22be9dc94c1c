"""Calls of libvirt's C library, each with an end: when a signal comes, and when the hypervisor is silent.

libvirt-python blocks in C, where Python handles no signal, and libvirt waits for ever for a daemon that
hangs. So every call runs on a helper thread beside its caller, which waits and may give up; what is given up
stays blocked, and the process ends without it (:func:`is_blocked`). A slow call is told from a silent
hypervisor by a pulse: a connection of its own that is asked something small. libvirt's keepalive would not
do: with two calls in progress it ends only one of them, and a daemon that is busy with a client's requests
does not read more of them.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from labrun.connection_hints import silence_hint
from labrun.errors import HypervisorError

__all__ = ["DEFAULT_PATIENCE", "begin", "end_blocked", "hurry", "is_blocked", "opened", "silences", "watch"]

DEFAULT_PATIENCE: Final = 30.0
"""Seconds that a hypervisor may stay silent, unless ``--timeout`` gives less."""
_LONGEST_PATIENCE = 60.0
_CALM = 2.0  # seconds after which a call is worth a question whether anybody is there
_POLL = 0.1
_LAST_MOMENT = 0.7  # seconds that a call gets to finish after a signal


@dataclass(slots=True)
class _Limits:
    """What ends waiting in one run. ``hurried`` is the moment of a signal, on the monotonic clock.

    ``silent`` has the seconds that were waited for each hypervisor that did not answer, by URI.
    """

    patience: float = DEFAULT_PATIENCE
    hurried: float | None = None
    signal: KeyboardInterrupt | None = None
    silent: dict[str, float] = field(default_factory=dict)


_run = [_Limits()]
_blocked: list[_Call] = []  # those that were given up: their threads never end
_uris: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_pulses: dict[str, _Pulse] = {}
_own = threading.local()


def begin(timeout: float | None) -> None:
    """Begin a run, and forget earlier ones: a hypervisor may be silent for ``timeout`` seconds.

    At most a minute; None = :data:`DEFAULT_PATIENCE`.
    """
    _run[0] = _Limits(DEFAULT_PATIENCE if timeout is None else min(timeout, _LONGEST_PATIENCE))


def hurry() -> None:
    """Give every call in progress a last moment if its hypervisor does not answer: a signal ends the run."""
    if _run[0].hurried is None:
        _run[0].hurried = time.monotonic()


def silences() -> tuple[HypervisorError, ...]:
    """Return an error for each hypervisor that has not answered in this run."""
    return tuple(_silence(uri, seconds) for uri, seconds in _run[0].silent.items())


def is_blocked() -> bool:
    """Return whether a call was given up. The process must end by ``os._exit``, which waits for none."""
    return bool(_blocked)


def end_blocked() -> None:
    """End what calls that were given up have started: just before the process ends."""
    for call in _blocked:
        call.helper.end_children()


def watch(module: Any, name: str) -> None:
    """Run what ``module`` calls of its C module ``name`` on helper threads from now on.

    Such a call raises HypervisorError if the hypervisor does not answer.
    """
    library = getattr(module, name)
    if not isinstance(library, _Watched):
        setattr(module, name, _Watched(library))


def opened(connection: Any, uri: str) -> None:
    """Note where a connection leads, so that its calls are known to be in vain once ``uri`` is silent."""
    _uris[connection] = uri


class _Call:
    """One call of the library: a lock that is free once it has ended, and how it ended."""

    __slots__ = ("_done", "args", "began", "error", "function", "helper", "result")

    def __init__(self, helper: _Helper, function: Callable[..., Any], args: tuple[Any, ...]):
        self.helper = helper
        self.function = function
        self.args = args
        self.began = time.monotonic()
        self.result: Any = None
        self.error: BaseException | None = None
        self._done = _thread.allocate_lock()
        self._done.acquire()

    def run(self) -> None:
        try:
            self.result = self.function(*self.args)
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            self.error = error
        self._done.release()

    def wait(self, seconds: float | None) -> bool:
        """Wait until the call has ended; return whether it has. In the main thread a signal ends the wait."""
        if not self._done.acquire(timeout=-1 if seconds is None else seconds):
            return False
        self._done.release()
        return True

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class _Helper:
    """A thread that calls the library for one other thread: libvirt keeps its last error by thread."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self.thread = threading.Thread(target=_work, args=(self._calls,), name="labrun-libvirt", daemon=True)
        self.thread.start()

    def begin(self, function: Callable[..., Any], args: tuple[Any, ...]) -> _Call:
        call = _Call(self, function, args)
        self._calls.put(call)
        return call

    def give_up(self) -> None:
        """Leave the thread to its call, and end what it started."""
        self._calls.put(None)
        self.end_children()

    def end_children(self) -> None:
        """End what the call in progress has started: an ssh would stay when labrun has gone.

        On a busy machine a call may be given up before it has come to start anything.
        """
        for child in _children(self.thread.native_id):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGTERM)

    def __del__(self) -> None:
        # Its thread has ended, and nobody calls any more.
        self._calls.put(None)


def _work(calls: SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        call.run()
        del call  # what it holds must not live until the next one


def _children(thread: int | None) -> list[int]:
    try:
        text = Path(f"/proc/self/task/{thread}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _helper() -> _Helper:
    """Return the helper of this thread, a new one if it has none or has given it up."""
    helper: _Helper | None = getattr(_own, "helper", None)
    if helper is None:
        helper = _own.helper = _Helper()
    return helper


class _Watched:
    """libvirt's C module, whose functions are called on helper threads."""

    def __init__(self, library: Any):
        self._library = library

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._library, name)
        if name.endswith("Free"):
            value = _freeing(value)
        elif callable(value):
            value = _calling(name, value)
        setattr(self, name, value)
        return value


def _freeing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Free a handle in the thread of its last user, which may be in the middle of another call."""

    def free(*args: Any) -> Any:
        # The last handle of a connection closes it, which asks the hypervisor.
        return 0 if _blocked else function(*args)

    return free


def _calling(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    is_opening = name.startswith("virConnectOpen")
    is_closing = name == "virConnectClose"

    def call(*args: Any) -> Any:
        if is_closing and _blocked:
            return 0
        if sys.is_finalizing():  # no other thread runs any more
            return function(*args)
        uri = args[0] if is_opening else _uri_of(sys._getframe(1).f_locals)
        if uri is not None:
            _refuse(uri)
        return _waited(_helper().begin(function, args), uri, is_opening=is_opening)

    return call


def _uri_of(caller: Mapping[str, Any]) -> str | None:
    """Return where a call leads, from the variables of libvirt's method that makes it; None if not known."""
    owner = caller.get("self", caller.get("domain"))
    with contextlib.suppress(TypeError):  # of what has no weak references
        return _uris.get(owner) or _uris.get(getattr(owner, "_conn", None))
    return None


def _refuse(uri: str) -> None:
    """Raise at once what has ended an earlier call, where another one would end the same way."""
    run = _run[0]
    if run.signal is not None and threading.current_thread() is threading.main_thread():
        raise run.signal
    if uri in run.silent:
        raise _silence(uri, run.silent[uri])


def _silence(uri: str, seconds: float) -> HypervisorError:
    reason = f"{uri} does not answer: no reply in {seconds:.0f} s"
    return HypervisorError(reason, step="libvirt", hint=silence_hint(uri))


def _waited(call: _Call, uri: str | None, *, is_opening: bool) -> Any:
    """Wait for a call; give it up after a signal, or once ``uri`` has been silent for too long."""
    try:
        if call.wait(_POLL) or uri is None:
            call.wait(None)
            return call.outcome()
        seconds = _silent_for(call, uri, is_opening=is_opening)
    except KeyboardInterrupt as interrupt:
        if not call.wait(_LAST_MOMENT):
            _give_up(call)
            _run[0].signal = interrupt
        raise
    if seconds is None:
        return call.outcome()
    _give_up(call)
    raise _silence(uri, _run[0].silent.setdefault(uri, seconds))


def _give_up(call: _Call) -> None:
    _blocked.append(call)
    call.helper.give_up()
    if getattr(_own, "helper", None) is call.helper:
        _own.helper = None


def _silent_for(call: _Call, uri: str, *, is_opening: bool) -> float | None:
    """Wait until the call has ended: None; or return for how long the hypervisor was silent.

    The opening of a connection is a question itself. Any other call may take long: the hypervisor is silent
    if it does not answer beside it.
    """
    heard, question = call.began, None
    while not call.wait(_POLL):
        now = time.monotonic()
        if question is not None and question.wait(0):
            heard, question = now if question.outcome() else heard, None
        elif not is_opening and question is None and (now - heard > _CALM or _run[0].hurried is not None):
            question = _pulse(uri).ask()
        latest = _latest(uri, heard)
        if uri in _run[0].silent or now > latest:
            return latest - heard
    return None


def _latest(uri: str, heard: float) -> float:
    """Return the moment up to which to wait for a hypervisor that was heard last at ``heard``."""
    run = _run[0]
    patience = run.patience
    if _is_here(uri) and any(map(_is_here, run.silent)):
        # The other driver of this machine, often of the same daemon, was waited for already.
        patience = min(patience, _LAST_MOMENT)
    if run.hurried is None:
        return heard + patience
    return min(heard + patience, max(heard, run.hurried) + _LAST_MOMENT)


def _is_here(uri: str) -> bool:
    return not urlsplit(uri).hostname


class _Pulse:
    """A connection beside the others that only asks whether anybody is there."""

    def __init__(self, uri: str):
        self._uri = uri
        self._lock = threading.Lock()
        self._helper = _Helper()
        self._asked: _Call | None = None
        self._connection: Any = None

    def ask(self) -> _Call:
        """Return the question in progress, else a new one; its outcome is whether somebody answered."""
        with self._lock:
            if self._asked is None or self._asked.wait(0):
                self._asked = self._helper.begin(self._question, ())
            return self._asked

    def _question(self) -> bool:
        # On the helper, so the C functions themselves. A daemon's error is an answer too, ssh's is none.
        library = import_module("libvirtmod")
        if self._connection is None or library.virConnectGetLibVersion(self._connection) in (-1, None):
            self._connection = library.virConnectOpen(self._uri)
        return _is_here(self._uri) or self._connection is not None


def _pulse(uri: str) -> _Pulse:
    if uri not in _pulses:
        _pulses[uri] = _Pulse(uri)
    return _pulses[uri]
