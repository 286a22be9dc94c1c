"""`verify --offline` and `--pair`: what must be observed, without a hypervisor and without a host."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

import pytest

from labrun.errors import UsageError
from labrun.inventory.file.load import load_lab
from labrun.inventory.topology import targets
from labrun.inventory.topology.expectations import expectations
from labrun.inventory.topology.hypervisor_forwards import forward_trials
from labrun.inventory.topology.steps import steps_back, steps_there
from labrun.outcome import Status
from labrun.runner.commands.verify.offline import offline_rows
from labrun.runner.commands.verify.pair import nodes_of, pair_of, pair_report
from labrun.tasks.collect.judge import judge
from tests import places
from tests.unit.command_line import run_labrun
from tests.unit.small_labs import host, lab, network, two_networks

EXAMPLES = sorted((places.EXAMPLES).glob("*.yaml"))
# A URI that nothing answers: whoever asks a hypervisor is found out.
NOWHERE = """\
name: nowhere
hypervisor: qemu+ssh://nobody@192.0.2.1/system
networks:
  n1: {cidr: 10.0.1.0/24, cidr6: "fd00:1::/64"}
  n2: {cidr: 10.0.2.0/24, cidr6: "fd00:2::/64"}
  n3: {mode: very-isolated, cidr: 10.0.3.0/24}
hosts:
  r:
    role: router
    networks: {n1: {ipv4: 10.0.1.254, ipv6: "fd00:1::f"}, n2: {ipv4: 10.0.2.254, ipv6: "fd00:2::f"}}
  a: {networks: {n1: {ipv4: 10.0.1.10, ipv6: "fd00:1::a"}}}
  b: {networks: {n2: {ipv4: 10.0.2.10, ipv6: "fd00:2::b"}}}
  x: {networks: {n3: 10.0.3.10}}
checks:
  - {name: ssh, from: a, to: b, tcp: 22}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lab.yaml").write_text(NOWHERE, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.stem))
def test_every_row_of_verify_is_there_with_what_it_expects(example: Path) -> None:
    of = load_lab(example)
    rows = offline_rows(of)
    assert {row.status for row in rows} == {Status.SKIPPED}
    assert {row.actual for row in rows} == {None}
    assert all(row.expected for row in rows)
    assert [(row.host, row.section, row.name) for row in rows] == [
        *((row.host, row.section, row.name) for row in judge(of, {})),
        *(("hypervisor", "forward", trial.name) for trial in forward_trials(of)),
    ]


