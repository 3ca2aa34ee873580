"""The services that are started: by profiles, by names, and their dependencies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from minikube.errors import UsageError
from minikube.manifest import ServiceSpec
from minikube.project.selection.profiles import check_dependencies, check_selection, select_services
from tests.unit.manifest.cases import ROOT


def service(name: str, *profiles: str, needs: tuple[str, ...] = ()) -> ServiceSpec:
    return ServiceSpec(name, ROOT, ("run",), profiles=profiles, depends_on=dict.fromkeys(needs, "started"))


SERVICES = {
    spec.name: spec
    for spec in (
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
        (("unknown",), (), ""),
    ],
)
def test_profiles_and_names_select_services(only: tuple[str, ...], profiles: tuple[str, ...], names: str) -> None:
    assert select_services(SERVICES, only, profiles) == frozenset(names.split())


def test_a_group_selects_the_services_that_are_in_it_now() -> None:
    """Whatever their profiles, as if each was named."""
    services = {
        name: structs.replace(spec, groups=("all",) if name in ("debug", "api") else ())
        for name, spec in SERVICES.items()
    }
    assert select_services(services, ("@all",), ()) == {"debug", "api", "db"}
    check_selection(services, ("@all",), ())
    check_dependencies(services, ("@all",), ())
    assert select_services(SERVICES, ("@all",), ()) == frozenset(), "an edit has removed it"
    with pytest.raises(UsageError, match=r"@al: no such group \(did you mean @all"):
        check_selection(services, ("@al",), ())


def test_an_optional_dependency_is_selected_only_by_itself() -> None:
    """Also where only an inactive profile has it."""
    web = structs.replace(service("web", needs=("db", "debug")), optional_dependencies=("debug",))
    services = {**SERVICES, "web": web}
    assert select_services(services, ("web",), ()) == {"web", "db"}
    assert select_services(services, ("web", "debug"), ()) == {"web", "db", "debug", "api"}
    check_dependencies(services, ("web",), ())


@given(st.sets(st.sampled_from([*SERVICES, "unknown"])), st.sets(st.sampled_from(["dev", "test", "other"])))
def test_the_dependencies_of_selected_services_are_selected(only: set[str], profiles: set[str]) -> None:
    found = select_services(SERVICES, only, profiles)
    assert all(set(SERVICES[name].depends_on) <= found for name in found)


@pytest.mark.parametrize(
    ("only", "profiles", "problem"),
    [
        ((), (), ""),
        ((), ("test",), ""),
        ((), ("*",), ""),
        ((), ("dev",), "load: depends on mock, which is only in the profile test — add --profile test"),
        ((), ("dev", "test"), ""),
        (("load",), (), ""),  # activates test
        (("debug",), (), ""),
        (("run",), (), "run: depends on debug, which is only in the profile dev — add --profile dev, or name both"),
        (("run", "debug"), (), ""),
        (("run",), ("dev",), ""),
        (("unknown",), (), ""),
    ],
)
def test_a_dependency_that_no_active_profile_has_is_an_error(
    only: tuple[str, ...], profiles: tuple[str, ...], problem: str
) -> None:
    services = {**SERVICES, "run": service("run", "ci", needs=("debug",))}
    if not problem:
        check_dependencies(services, only, profiles)
        return
    with pytest.raises(UsageError) as caught:
        check_dependencies(services, only, profiles)
    assert str(caught.value).startswith(problem)


def test_an_unknown_name_is_an_error_with_a_suggestion() -> None:
    check_selection(SERVICES, ("db",), ("dev", "*"))
    with pytest.raises(UsageError, match=r"apo: no such service in the manifest \(did you mean api\?\)"):
        check_selection(SERVICES, ("apo",), ())
    with pytest.raises(UsageError, match=r"--profile prod: no service has this profile \(there are: dev, test\)"):
        check_selection(SERVICES, (), ("prod",))
    with pytest.raises(UsageError, match=r"--profile tets: .*did you mean test"):
        check_selection(SERVICES, (), ("tets",))
