"""An instance is shown as passing only where lookups find it, with the reason where they do not."""

from itertools import product

import msgspec
import pytest

from minikube.model import Address, CheckState, Instance, ProcessState
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.readiness.check_state import CheckFacts, merge_states
from minikube.supervisor.readiness.registration import InstanceDescription
from tests.unit.supervisor.instance.fakes import SPEC

PASSING, CRITICAL, STARTING, MAINTENANCE = CheckState
STATES = (None, *CheckState)


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        ((PASSING, CRITICAL), CRITICAL),
        ((PASSING, STARTING), STARTING),
        ((CRITICAL, STARTING), CRITICAL),
        ((CRITICAL, MAINTENANCE), MAINTENANCE),
        ((None, PASSING), PASSING),
        ((None, None), None),
    ],
)
def test_the_worse_of_two_states_is_shown_whichever_comes_first(
    states: tuple[CheckState | None, CheckState | None], worst: CheckState | None
) -> None:
    assert merge_states(*states) is merge_states(*reversed(states)) is worst


def test_a_registered_instance_passes_only_where_its_entry_passes_and_lookups_work() -> None:
    """For every combination of the supervisor's state, the registry's, and the registry's own problem."""
    for own, registry, problem in product(STATES, STATES, ("", "it hangs")):
        facts = CheckFacts(own, "", registry, "", is_registered=True, has_check=True, lookup_problem=problem)
        found = registry is PASSING and not problem and own in (None, PASSING)
        assert (facts.state is PASSING) is facts.is_passing is found, facts
        assert bool(facts.not_ready_reason(ProcessState.RUNNING, "")) is not found, facts


def test_an_instance_that_is_not_registered_has_the_supervisors_state() -> None:
    for own in STATES:
        facts = CheckFacts(own, has_check=own is not None, lookup_problem="it hangs")
        assert facts.state is own
        assert facts.is_passing is (own in (None, PASSING))


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (CheckFacts(PASSING, "ok", None), "passes, but is not registered yet"),
        (CheckFacts(None, "", None), "not registered yet"),
        (CheckFacts(PASSING, "ok", CRITICAL, "no renewal for 15 s"), "check fails: no renewal for 15 s"),
        (CheckFacts(CRITICAL, "exit 1", PASSING, "ok"), "check fails: exit 1"),
        (CheckFacts(PASSING, "ok", MAINTENANCE, "upgrade"), "in maintenance: upgrade"),
        (
            CheckFacts(None, "", PASSING, "200", lookup_problem="the registry does not answer"),
            "the registry does not answer",
        ),
        (CheckFacts(CRITICAL, "exit 1", PASSING, "200", lookup_problem="it hangs"), "check fails: exit 1"),
    ],
)
def test_the_reason_is_that_of_the_state_which_is_shown(facts: CheckFacts, reason: str) -> None:
    facts = msgspec.structs.replace(facts, is_registered=True, has_check=True)
    assert facts.not_ready_reason(ProcessState.RUNNING, "") == reason


def test_an_entry_leads_to_the_instance_only_with_its_name_and_address() -> None:
    spec = msgspec.structs.replace(SPEC, name="web", register="supervisor")
    own = InstanceDescription("1", "web", spec, "localhost", InstancePorts(80))
    itself = InstanceDescription(
        "1", "web", msgspec.structs.replace(spec, register="self"), "localhost", InstancePorts(80)
    )

    def entry(name: str, host: str, port: int) -> Instance:
        return Instance("1", name, Address(host, port), "ttl:", PASSING)

    assert own.owns(entry("web", "127.0.0.1", 80))
    assert not own.owns(entry("web", "127.0.0.1", 81))
    assert not own.owns(entry("web", "127.0.0.2", 80))
    assert not own.owns(entry("other", "127.0.0.1", 80))
    assert itself.owns(entry("web", "10.0.0.1", 81)), "it may register itself anywhere"