def test_offline_asks_nobody_and_says_why_a_path_cannot_be(folder: Path) -> None:
    done = run_labrun("verify", "--offline", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = {(row["host"], row["section"], row["name"]): row for row in json.loads(done.stdout)["results"]}
    assert rows["a", "path", "a -> b (IPv6)"]["expected"] == "fd00:1::f fd00:2::b"
    assert rows["a", "check", "ssh"]["expected"] == "open"
    nowhere = rows["a", "path", "a -> x"]
    assert (nowhere["expected"], nowhere["why"]) == ("unreachable", "offline; r: no route to 10.0.3.0/24")
    text = run_labrun("verify", "--offline", "--hosts", "a", cwd=folder).stdout
    assert text.startswith("a\n  address n1 ")
    assert "unreachable (r: no route to 10.0.3.0/24)" in text
    assert "13 settings, shown with -v" in text


def test_a_pair_is_explained_step_by_step(folder: Path) -> None:
    done = run_labrun("verify", "--offline", "--pair", "a:b", cwd=folder)
    assert done.returncode == 0, done.stderr
    first = done.stdout.split("\n\n")[0]
    assert (
        first
        == """\
a -> b: 10.0.2.10
  there
    1. a  default via 10.0.1.254 on n1, from 10.0.1.10
    2. r  10.0.2.0/24 out of n2; answers as 10.0.1.254
    3. b  has 10.0.2.10 and answers with it
  back
    1. b  default via 10.0.2.254 on n2, from 10.0.2.10
    2. r  10.0.1.0/24 out of n1
    3. a  has 10.0.1.10
  expected: 10.0.1.254 10.0.2.10
  skipped: offline"""
    )
    assert "a -> b (IPv6): fd00:2::b\n" in done.stdout


def test_a_pair_that_cannot_meet_ends_where_the_file_says(folder: Path) -> None:
    done = run_labrun("verify", "--offline", "--pair", "x:a", "--json", cwd=folder)
    document = json.loads(done.stdout)
    (told,) = document["pair"]
    assert told["fault"] == "x: no route to 10.0.1.0/24"
    assert [step["does"] for step in told["there"]] == ["has no route to 10.0.1.10"]
    assert [(row["name"], row["status"]) for row in document["results"]] == [("x -> a", "skipped")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pair", "a:bb"], '--pair: unknown host "bb" (did you mean "b"?)'),
        (["--pair", "a"], "--pair: two hosts are required, such as host01:host03"),
        (["--pair", "a:a"], "--pair: two different hosts are required"),
        (["--pair", "a:b", "--hosts", "a"], "--pair names its hosts itself"),
    ],
)
def test_a_pair_is_two_hosts(folder: Path, words: list[str], message: str) -> None:
    done = run_labrun("verify", "--offline", *words, cwd=folder)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == f"error: {message}"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--pair", "a:b", "--junit", "out"], "--pair and --junit"),
        (["--pair", "a:b", "--markdown", "out"], "--pair and --markdown"),
        (["--offline", "--pair", "a:b", "--matrix"], "--pair and --matrix"),
        (["--hint", "--pair", "a:b"], "--hint and --pair"),
        (["--hint", "--offline"], "--hint and --offline"),
        (["--hint", "--matrix"], "--hint and --matrix"),
        (["--explain", "--offline"], "--explain and --offline"),
        (["--explain", "--hint"], "--explain and --hint"),
        (["--explain", "--junit", "out"], "--explain and --junit"),
    ],
)
def test_options_that_would_be_ignored_are_refused(folder: Path, words: list[str], named: str) -> None:
    done = run_labrun("--json", "verify", *words, cwd=folder)
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == 2
    assert document["error"] == f"{named} cannot be combined"
    assert document["hint"] == "leave one of them out"
    assert not (folder / "out").exists()


def test_the_steps_are_those_of_the_path() -> None:
    of = two_networks()
    path = expectations(of).path("host01", "host04")
    there, back = steps_there(of, path), steps_back(of, path)
    assert [step.node for step in there] == ["host01", "host00", "host04"]
    assert [step.node for step in back] == ["host04", "host00", "host01"]
    assert [step.address for step in there[1:]] == list(path.hops)
    assert {step.to for step in back} == {ip_address("172.16.0.11")}
    assert nodes_of(of, "host01", "host04") == {"host00", "host01", "host04"}
    assert nodes_of(of, "host01", "host02") == {"host01", "host02"}


def test_the_hypervisor_is_a_step_where_it_forwards() -> None:
    of = lab(
        [network("n1", "10.0.1.0/24", "route"), network("n2", "10.0.2.0/24", "route")],
        [host("a", {"n1": "10.0.1.5/24"}), host("b", {"n2": "10.0.2.5/24"})],
    )
    (pair,) = json.loads(json.dumps(pair_report(of, "a", "b", None).extra["pair"]))
    assert [(step["node"], step["address"]) for step in pair["there"]] == [
        ("a", "10.0.1.5"),
        ("hypervisor", "10.0.1.1"),
        ("b", "10.0.2.5"),
    ]
    with pytest.raises(UsageError):
        pair_of(of, "a:hypervisor")


def test_a_pair_that_a_large_lab_does_not_try_is_explained_on_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(targets, "WHOLE", 2)
    of = lab(
        [network("n", "10.0.1.0/24")],
        [host(f"h{number}", {"n": f"10.0.1.{11 + number}/24"}) for number in range(8)],
    )
    tried = [row.name for row in offline_rows(of, ["h0"]) if row.section == "path"]
    assert tried == ["h0 -> h1", "h0 -> h2", "h0 -> h4"]
    report = pair_report(of, "h0", "h3", None)
    assert [(row.name, row.expected) for row in report.outcomes] == [("h0 -> h3", "10.0.1.14")]
