"""What is shown of an instance follows its registry entry: whose it is, where it leads, and whether lookups work at all."""

from typing import cast

from msgspec import structs

from minikube.health.prober import Prober
from minikube.model import Address, CheckState, Instance, ProcessState
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.readiness.readiness import Readiness, ReadinessCallbacks
from minikube.supervisor.readiness.registration import InstanceDescription
from minikube.supervisor.readiness.registry_sync import RegistrySync
from tests.unit.supervisor.instance.fakes import SPEC, FakeSupervisor

WEB = structs.replace(SPEC, name="web", register="supervisor")


def make_readiness(registry_sync: FakeSupervisor, register: str = "supervisor") -> Readiness:
    description = InstanceDescription(
        "1", "web", structs.replace(WEB, register=register), "127.0.0.1", InstancePorts(80)
    )
    callbacks = ReadinessCallbacks(*(lambda *_: None,) * 5)
    return Readiness(description, cast(RegistrySync, registry_sync), Prober(), callbacks)


def entry(port: int = 80, state: CheckState = CheckState.PASSING) -> Instance:
    return Instance("1", "web", Address("127.0.0.1", port), "tcp:", state, output="connected", since=50.0)


async def test_an_entry_that_another_client_replaced_is_not_passing() -> None:
    readiness = make_readiness(FakeSupervisor())
    readiness.on_registry_update(entry())
    assert (readiness.summary.state, readiness.is_passing) == (CheckState.PASSING, True)
    readiness.on_registry_update(entry(81))
    assert (readiness.summary.state, readiness.is_passing) == (CheckState.CRITICAL, False)
    reason = readiness.not_ready_reason(ProcessState.RUNNING, "")
    assert reason == "another client registered web at 127.0.0.1:81 in its place"


async def test_an_instance_that_registers_itself_is_shown_where_lookups_lead() -> None:
    readiness = make_readiness(FakeSupervisor(), "self")
    assert readiness.summary.address == ""
    readiness.on_registry_update(entry(81))
    assert (readiness.summary.state, readiness.summary.address) == (CheckState.PASSING, "127.0.0.1:81")


async def test_nothing_registered_passes_while_lookups_find_nothing() -> None:
    registry_sync = FakeSupervisor()
    for register in ("supervisor", "self"):
        readiness = make_readiness(registry_sync, register)
        readiness.on_registry_update(entry())
        registry_sync.lookup_problem, registry_sync.lookup_problem_since = "the registry does not answer", 90.0
        summary = readiness.summary
        assert (summary.state, summary.since, readiness.is_passing) == (CheckState.CRITICAL, 90.0, False)
        assert readiness.not_ready_reason(ProcessState.RUNNING, "") == "the registry does not answer"
        registry_sync.lookup_problem = ""
        assert (readiness.summary.state, readiness.summary.since) == (CheckState.PASSING, 50.0)
