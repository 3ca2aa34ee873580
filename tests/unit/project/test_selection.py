"""Which services are started: profiles, names, and what they need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.errors import UsageError
from minikube.manifest import ServiceSpec
from minikube.project.selection import check_choice, chosen
from tests.unit.manifest.cases import ROOT


def service(name: str, *profiles: str, needs: tuple[str, ...] = ()) -> ServiceSpec:
    return ServiceSpec(name, ROOT, ("run",), profiles=profiles, depends_on=dict.fromkeys(needs, "started"))


SERVICES = {
    one.name: one
    for one in (
        service("db"),
        service("api", needs=("db",)),
        service("debug", "dev", needs=("api",)),
        service("load", "test", "dev", needs=("mock",)),
        service("mock", "test"),
    )
}


@pytest.mark.parametrize(
    ("only", "profiles", "names"),
    [
        ((), (), "db api"),
        ((), ("dev",), "db api debug load mock"),
        ((), ("test",), "db api load mock"),
        ((), ("*",), "db api debug load mock"),
        (("api",), (), "db api"),
        (("debug",), (), "db api debug"),
        (("mock",), ("dev",), "mock"),
        (("gone",), (), ""),
    ],
)
def test_who_is_started(only: tuple[str, ...], profiles: tuple[str, ...], names: str) -> None:
    assert chosen(SERVICES, only, profiles) == frozenset(names.split())


@given(st.sets(st.sampled_from([*SERVICES, "gone"])), st.sets(st.sampled_from(["dev", "test", "other"])))
def test_what_is_started_never_misses_what_it_needs(only: set[str], profiles: set[str]) -> None:
    found = chosen(SERVICES, only, profiles)
    assert all(set(SERVICES[name].depends_on) <= found for name in found)


def test_a_name_that_does_not_exist_is_said() -> None:
    check_choice(SERVICES, ("db",), ("dev", "*"))
    with pytest.raises(UsageError, match=r"apo: no such service in the manifest \(did you mean api\?\)"):
        check_choice(SERVICES, ("apo",), ())
    with pytest.raises(UsageError, match=r"--profile prod: no service has this profile \(there are: dev, test\)"):
        check_choice(SERVICES, (), ("prod",))
    with pytest.raises(UsageError, match=r"--profile tets: .*did you mean test"):
        check_choice(SERVICES, (), ("tets",))
