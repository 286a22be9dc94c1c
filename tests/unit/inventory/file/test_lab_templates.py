"""``files`` of a lab file: where their contents come from, what templates see, what is wrong with them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from labrun.errors import LabFileError
from labrun.inventory.file.load import load_lab
from labrun.inventory.model import FileSpec, Lab

LAB = """\
name: demo
networks:
  net1: {cidr: 10.1.0.0/24, cidr6: "fd00:1::/64", domain: demo.test, mtu: 1400}
  net2: {cidr: 10.2.0.0/24, mode: very-isolated}
hosts:
  gate: {role: router, networks: {net1: {ipv4: 10.1.0.254, ipv6: "fd00:1::fe"}, net2: 10.2.0.254}}
"""


def lab_of(directory: Path, hosts: str, templates: dict[str, str | bytes]) -> Lab:
    """Load a lab with further hosts; templates lie beside it."""
    path = directory / "lab.yaml"
    path.write_text(LAB + textwrap.indent(textwrap.dedent(hosts), "  "), encoding="utf-8")
    for name, content in templates.items():
        (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_lab(path)


def rendered(directory: Path, template: str) -> str:
    host = "one: {networks: {net1: {ipv4: 10.1.0.11, ipv6: 'fd00:1::11'}}, files: {/x: {template: t.j2}}}\n"
    (file,) = lab_of(directory, host, {"t.j2": template}).hosts["one"].files
    return file.content.decode()


def refusal(directory: Path, hosts: str, templates: dict[str, str | bytes]) -> list[str]:
    with pytest.raises(LabFileError) as caught:
        lab_of(directory, hosts, templates)
    return [
        str(problem.render("lab.yaml")).replace(str(directory), "DIR") for problem in caught.value.problems
    ]


def test_contents_come_from_the_file_from_beside_it_or_from_a_template(tmp_path: Path) -> None:
    host = """
    one:
      networks: {net1: dhcp}
      files:
        /a: {content: "x\\n", mode: 0600, owner: lab, group: lab}
        /b: {src: b.bin, validate: "test -s %s", on_change: sync}
        /c: {template: c.j2}
    """
    files = lab_of(tmp_path, host, {"b.bin": b"\0\xff", "c.j2": "{{ host.name }}\n"}).hosts["one"].files
    assert files == (
        FileSpec("/a", b"x\n", "0600", "lab", "lab"),
        FileSpec("/b", b"\0\xff", validate="test -s %s", on_change="sync"),
        FileSpec("/c", b"one\n"),
    )


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ lab.name }} {{ host.hostname }} {{ host.role }} {{ host.user }}", "demo one host lab"),
        ("{{ host.address }} via {{ host.gateway }}", "10.1.0.11 via 10.1.0.254"),
        ("{{ host.gateway6 }}", "fd00:1::fe"),
        ("{% for name in hosts %}\n{{ name }}\n{% endfor %}\n", "gate\none\n"),
        ("{{ hosts.gate.networks.net2.ipv4 }}/{{ hosts.gate.networks.net2.prefix4 }}", "10.2.0.254/24"),
        ("{{ host.networks.net1.ipv6 }} {{ host.networks.net1.dhcp }}", "fd00:1::11 False"),
        ("{{ networks.net1.cidr }} {{ networks.net1.netmask }}", "10.1.0.0/24 255.255.255.0"),
        ("{{ networks.net1.hypervisor }} {{ networks.net1.domain }}", "10.1.0.1 demo.test"),
        ("{{ networks.net1.mtu }} {{ networks.net2.mtu | default(1500, true) }}", "1400 1500"),
        ("a\n{# a remark #}\n  {% if true %}\nb < c\n  {% endif %}\n\n", "a\nb < c\n\n"),
    ],
)
def test_templates_see_the_lab(tmp_path: Path, template: str, text: str) -> None:
    assert rendered(tmp_path, template) == text


def test_a_template_may_include_others_beside_the_lab_file(tmp_path: Path) -> None:
    (tmp_path / "part.j2").write_text("{{ host.name }}", encoding="ascii")
    assert rendered(tmp_path, "<{% include 'part.j2' %}>") == "<one>"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("a\n{{ host.nme }}\n", "t.j2:2: 'dict object' has no attribute 'nme' (rendered for one)"),
        ("a\n\n{{ hots }}", "t.j2:3: 'hots' is undefined (rendered for one)"),
        ("a\n{% if %}", "t.j2:2: Expected an expression, got 'end of statement block'"),
        ("{% for x in hosts %}\n", "t.j2:1: Unexpected end of template. Jinja was looking for"),
        ("\n{{ 1 / 0 }}", "t.j2:2: division by zero (rendered for one)"),
        (
            "\n{{ lab.__class__.__mro__ }}",
            "t.j2:2: access to attribute '__class__' of 'dict' object is unsafe.",
        ),
        ("{% include 'none.j2' %}", "t.j2:1: none.j2 cannot be read: No such file or directory"),
        ("\n{% include 'part.j2' %}", "part.j2:2: 'x' is undefined (rendered for one)"),
        ("{{ networks.net2.mtu }}", "t.j2:1: this value is none: `default(..., true)` sets a fallback"),
        ("{{ host.update({}) }}", "t.j2:1: access to attribute 'update' of 'dict' object is unsafe."),
    ],
)
def test_what_is_wrong_with_a_template_is_told_with_its_line(
    tmp_path: Path, template: str, says: str
) -> None:
    host = "one:\n  networks: {net1: 10.1.0.11}\n  files:\n    /x: {template: t.j2}\n"
    (problem,) = refusal(tmp_path, host, {"t.j2": template, "part.j2": "\n{{ x }}"})
    assert problem.startswith(f"lab.yaml:10: hosts.one.files./x.template: {says}"), problem


def test_all_that_is_wrong_is_told_at_once_where_it_is_written(tmp_path: Path) -> None:
    hosts = """
    one: {networks: {net1: 10.1.0.11}, memory: lots, files: {/mine: {src: nowhere}}}
    two: {networks: {net1: 10.1.0.12}, files: {/c: {template: latin.j2}}}
    three: {networks: {net1: 10.1.0.13}, files: {/d: {src: big}, /e: {template: bad.j2}}}
    """
    templates: dict[str, str | bytes] = {
        "latin.j2": b"caf\xe9",
        "bad.j2": "\n{% end %}",
        "big": bytes(1024 * 1024 + 1),
    }
    hint = "put it into a package or an image"
    assert refusal(tmp_path, hosts, templates) == [
        'lab.yaml:8: hosts.one.files./mine.src: there is no file "nowhere" (looked for in DIR)',
        'lab.yaml:8: hosts.one.memory: expected a whole number, got "lots" (MiB as a number, such as 512)',
        "lab.yaml:9: hosts.two.files./c.template: latin.j2 is not UTF-8",
        f'lab.yaml:10: hosts.three.files./d.src: "big" is larger than 1 MiB ({hint})',
        "lab.yaml:10: hosts.three.files./e.template: bad.j2:2: Encountered unknown tag 'end'.",
    ]


def test_a_group_s_template_is_told_once_at_the_group(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    hosts = "  one: {networks: {net1: dhcp}}\n  two: {networks: {net1: dhcp}}\n"
    path.write_text(
        f"{LAB}{hosts}groups: {{g: {{hosts: [one, two], files: {{/x: {{src: no}}}}}}}}\n", "utf-8"
    )
    with pytest.raises(LabFileError) as caught:
        load_lab(path)
    assert [(each.line, each.path) for each in caught.value.problems] == [(9, "groups.g.files./x.src")]


def test_a_host_s_own_origin_replaces_its_group_s(tmp_path: Path) -> None:
    host = "one: {networks: {net1: 10.1.0.11}, files: {/x: {content: mine}}}\n"
    path = tmp_path / "lab.yaml"
    group = "groups: {g: {hosts: [one], files: {/x: {src: theirs, mode: 0600}}}}\n"
    path.write_text(f"{LAB}  {host}{group}", encoding="utf-8")
    assert load_lab(path).hosts["one"].files == (FileSpec("/x", b"mine", "0600"),)
