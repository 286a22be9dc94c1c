"""What labrun computes of a Vagrantfile's Ruby, what it only tells, and that neither takes long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from labrun.inventory.starting.importing import Imported, from_file
from labrun.inventory.starting.ruby_methods import NotComputedError, Value
from labrun.inventory.starting.ruby_values import computed, with_values

KNOWN: Mapping[str, Value] = {
    "i": 3,
    "net": "10.9.8",
    "m": {"name": "web", "ip": None, "nics": ["a", "b"], "on": {"cpus": 2}},
}


def imported(folder: Path, text: str) -> Imported:
    """Return what becomes of a Vagrantfile."""
    (folder / "Vagrantfile").write_text(text, encoding="utf-8")
    return from_file(folder / "Vagrantfile", name="x")


@pytest.mark.parametrize(
    ("ruby", "value"),
    [
        ('"#{net}.#{i * 10 + 1}"', "10.9.8.31"),
        ("'#{net}'", "#{net}"),
        ('"node" + i.to_s', "node3"),
        ('"node%02d" % i', "node03"),
        ('"%s-%d" % ["a", i]', "a-3"),
        ("i.to_s.rjust(2, '0')", "03"),
        ("m[:name].upcase", "WEB"),
        ('m["nics"][1]', "b"),
        ("m[:nics].last", "b"),
        ("m[:ip] || :none", "none"),
        ("m.fetch(:cpus, 4)", 4),
        ("m.dig(:on, :cpus)", 2),
        ("m.key?(:name) && i > 2", True),
        ('i == 1 ? "first" : "other"', "other"),
        ("!m[:ip].nil?", False),
        ("ENV['N'] || -7 / 2", -4),
        ("[1, 2,]", [1, 2]),
        ("{ :a => 1, b: 'x', \"c\": [1_024] }", {"a": 1, "b": "x", "c": [1024]}),
        ("%w[a b]", ["a", "b"]),
    ],
)
def test_a_plain_value_is_computed(ruby: str, value: Value) -> None:
    assert computed(ruby, KNOWN) == value


@pytest.mark.parametrize(
    "ruby",
    [
        *("`id`", "system('id')", "File.read('/etc/passwd')", "other", "i +", "(1", "1 / 0", '"#{`id`}"'),
        *("10 ** 9", "'a' * 9", "999999999999 * 9", "m.send(:name)", '"%x" % 1', "-" * 5000 + "1", "(" * 99),
        *("[" * 5000, "m.nics", "i.each", "[1] == [1]", "eval('1')"),
    ],
)
def test_what_is_not_plain_has_no_value(ruby: str) -> None:
    with pytest.raises(NotComputedError):
        computed(ruby, KNOWN)


@pytest.mark.parametrize(
    ("ruby", "written"),
    [
        (
            "x.vm.network :private_network, ip: m[:name], i: i",
            'x.vm.network :private_network, ip: "web", i: 3',
        ),
        ("x.vm.define(m[:name]) do |i|", 'x.vm.define("web") do |i|'),
        ("x.vm.define m[:name] do |n|", 'x.vm.define "web" do |n|'),
        ("x.memory = m[:on][:cpus] * 512", "x.memory = 1024"),
        ("x.i.net = y + net", "x.i.net = y + net"),
        ("Vagrant.configure(2) do |c|", "Vagrant.configure(2) do |c|"),
    ],
)
def test_arguments_are_replaced_by_their_values(ruby: str, written: str) -> None:
    assert with_values(ruby, KNOWN) == written


def test_what_cannot_be_read_is_listed_and_not_refused(tmp_path: Path) -> None:
    found = imported(
        tmp_path,
        "Vagrant.configure('2') do |config|\n"
        "  config.vm.box = 'x'\n"
        "  JSON.parse(File.read('a.json')).each do |m|\n"
        "    config.vm.define m['name']\n"
        "  end\n"
        "  config.vm.define chosen do |c|\n"
        "    c.vm.network 'private_network', ip: '10.9.7.2'\n"
        "  end\n"
        "end\n",
    )
    assert found.left_out[:3] == (
        "line 3: JSON.parse(File.read('a.json')).each do |m|: a loop over what labrun does not compute",
        'line 6: "config.vm.define ...": has no counterpart',
        "line 7: \"c.vm.network 'private_network', ip: '10.9.7.2'\": labrun cannot tell what c is",
    )
    assert "  # stands for the machines that could not be read\n  machine:\n" in found.text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("(1..99).each do |i|\n" * 9 + "end\n" * 9, id="loops in loops"),
        pytest.param("a = [" + "[1,2]," * 9000 + "]\n", id="a long list"),
        pytest.param("a = 1" + "+1" * 1900 + " x\n" + ("b(" + "1+" * 1900 + "\n") * 9, id="sums"),
        pytest.param(("%w[" * 1300 + "\n") * 60, id="open words"),
        pytest.param((" " * 1900 + "x.each" + " " * 1900 + "y\n") * 60, id="spaces"),
        pytest.param(("x.each { |" * 390 + "\n") * 60, id="open blocks"),
        pytest.param(('"#{' * 1300 + "\n") * 9, id="open texts"),
        pytest.param("a = [1]\n" + "a = [a, a]\n" * 500 + "b = a == a\n", id="a deep list"),
        pytest.param(("if a\n" * 99 + "else\n") * 9, id="conditions"),
    ],
)
def test_no_text_takes_long(tmp_path: Path, text: str) -> None:
    began = time.process_time()
    found = imported(tmp_path, "Vagrant.configure('2') do |config|\nconfig.vm.define 'a'\n" + text + "end\n")
    assert "\n  a:\n" in found.text
    # Far more than is needed, and far less than what grows with the square or faster.
    assert time.process_time() - began < 30
