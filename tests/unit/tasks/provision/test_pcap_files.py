"""The stream of tcpdump, read in pieces of any size, and the files that are made of it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labrun.tasks.provision.pcap_files import Packet, PcapReader, block_of, pcap_record, pcapng_head
from tests.fuzz import examples

HEAD = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
# An ARP request: who has 10.0.0.2, tell 10.0.0.1.
ARP = bytes.fromhex("ffffffffffff020000000001080600010800060400010200000000010a0000010000000000000a000002")
packets = st.lists(
    st.builds(Packet, st.integers(0, 2**42), st.integers(0, 2**31), st.binary(max_size=80)), max_size=6
)


@settings(max_examples=examples(100), deadline=None)
@given(packets, st.lists(st.integers(1, 40), min_size=1))
def test_a_stream_in_any_pieces_gives_its_packets(found: list[Packet], sizes: list[int]) -> None:
    stream = HEAD + b"".join(map(pcap_record, found))
    reader, read, at = PcapReader(), [], 0
    while at < len(stream):
        size = sizes[at % len(sizes)]
        read += reader.feed(stream[at : at + size])
        at += size
    assert (reader.head, read) == (HEAD, found)


@pytest.mark.parametrize("stream", [b"no pcap, but some text of somebody", HEAD + b"\xff" * 16])
def test_what_is_no_pcap_is_refused(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"something other than pcap|a packet of \d+ bytes"):
        PcapReader().feed(stream)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="the reader of these files")
def test_tcpdump_reads_packets_of_two_nics(tmp_path: Path) -> None:
    path = tmp_path / "two.pcapng"
    moment = 1_700_000_000_123_456
    blocks = (block_of(number, Packet(moment + number, len(ARP), ARP)) for number in (0, 1))
    path.write_bytes(pcapng_head(["a:left", "b:left"]) + b"".join(blocks))
    done = subprocess.run(
        ["tcpdump", "-n", "-tt", "-r", str(path)], capture_output=True, text=True, check=True, timeout=30
    )
    what = "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28"
    assert done.stdout.splitlines() == [f"1700000000.123456 {what}", f"1700000000.123457 {what}"]
