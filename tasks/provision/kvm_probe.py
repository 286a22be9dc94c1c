"""Find out whether KVM really runs guests by running one, since the capabilities promise too much.

A hypervisor that is itself a VM may list KVM and still be unable to run a 64-bit kernel. Firmware and
16-bit code may work all the same, so the probe's guest does what kernels do first: it waits for a timer
interrupt, turns on paging and long mode, and works through memory with SSE. At the end it reports a panic,
which libvirt shows as a domain state, locally or remotely.
"""

from __future__ import annotations

import json
import os
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from labrun.errors import LabrunError
from labrun.hypervisor import is_local, translated
from labrun.json_values import JsonObject
from labrun.rendering import render_xml
from labrun.state_files import DamagedFileError, parse_json, read_file, write_private
from labrun.state_folders import distrust, xdg_base
from labrun.tasks.provision.volume_stream import write_volume
from labrun.tasks.provision.volumes import (
    create_raw,
    delete_volume,
    ensure_pool,
    find_volume,
    image_pool,
    volume_names,
)

__all__ = ["KvmVerdict", "kvm_verdict", "probe"]

_DEADLINE = 15.0
_POLL = 0.05
_NAMES = "labrun-probe-"
_ABANDONED = 600.0  # seconds after which a probe's disk counts as abandoned
_REFUSAL_LIVES = 24 * 3600.0
_DISK_BYTES = 1024 * 1024  # firmware finds no geometry for a disk of one sector

# x86, loaded at 0x7c00; the words after # are AT&T syntax.
_BOOT_SECTOR = (
    bytes.fromhex(
        # 16 bit: cli; ds = es = ss = 0; sp = 0x7c00; sti; hlt until the timer; cli; cld
        "fa 31c0 8ed8 8ec0 8ed0 bc007c fb f4 fa fc"
        # clear 0x1000-0x2fff; page map at 0x1000 -> 0x2000 -> 0x3000
        "6631c0 bf0010 b90008 66f3ab c70600100320 c70600200330"
        # 512 pages of 2 MiB at 0x3000, each mapped to itself
        "bf0030 66b883000000 b90002 668905 66c7450400000000 83c708 660500002000 e2ea"
        # cr4 = PAE, OSFXSR, OSXMMEXCPT; cr3 = 0x1000; EFER.LME
        "66b820060000 0f22e0 66b800100000 0f22d8 66b9800000c0 0f32 0d0001 0f30"
        # lgdt; cr0: no EM, MP, PE, PG; far jump into 64-bit code
        "0f0116e87c 0f20c0 6683e0fb 660d03000080 0f22c0 ea837c0800"
        # 64 bit: ds = es = ss = 0x10; cpuid; rdmsr APIC base
        "b810000000 8ed8 8ec0 8ed0 31c0 0fa2 b91b000000 0f32"
        # write 32 MiB from 16 MiB on through %xmm0
        "bf00000001 b900004000 66480f6ec1 660fd607 4883c708 e2f1"
        # read it back, and stop at the first wrong word
        "be00000001 b900004000 48ad 4839c8 7509 e2f7"
        # outb 1 to 0x505: the panic device; then cli; hlt for ever
        "66ba0505 b001 ee fa f4 ebfc"
        # GDT: null, 64-bit code, data; its limit and address
        "0000000000000000 00000000009a2000 0000000000920000 1700 d07c0000"
    ).ljust(510, b"\0")
    + b"\x55\xaa"
)


@dataclass(frozen=True, slots=True)
class KvmVerdict:
    """Whether guests can run on KVM behind a URI, and the reason in words for the user."""

    usable: bool
    why: str


_lock = threading.Lock()
_known: dict[str, KvmVerdict] = {}


def kvm_verdict(connection: Any, uri: str, *, refresh: bool = False) -> KvmVerdict:
    """Return the verdict for a hypervisor, from the cache if kernel and QEMU are unchanged.

    ``refresh`` probes again. Never raises if KVM does not work; raises HypervisorError if libvirt does not.
    """
    with translated("kvm"):
        if not _is_offered(connection):
            return KvmVerdict(False, "libvirt offers no KVM here")
        key = _cache_key(connection, uri)
    # Machines are created in parallel, and one probe serves all of them.
    with _lock:
        cached = None if refresh else _known.get(key) or _read_cache(key)
        verdict = cached or probe(connection)
        _known[key] = verdict
        if cached is None:
            _write_cache(key, verdict)
    return verdict


def _is_offered(connection: Any) -> bool:
    root = ET.fromstring(connection.getCapabilities())  # noqa: S314 - libvirt's own output
    return any(
        domain.get("type") == "kvm"
        for arch in root.findall("./guest/arch[@name='x86_64']")
        for domain in arch.iter("domain")
    )


