"""Names that stand for several services: which ones, in which order, and what is said of unknown ones."""

import pytest

from minikube.errors import NotFound, UsageError
from minikube.manifest import ServiceSpec
from minikube.model import ServiceView
from minikube.project.selection.groups import expand_names, group_names, known_names, single_name
from tests.unit.manifest.cases import ROOT


def service(name: str, groups: tuple[str, ...] = (), tags: tuple[str, ...] = ()) -> ServiceSpec:
    return ServiceSpec(name, ROOT, ("run",), groups=groups, tags=tags)


SERVICES = (
    service("db", ("backend", "data")),
    service("web", (), ("setup", "a.b/c=1")),
    service("api", ("backend",), ("setup",)),
)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), ()),
        (("@backend",), ("db", "api")),
        (("@tag:setup", "api"), ("web", "api")),
        (("api", "@backend"), ("api", "db")),
        (("@tag:a.b/c=1", "unknown"), ("web", "unknown")),
        (("@data", "@backend"), ("db", "api")),
    ],
)
def test_a_group_stands_for_its_services_in_their_order_each_once(
    names: tuple[str, ...], found: tuple[str, ...]
) -> None:
    assert expand_names(SERVICES, names) == found


def test_services_of_a_running_project_have_groups_as_those_of_the_manifest() -> None:
    views = [ServiceView(spec.name, groups=spec.groups, tags=spec.tags) for spec in SERVICES]
    assert expand_names(views, ["@backend"]) == ("db", "api")
    assert group_names(views) == ["@backend", "@data", "@tag:setup", "@tag:a.b/c=1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("@backnd", "@backnd: no such group (did you mean @backend?)"),
        ("@tag:stup", "@tag:stup: no service has the tag stup (did you mean @tag:setup?)"),
        ("@tag:backend", "@tag:backend: no service has the tag backend (did you mean @backend?)"),
        ("@web", "@web: no such group (did you mean the service web?)"),
        ("@", "@: no such group (there are: @backend, @data, @tag:setup, @tag:a.b/c=1)"),
    ],
)
def test_an_unknown_group_is_an_error_with_the_nearest_one(name: str, text: str) -> None:
    with pytest.raises(NotFound) as caught:
        expand_names(SERVICES, ("db", name))
    assert str(caught.value) == text
    assert known_names(SERVICES, ("db", name)) == ("db",)


def test_where_there_are_no_groups_the_key_is_named() -> None:
    with pytest.raises(UsageError, match=r"^@x: no such group \(services get one with groups = \[…\]\)$"):
        expand_names([service("db")], ["@x"], UsageError)


def test_where_one_service_is_wanted_several_are_named() -> None:
    assert single_name(SERVICES, "@data") == "db"
    assert single_name(SERVICES, "web-2") == "web-2"
    with pytest.raises(UsageError, match=r"^@backend: expected one service, got db and api — name one of them$"):
        single_name(SERVICES, "@backend")
    with pytest.raises(NotFound):
        single_name(SERVICES, "@x")
