"""Dependencies: start order, cycles, the difference between two manifests, and the reasons to wait."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from minikube.manifest import HealthSpec, RestartSpec, ServiceSpec
from minikube.project import dependency_graph, service_diff
from minikube.project.dependency_graph import CycleError, UnknownDependency

SHOP = {"order": ("product",), "product": ("db",), "db": (), "web": ("order", "product"), "lone": ()}


@st.composite
def acyclic(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Draw services without a cycle, in any order of the file."""
    names = [f"s{number}" for number in range(draw(st.integers(0, 8)))]
    needs = {
        name: tuple(draw(st.lists(st.sampled_from(names[:at]), unique=True))) if at else ()
        for at, name in enumerate(names)
    }
    return {name: needs[name] for name in draw(st.permutations(names))}


def below(needs: dict[str, tuple[str, ...]], name: str) -> set[str]:
    return {one for need in needs[name] for one in (need, *below(needs, need))}


def test_services_start_after_their_dependencies_and_else_in_the_order_of_the_file() -> None:
    assert dependency_graph.start_order(SHOP) == ("db", "product", "order", "web", "lone")
    assert dependency_graph.stop_order(SHOP) == ("lone", "web", "order", "product", "db")


@given(acyclic())
def test_orders_hold_for_any_graph(needs: dict[str, tuple[str, ...]]) -> None:
    order = dependency_graph.start_order(needs)
    assert sorted(order) == sorted(needs)
    for name in needs:
        assert all(order.index(need) < order.index(name) for need in needs[name])
        assert set(dependency_graph.dependents(needs, name)) == {one for one in needs if name in below(needs, one)}
        assert set(dependency_graph.with_dependencies(needs, [name])) == {name} | below(needs, name)


@pytest.mark.parametrize("cycle", [("a",), ("a", "b"), ("a", "b", "c")])
def test_an_error_shows_the_whole_cycle(cycle: tuple[str, ...]) -> None:
    needs = {name: (cycle[(at + 1) % len(cycle)],) for at, name in enumerate(cycle)}
    with pytest.raises(CycleError) as caught:
        dependency_graph.start_order({"z": ("a",), **needs})
    assert caught.value.path == (*cycle, cycle[0])
    assert " → ".join((*cycle, cycle[0])) in str(caught.value)


def test_an_unknown_dependency_is_an_error_with_its_key() -> None:
    with pytest.raises(UnknownDependency, match=r"services\.a\.depends_on: there is no service b"):
        dependency_graph.start_order({"a": ("b",)})


@given(acyclic(), st.lists(st.floats(0, 20), min_size=8, max_size=8))
def test_the_longest_stop_is_that_of_the_slowest_chain(needs: dict[str, tuple[str, ...]], times: list[float]) -> None:
    seconds = dict(zip(needs, times, strict=False))

    def longest(name: str) -> float:
        return seconds[name] + max(map(longest, needs[name]), default=0.0)

    total, path = dependency_graph.longest_stop(needs, seconds)
    assert total == pytest.approx(max(map(longest, needs), default=0.0))
    assert total == pytest.approx(sum(seconds[name] for name in path))


def service(name: str, **fields: object) -> ServiceSpec:
    return replace(ServiceSpec(name, Path("/"), ("run",)), **fields)


def test_a_diff_separates_changes_that_need_new_processes_from_those_that_do_not() -> None:
    old = {name: service(name) for name in ("same", "removed", "moved", "checked", "scaled")}
    new = {
        "same": service("same"),
        "moved": service("moved", port=80, tags=("x",)),
        "checked": service("checked", health=HealthSpec("tcp"), restart=RestartSpec("never")),
        "scaled": service("scaled", replicas=3),
        "added": service("added"),
    }
    found = service_diff.diff(old, new)
    assert (found.added, found.removed, found.replaced) == (("added",), ("removed",), ("moved",))
    assert set(found.adjusted) == {"checked", "scaled"}
    assert {name: set(keys) for name, keys in found.fields.items()} == {
        "moved": {"port", "tags"},
        "checked": {"health", "restart"},
        "scaled": {"replicas"},
    }
    assert service_diff.diff(old, old) == service_diff.Diff()