def probe(connection: Any, *, virt: str = "kvm", deadline: float = _DEADLINE) -> KvmVerdict:
    """Run the probe guest and return the verdict; ``virt`` may be ``qemu`` to test the probe itself."""
    import libvirt

    name = f"{_NAMES}{uuid4().hex[:12]}"
    with translated("kvm"):
        pool = ensure_pool(connection, image_pool())
        _delete_abandoned(pool)
        try:
            volume = create_raw(pool, f"{name}.img", _DISK_BYTES)
            write_volume(connection, volume, _BOOT_SECTOR)
            xml = render_xml("libvirt/qemu-probe.xml.j2", name=name, virt=virt, disk=volume.path())
            try:
                # libvirt destroys it if this process ends first.
                domain = connection.createXML(xml, libvirt.VIR_DOMAIN_START_AUTODESTROY)
            except libvirt.libvirtError as error:
                return KvmVerdict(False, f"a guest does not start: {_one_line(error)}")
            try:
                return _watch(domain, deadline)
            finally:
                _destroy(domain)
        finally:
            delete_volume(pool, f"{name}.img")


def _delete_abandoned(pool: Any) -> None:
    """Delete the disks of probes whose labrun was killed; recent ones may still be in use."""
    for name in volume_names(pool):
        volume = find_volume(pool, name) if name.startswith(_NAMES) else None
        if volume is not None and time.time() - _made_at(volume) > _ABANDONED:
            delete_volume(pool, name)


def _made_at(volume: Any) -> float:
    text = ET.fromstring(volume.XMLDesc(0)).findtext("./target/timestamps/mtime")  # noqa: S314 - libvirt
    return float(text) if text else time.time()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _watch(domain: Any, seconds: float) -> KvmVerdict:
    import libvirt

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state, reason = domain.state()
        except libvirt.libvirtError:
            return KvmVerdict(False, "QEMU ended while a guest was starting")
        if state == libvirt.VIR_DOMAIN_CRASHED and reason == libvirt.VIR_DOMAIN_CRASHED_PANICKED:
            return KvmVerdict(True, "a guest ran 64-bit code")
        if state != libvirt.VIR_DOMAIN_RUNNING:
            return KvmVerdict(False, "KVM gave up on a guest that ran 64-bit code (internal error)")
        time.sleep(_POLL)
    return KvmVerdict(False, f"a guest made no progress in {seconds:g} s")


def _destroy(domain: Any) -> None:
    import contextlib

    import libvirt

    # It may be gone already, which is the goal.
    with contextlib.suppress(libvirt.libvirtError):
        domain.destroy()


def _cache_key(connection: Any, uri: str) -> str:
    """Return what the verdict depends on: machine, kernel, QEMU, and the access rights of /dev/kvm."""
    host = ET.fromstring(connection.getCapabilities()).findtext("./host/uuid", "")  # noqa: S314 - libvirt's
    parts = [uri, host, str(connection.getVersion()), str(connection.getLibVersion())]
    if is_local(uri):
        parts.append(os.uname().release)
        try:
            status = Path("/dev/kvm").stat()
            parts.append(f"{status.st_mode:o} {status.st_uid} {status.st_gid}")
        except OSError:
            parts.append("no /dev/kvm")
    return " | ".join(parts)


def _cache_file() -> Path:
    return xdg_base("XDG_CACHE_HOME", ".cache") / "labrun" / "kvm.json"


def _load(path: Path) -> JsonObject:
    try:
        # Under sudo, the home may belong to another user, who must not decide what root trusts.
        if distrust(path.parent) is not None:
            return {}
        entries = parse_json(read_file(path) or b"")
    except (OSError, ValueError, DamagedFileError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _read_cache(key: str, clock: Callable[[], float] = time.time) -> KvmVerdict | None:
    entry = _load(_cache_file()).get(key)
    if not isinstance(entry, dict) or not isinstance(entry.get("usable"), bool):
        return None
    # A module may have been loaded or a BIOS setting changed since a negative verdict.
    at = entry.get("at", 0)
    if not entry["usable"] and not (isinstance(at, (int, float)) and clock() - at <= _REFUSAL_LIVES):
        return None
    return KvmVerdict(entry["usable"], str(entry.get("why", "")))


def _write_cache(key: str, verdict: KvmVerdict) -> None:
    """Store the verdict; if the cache cannot be written, the next run only has to probe again."""
    path = _cache_file()
    try:
        if distrust(path.parent) is not None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = {**_load(path), key: {**asdict(verdict), "at": time.time()}}
        write_private(path, json.dumps(entries, indent=1) + "\n")
    except (OSError, LabrunError):
        return
