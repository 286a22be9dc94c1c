"""What others remove between the listing and the look at it is no error."""

from __future__ import annotations

from labrun.hypervisor import connect, network_runs
from labrun.tasks.provision.image_volume import _backing_path

NETWORK = "<network><name>going</name><bridge name='testbr9'/></network>"
POOL = "<pool type='dir'><name>labrun-going</name><target><path>/going</path></target></pool>"
VOLUME = """\
<volume><name>disk</name><capacity>1048576</capacity>
<backingStore><path>/base</path></backingStore></volume>
"""


def test_a_network_that_is_gone_does_not_run() -> None:
    network = connect("test:///default").networkDefineXML(NETWORK)
    network.create()
    assert network_runs(network)
    network.destroy()
    assert not network_runs(network)
    network.undefine()
    assert not network_runs(network)


def test_a_volume_that_is_gone_stands_on_nothing() -> None:
    pool = connect("test:///default").storagePoolCreateXML(POOL)
    volume = pool.createXML(VOLUME)
    assert _backing_path(volume) == "/base"
    volume.delete()
    assert _backing_path(volume) == ""
    again = pool.createXML(VOLUME)
    pool.destroy()
    assert _backing_path(again) == ""
