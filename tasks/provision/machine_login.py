"""How a machine lets the lab log in: the lab's keys inside, its host key and addresses on record."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from labrun.errors import CommandError, UnreachableError
from labrun.ports import Transport
from labrun.progress import report
from labrun.state import LabState
from labrun.tasks.guest.facts.authorized_keys import GIVEN, USERS
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.provision.driver import Driver, MachineSpec
from labrun.tasks.provision.machine_job import MachineJob

__all__ = ["put_keys_in", "put_on_record", "record_addresses"]

_known_hosts = threading.Lock()


def put_on_record(job: MachineJob) -> None:
    """Record the new machine's host key while neither the old machine nor the new one exists.

    Wherever this run is killed, the recorded key belongs to the defined machine, or no machine is defined
    and the next run creates one with a new key.
    """
    if job.host_key is not None:
        with _known_hosts:
            LabState(Path(job.state), job.spec.lab).remember_host_keys({job.spec.host: job.host_key})


def record_addresses(job: MachineJob) -> None:
    """Record the addresses that the file gives the host: `configure` holds the former ones for it, if not."""
    with _known_hosts:
        LabState(Path(job.state), job.spec.lab).remember_addresses({job.spec.host: job.given})


def put_keys_in(driver: Driver, job: MachineJob) -> None:
    """Let the lab's key and those of people log in as the user, and read the host key in the process.

    The guest is entered without a login: the key is lost, or the user does not exist yet.
    """
    spec, state = job.spec, LabState(Path(job.state), job.spec.lab)
    keys = "\n".join((state.public_key, *job.login_keys))
    values: dict[str, str | int | bool] = {"user": spec.user, "keys": keys, "given": GIVEN, "users": USERS}
    script = assigned(values) + "".join(map(guest_script, ("keys_files", "keys_apply", "put_key")))
    deadline = time.monotonic() + job.timeout
    while True:
        try:
            done = _out_of_band(driver, spec).run(script, timeout=30)
        except UnreachableError as error:
            # A guest agent answers only when the guest has booted far enough.
            if time.monotonic() >= deadline:
                raise
            report(spec.host, "recover", error.reason)
            time.sleep(0.5)
            continue
        break
    if done.exit_status != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CommandError(said[-1] if said else "no answer", host=spec.host, step=f"login as {spec.user}")
    addresses = [text.partition("/")[0] for found in job.addresses.values() for text in found]
    with _known_hosts:
        state.remember_host_keys({spec.host: (addresses, done.stdout.strip().splitlines()[-1])})


def _out_of_band(driver: Driver, spec: MachineSpec) -> Transport:
    transport = driver.out_of_band(spec.domain)
    if transport is None:
        raise UnreachableError("no way in without a login yet", host=spec.host, step="recover")
    return transport
