"""Nornir-netmiko's connection plugin in strict form: the one place where nornir-netmiko works for labrun.

It is registered under the plugin's own name, ``netmiko``, so that tasks of users, ``netmiko_send_command``
and others, run over the login that labrun has already.
"""

from __future__ import annotations

from nornir_netmiko.connections import Netmiko

from labrun.tasks.guest.ssh_connection import LabSSH
from labrun.tasks.guest.ssh_login import SshLogin

__all__ = ["StrictNetmiko"]


class StrictNetmiko(Netmiko):
    """Nornir-netmiko's plugin whose connection is a :class:`LabSSH` over a login that exists.

    That login has checked the host key and used keys only. No shell is opened until a task needs one.
    """

    connection: LabSSH

    def __init__(self, login: SshLogin):
        self.connection = LabSSH(login)
