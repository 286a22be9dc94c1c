"""Calls of libvirt's C library on helper threads: what code that uses libvirt's objects must not notice."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import libvirt
import pytest

from labrun.errors import UnreachableError
from labrun.hypervisor import as_hypervisor_error, connect
from labrun.tasks.provision.agent import AgentTransport

URI = "test:///default"


def test_an_error_is_that_of_the_call_in_every_thread() -> None:
    connection = connect(URI)

    def refused(number: int) -> tuple[str | None, int | None]:
        with pytest.raises(libvirt.libvirtError) as caught:
            connection.lookupByName(f"none-{number}")
        return caught.value.get_error_message(), caught.value.get_error_code()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(refused, range(200)))
    assert {code for _, code in answers} == {libvirt.VIR_ERR_NO_DOMAIN}
    assert connection.lookupByName("test").name() == "test"


def test_the_agent_s_errors_are_known_too() -> None:
    transport = AgentTransport("a", connect(URI).lookupByName("test"))
    with pytest.raises(UnreachableError, match=r"^a: agent: guest agent: this function is not supported"):
        transport.run("true", timeout=3)


def test_helpers_end_with_the_threads_that_they_help() -> None:
    connection = connect(URI)

    def helpers() -> int:
        return sum(thread.name == "labrun-libvirt" for thread in threading.enumerate())

    connection.listAllDomains()
    before = helpers()
    threads = [threading.Thread(target=connection.listAllDomains) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    del threads, thread
    until = time.monotonic() + 10
    while helpers() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert helpers() <= before


def test_an_error_of_libvirt_that_nobody_expected_is_the_hypervisor_s() -> None:
    with pytest.raises(libvirt.libvirtError) as caught:
        connect(URI).lookupByName("none")
    error = as_hypervisor_error(caught.value)
    assert error is not None
    assert (error.exit_code, error.step) == (5, "libvirt")
    assert as_hypervisor_error(ValueError("x")) is None
