"""Whether the machines of a remote hypervisor can be reached through it, tried before any is made."""

from __future__ import annotations

from collections.abc import Sequence

from labrun.errors import HypervisorError, JumpHostError, LabrunError, TransportError
from labrun.inventory.hosts.hypervisor_login import hypervisor_login
from labrun.inventory.hosts.locate import file_addresses, first_hop
from labrun.inventory.model import Lab
from labrun.state import SSH_PORT

__all__ = ["require_way"]

_SECONDS = 60.0
_LOOPBACK = "127.0.0.1"


def require_way(lab: Lab, uri: str, hosts: Sequence[str]) -> None:
    """Log in to the hypervisor as on the way to its machines, if ``hosts`` has some that are reached so.

    libvirt's own connection says nothing about that: it is another ssh, and needs no forwarding. Raises
    HypervisorError.
    """
    login = hypervisor_login(uri)
    behind = [host for host in hosts if first_hop(lab, uri, host) is not None]
    if login is None or not behind:
        return
    from labrun.tasks.guest.jump_host import SHARED

    options = login.options()
    # An sshd may forward to some addresses only (PermitOpen): the second one is a machine's.
    machine = next((address for host in behind for address in file_addresses(lab.hosts[host])), None)
    places = [(_LOOPBACK, int(str(options["port"]))), *([(machine, SSH_PORT)] if machine is not None else [])]
    refused: LabrunError | None = None
    for address, port in places:
        try:
            SHARED.require_forwarding(options, address, port, _SECONDS)
        except JumpHostError as error:
            refused = error
        except TransportError as error:
            raise _refusal(login.host, error) from error
        else:
            return
    if refused is not None:
        raise _refusal(login.host, refused) from refused


def _refusal(host: str, error: LabrunError) -> HypervisorError:
    if isinstance(error.__cause__, LabrunError):
        # That of the login itself, without the name of a jump host.
        cause = error.__cause__
        return HypervisorError(
            f"labrun's own login to {host}, the way to its machines, failed: {cause.reason}",
            step="hypervisor",
            hint=cause.hint or f"`ssh {host} true` must work without a ProxyJump, and without asking",
        )
    if isinstance(error, JumpHostError):
        return HypervisorError(
            f"{host} does not forward connections, and the way to its machines leads through it",
            step="hypervisor",
            hint=f"AllowTcpForwarding of the sshd on {host} must be yes or local",
        )
    return HypervisorError(error.reason, step="hypervisor", hint=error.hint)
