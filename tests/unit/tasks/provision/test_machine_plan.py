"""What happens to a machine is a pure function of what is wanted and what is there."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from labrun.tasks.provision.driver import ObservedMachine
from labrun.tasks.provision.machine_plan import plan_machine

WANTED = {"driver": "lxc", "image": "debian-12", "memory": "512", "nics": "02:00:00:00:00:01@lab-net"}


def there(state: str = "running", **changes: str) -> ObservedMachine:
    return ObservedMachine("lab-one", "one", "uuid", state, MappingProxyType({**WANTED, **changes}))


@pytest.mark.parametrize(
    ("wanted", "observed", "action", "start"),
    [
        (WANTED, None, "create", True),
        (WANTED, there(), "none", False),
        (WANTED, there("shut off"), "start", True),
        (WANTED, there("crashed"), "start", True),
        (WANTED, there(memory="256"), "update", False),
        (WANTED, there("shut off", memory="256"), "update", True),
        (WANTED, there(image="other"), "recreate", True),
        (WANTED, there(driver="qemu"), "recreate", True),
        (None, there(), "remove", False),
        (None, None, "none", False),
    ],
)
def test_the_action(
    wanted: dict[str, str] | None, observed: ObservedMachine | None, action: str, start: bool
) -> None:
    plan = plan_machine("one", wanted, observed)
    assert (plan.action, plan.start) == (action, start)


def test_the_diff_names_what_is_and_what_should_be() -> None:
    plan = plan_machine("one", WANTED, there(memory="256"))
    assert plan.diff() == "- memory: 256\n+ memory: 512"
    assert plan_machine("one", WANTED, there()).diff() is None


def test_recreate_is_asked_for_even_where_nothing_differs() -> None:
    assert plan_machine("one", WANTED, there(), recreate=True).action == "recreate"
    assert plan_machine("one", WANTED, None, recreate=True).action == "create"
