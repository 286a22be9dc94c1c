"""Tests on a real lab: pytest brings lab.yaml up before the first, and takes it down after the last.

Run them as root, beside libvirt:  pytest examples/pytest
"""

from nornir.core.task import Result, Task

import labrun


def test_the_network_is_as_the_file_says(lab: labrun.Lab) -> None:
    rows = lab.verify()
    assert rows.ok, rows


def test_every_path_leads_through_the_router(lab: labrun.Lab) -> None:
    done = lab["one"].run("traceroute -n -q 1 10.66.2.11")
    assert done.exit_status == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]] == ["10.66.1.254", "10.66.2.11"]


def test_a_service_is_reached_from_the_other_network(lab: labrun.Lab) -> None:
    lab["two"].run("setsid python3 -m http.server 8000 >/dev/null 2>&1 & echo $! >/tmp/server", check=True)
    try:
        lab.wait_until(
            lambda: lab["one"].run("curl -sf http://10.66.2.11:8000/").exit_status == 0, timeout=30
        )
    finally:
        lab["two"].run("kill $(cat /tmp/server)")


def test_what_breaks_is_noticed_and_mended(lab: labrun.Lab) -> None:
    lab["gate"].run("sysctl -q -w net.ipv4.ip_forward=0", sudo=True, check=True)
    broken = lab.verify()
    assert {row.why for row in broken.of("path").bad} == {"gate: net.ipv4.ip_forward is 0"}
    mended = lab.configure()
    assert [row.name for row in mended if row.status is labrun.Status.CHANGED] == ["net.ipv4.ip_forward"]
    assert lab.verify().ok


def hostname(task: Task) -> Result:
    """A Nornir task; the connection called netmiko is labrun's login."""
    connection = task.host.get_connection("netmiko", task.nornir.config)
    return Result(host=task.host, result=connection.send_command("hostname").strip())


def test_nornir_tasks_run_on_the_hosts(lab: labrun.Lab) -> None:
    rows = lab.run(hostname)
    assert [row.actual for row in rows] == ["gate", "one", "two"]
    with lab.nornir(hosts="@left") as nornir:
        results = nornir.run(task=hostname)
    assert {host: result[0].result for host, result in results.items()} == {"gate": "gate", "one": "one"}
