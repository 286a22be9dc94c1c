"""The output of `--explain`: the commands to type for the same result."""

from __future__ import annotations

from labrun.runner.engine.session import Session
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.planning import plan_lab

__all__ = ["explain_up"]


def explain_up(session: Session) -> str:
    """Return the virsh and mount commands for what `up` would create or change now."""
    if not session.uri:
        return f"# {session.lab.name}: {session.place}\n"
    subset = session.hosts if session.invocation.hosts is not None else None
    plan = plan_lab(session.lab, session.uri, subset)
    lines = [f"# {session.lab.name} on {session.uri}: {session.why_uri}"]
    virsh = f"virsh -c {session.uri}"
    for each in plan.filters:
        if each.plan.action != "none" and each.spec.xml.startswith("table "):
            lines.append(f"nft -f - <<'NFT'\n{each.spec.xml.rstrip()}\nNFT")
        elif each.plan.action != "none":
            lines.append(f"{virsh} nwfilter-define /dev/stdin <<'XML'\n{each.spec.xml}\nXML")
    for each in plan.networks:
        spec = each.spec
        if each.plan.action == "none":
            lines.append(f"# network {spec.name} is as declared")
            continue
        lines.append(f"# network {spec.name}: {each.plan.action}")
        lines.append(f"{virsh} net-define /dev/stdin <<'XML'\n{spec.xml.rstrip()}\nXML")
        if spec.want["autostart"] == "yes":
            lines.append(f"{virsh} net-autostart {spec.full_name}")
        lines.append(f"{virsh} net-start {spec.full_name}")
    for each in plan.forwards:
        if each.plan.action != "none" and each.spec.xml:
            lines.append(f"nft -f - <<'NFT'\n{each.spec.xml.rstrip()}\nNFT")
    for item in plan.machines:
        if item.plan.action == "none":
            lines.append(f"# machine {item.spec.host} is as declared")
        elif item.plan.action == "start":
            lines.append(f"virsh -c {item.uri} start {item.spec.domain}")
        else:
            lines.append(f"# machine {item.spec.host}: {item.plan.action}")
            lines += driver_for(item.kind, item.uri).explain(item.spec)
    return "\n".join(lines) + "\n"
