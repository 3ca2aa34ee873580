"""What an edited manifest means: which services are restarted, which keep running, what is refused, and the reply."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w

from minikube.control.client.messages import KeyChange
from minikube.errors import UsageError
from minikube.manifest import Manifest, load_manifest
from minikube.supervisor.reconcile.apply.diff import ApplyPlan, plan
from tests.unit.manifest.test_parser import build


def manifest(services: dict[str, Any], environ: dict[str, str] | None = None, **rest: Any) -> Manifest:
    found, problems = build({"services": services, **rest}, environ)
    assert problems == []
    return found


def changed(old: dict[str, Any], new: dict[str, Any]) -> ApplyPlan:
    return plan(manifest(old), manifest(new))


RUN = {"command": "run"}
SHOP: dict[str, dict[str, Any]] = {
    "db": {**RUN, "port": 1000},
    "migrate": {**RUN, "restart": "never", "depends_on": ["db"]},
    "api": {**RUN, "port": 1001, "depends_on": {"db": "healthy", "migrate": "completed"}},
    "web": {**RUN, "depends_on": ["api"]},
}


def edited(**services: dict[str, Any] | None) -> dict[str, Any]:
    whole: dict[str, Any] = {
        name: {**SHOP.get(name, {}), **keys} for name, keys in services.items() if keys is not None
    }
    return {name: keys for name, keys in {**SHOP, **whole}.items() if services.get(name, keys) is not None}


def test_an_unchanged_manifest_needs_nothing() -> None:
    found = changed(SHOP, SHOP)
    assert found == ApplyPlan(reply=found.reply)
    assert found.reply.changes == ()
    assert found.reply.unchanged == ("db", "migrate", "api", "web")


def test_a_changed_service_is_replaced_and_dependents_that_need_it_healthy_keep_running() -> None:
    found = changed(SHOP, edited(db={"env": {"A": "1"}}))
    assert (found.replaced, found.follows, found.adjusted) == (("db",), (), ())
    assert found.reply.changes[0].keys == (KeyChange("env.A", "", "1"),)


def test_dependents_that_need_it_completed_follow_and_their_dependents_keep_running() -> None:
    found = changed(SHOP, edited(migrate={"command": "run -v"}))
    assert (found.replaced, found.follows) == (("migrate",), ("api",))
    assert [(one.service, one.change) for one in found.reply.changes] == [("migrate", "replaced"), ("api", "follows")]
    assert found.reply.unchanged == ("db", "web")


def test_dependents_that_need_its_end_follow_unless_it_does_not_run_again() -> None:
    old = edited(api={"depends_on": {"migrate": {"condition": "exited", "required": False}}})
    new = {**old, "migrate": {**old["migrate"], "env": {"A": "1"}}}
    assert changed(old, new).follows == ("api",)
    assert plan(manifest(old), manifest(new), {"migrate"}).follows == ()


@pytest.mark.parametrize(
    "keys",
    [
        {"restart": "on-failure"},
        {"stop": {"timeout": "1s"}},
        {"logs": {"keep": 1}},
        {"health": {"tcp": True, "interval": "1s"}},
        {"tags": ["a"]},
        {"watch": ["src"]},
        {"profiles": ["a"]},
        {"depends_on": ["db"]},
        {"depends_on": {"db": {"condition": "healthy", "required": False}, "migrate": "completed"}},
        {"groups": ["backend"]},
        {"on_exit": "stop-all"},
    ],
)
def test_keys_that_a_running_process_can_follow_adjust_it(keys: dict[str, Any]) -> None:
    found = changed(SHOP, edited(api=keys))
    assert (found.replaced, found.adjusted) == ((), ("api",))
    assert {change.key.partition(".")[0] for change in found.reply.changes[0].keys} >= set(keys)


@pytest.mark.parametrize(
    "keys", [{"port": 2000}, {"cwd": "/"}, {"user": "nobody"}, {"umask": "077"}, {"args": ["-v"]}, {"ports": {"a": 1}}]
)
def test_keys_that_a_running_process_cannot_follow_replace_it(keys: dict[str, Any]) -> None:
    assert changed(SHOP, edited(api=keys)).replaced == ("api",)


def test_a_service_whose_named_port_another_gets_is_stopped_before_anything_starts() -> None:
    """A UDP port does not make room for a TCP port with its number."""
    old = {"a": {**RUN, "ports": {"debug": 9230, "dns": {"port": 53, "protocol": "udp"}}}, "b": RUN}
    moved = {"a": RUN, "b": {**RUN, "port": 9230}}
    assert changed(old, moved).vacate == {"a"}
    other = {"a": {**RUN, "ports": {"debug": 9231}}, "b": {**RUN, "port": 53}}
    assert changed(old, other).vacate == frozenset()


@pytest.mark.parametrize(
    ("before", "after", "replaced"),
    [
        ({"env": {"A": "1"}}, {}, ("db", "api", "web")),
        ({"env": {"A": "1"}}, {"env": {"A": "2"}}, ("db", "api", "web")),
        ({"env": {"OWN": "1"}}, {"env": {"OWN": "2"}}, ("db", "api")),  # web has its own
        ({"env_file": "a.env"}, {"env_file": "same.env"}, ()),
        ({"env_file": "a.env"}, {"env": {"F": "1$"}}, ()),
        ({"env_file": "a.env"}, {"env_file": "other.env"}, ("db", "api", "web")),
        ({"env_file": "a.env"}, {"env_file": ["a.env", {"path": "none.env", "required": False}]}, ()),
    ],
)
def test_shared_variables_replace_the_services_whose_environment_changes(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], replaced: tuple[str, ...]
) -> None:
    for name, text in {"a": "F=1$", "same": "# the same\nF=1$", "other": "F=2"}.items():
        (tmp_path / f"{name}.env").write_text(text)
    services = {"db": RUN, "api": RUN, "web": {**RUN, "env": {"OWN": "x"}}}

    def shared(keys: dict[str, Any]) -> Manifest:
        path = tmp_path / "supervisor.toml"
        path.write_text(tomli_w.dumps({**keys, "services": services}))
        return load_manifest(path, {})

    found = plan(shared(before), shared(after))
    assert found.replaced == replaced
    assert set(found.adjusted).isdisjoint(replaced)


def test_a_new_schedule_replaces_the_service_and_a_changed_one_adjusts_it() -> None:
    one, two, none = ({**RUN, "schedule": "@daily"}, {**RUN, "schedule": "@hourly"}, {**RUN, "restart": "never"})
    assert changed({"x": one}, {"x": two}).adjusted == ("x",)
    assert changed({"x": one}, {"x": none}).replaced == ("x",)
    assert changed({"x": none}, {"x": one}).replaced == ("x",)


def test_replicas_are_scaled_without_touching_the_ones_that_stay() -> None:
    old = {"x": {**RUN, "port": "auto", "replicas": 2}}
    found = changed(old, {"x": {**old["x"], "replicas": 4}})
    assert (found.adjusted, found.scaled, found.replaced) == (("x",), {"x": 4}, ())
    assert found.reply.changes[0].change == "scaled"
    assert found.reply.changes[0].keys == (KeyChange("replicas", "2", "4"),)
    both = changed(old, {"x": {**old["x"], "replicas": 1, "args": ["-v"]}})
    assert (both.replaced, both.scaled) == (("x",), {"x": 1})


def test_services_are_added_in_start_order_and_removed_in_stop_order() -> None:
    found = changed({}, SHOP)
    assert found.added == ("db", "migrate", "api", "web")
    assert changed(SHOP, {}).removed == ("web", "api", "migrate", "db")
    assert [one.change for one in changed(SHOP, {}).reply.changes] == ["removed"] * 4


def test_a_port_that_another_service_takes_is_vacated_first() -> None:
    swapped = edited(db={"port": 1001}, api={"port": 1000})
    assert changed(SHOP, swapped).vacate == {"db", "api"}
    assert changed(SHOP, edited(db={"port": 2000}, new={**RUN, "port": 1000})).vacate == {"db"}
    assert changed(SHOP, edited(db={"env": {"A": "1"}})).vacate == frozenset()


@pytest.mark.parametrize(
    ("new", "warning"),
    [
        (
            {"web": {"command": "run", "port": 80}},
            "worker finds web by name only after `minikube restart worker`",
        ),
        (
            {"api": {"image": "a"}},
            "web and worker find api by name only after `minikube restart web worker`",
        ),
        ({"new": RUN}, "web and worker find new by name only after `minikube restart web worker`"),
        ({"new": {"image": "n"}}, ""),
        ({"api": {"command": "other"}}, ""),
        ({"web": {"command": "run"}, "worker": {"image": "other"}}, ""),
    ],
)
def test_containers_that_run_on_and_know_another_place_of_a_service_are_named(
    new: dict[str, Any], warning: str
) -> None:
    """A container gets the names of processes when it is created."""
    old: dict[str, Any] = {"web": {"image": "w"}, "worker": {"image": "w"}, "api": RUN}
    reason = ", as a container keeps the names that it was created with"
    assert changed(old, {**old, **new}).reply.warnings == ((warning + reason,) if warning else ())


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ({"name": "other"}, "supervisor.toml: name cannot change while it runs"),
        ({"registry": {"listen": "127.0.0.1:1"}}, "registry.listen cannot change"),
        (
            {"control": {"listen": "auto"}, "redis": {"url": "redis://h", "prefix": "x"}},
            "control.listen, redis.url and redis.prefix cannot change while it runs — `minikube down` and `minikube up`",
        ),
    ],
)
def test_settings_that_the_project_shares_cannot_change(rest: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(manifest(SHOP), manifest(edited(db={"env": {"A": "1"}}), **rest))


def test_writing_out_a_default_changes_nothing() -> None:
    assert plan(manifest(SHOP), manifest(SHOP, registry={"listen": "127.0.0.1:5555"})).reply.changes == ()


def test_secrets_are_shown_without_their_values() -> None:
    old = manifest({"x": {**RUN, "env": {"API_KEY": "${K}", "URL": "http://me:${K}@h"}}}, {"K": "hunter2"})
    new = manifest({"x": {**RUN, "env": {"API_KEY": "${K}", "URL": "http://me:${K}@h"}}}, {"K": "hunter3"})
    found = plan(old, new)
    assert found.replaced == ("x",)
    assert {key.key for key in found.reply.changes[0].keys} == {"env.API_KEY", "env.URL"}
    assert "hunter" not in str(found.reply)


def test_a_long_value_that_differs_at_its_end_is_a_change() -> None:
    found = changed({"x": {**RUN, "env": {"A": "a" * 100}}}, {"x": {**RUN, "env": {"A": "a" * 99 + "b"}}})
    assert found.reply.changes[0].keys[0].key == "env.A"
    assert len(found.reply.changes[0].keys[0].after) == 60
