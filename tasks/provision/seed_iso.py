"""The NoCloud seed as an ISO image, which a VM's cloud-init finds by the volume label ``cidata``."""

from __future__ import annotations

from io import BytesIO

from labrun.tasks.provision.driver import Seed

__all__ = ["LABEL", "seed_iso"]

LABEL = "cidata"


def seed_iso(seed: Seed) -> bytes:
    """Return the ISO 9660 image (Joliet and Rock Ridge) with the seed's files.

    cloud-init looks for names with hyphens and lower case, which plain ISO 9660 lacks. An empty
    network-config is left out: cloud-init would treat the empty file as a broken one.
    """
    # pycdlib takes 30 ms to import, and only `up` needs it.
    from pycdlib.pycdlib import PyCdlib

    image = PyCdlib()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    files = {"meta-data": seed.meta_data, "user-data": seed.user_data, "network-config": seed.network_config}
    for name, text in files.items():
        if name == "network-config" and not text:
            continue
        content = text.encode("utf-8")
        image.add_fp(
            BytesIO(content),
            len(content),
            f"/{name.replace('-', '').upper()}.;1",
            rr_name=name,
            joliet_path=f"/{name}",
        )
    out = BytesIO()
    image.write_fp(out)
    image.close()
    return out.getvalue()
