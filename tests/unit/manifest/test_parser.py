"""Every key of a manifest: what it becomes, its default, what is refused and how; and the schema agrees."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.manifest import Manifest, ServiceSpec
from minikube.manifest.diagnostics import ManifestReading
from minikube.manifest.load import build_manifest
from minikube.manifest.schema.document import schema_json
from minikube.manifest.tree.node import Source, make_tree
from minikube.manifest.tree.positions import Spot
from minikube.project_dir import ManifestFiles
from tests.unit.manifest.cases import BAD, CONTAINERS, GOOD, PARSER_ONLY, ROOT, manifest_with

SCHEMA = json.loads(schema_json())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def build(raw: dict[str, Any], environ: dict[str, str] | None = None) -> tuple[Manifest, list[str]]:
    """The manifest of `raw` and all problems in it."""
    tree = make_tree(raw, Spot(0, 0), Source("supervisor.toml"))
    reading = ManifestReading(tree, ROOT, environ or {})
    manifest = build_manifest(reading, ManifestFiles(ROOT / "supervisor.toml"))
    return manifest, [str(problem).removeprefix("supervisor.toml:1:1: ") for problem in reading.problems]


def ids(cases: list[Any]) -> list[str]:
    return [f"{case[0]}={case[1]!r}"[:60] for case in cases]


@pytest.mark.parametrize(("path", "value", "meaning"), GOOD, ids=ids(GOOD))
def test_a_good_value_is_read_and_the_schema_takes_it(path: str, value: Any, meaning: Any) -> None:
    raw = manifest_with(path, value)
    manifest, problems = build(raw)
    assert problems == []
    found: Any = manifest.services["x"] if path.startswith(".") else manifest
    for part in path.strip(".").split("."):
        found = getattr(found, "command" if part == "args" else part)
    assert found == meaning
    assert VALIDATOR.is_valid(raw)


@pytest.mark.parametrize(("path", "value", "message"), BAD, ids=ids(BAD))
def test_a_bad_value_is_refused_with_its_full_path(path: str, value: Any, message: str) -> None:
    raw = manifest_with(path, value)
    _, problems = build(raw)
    assert any(message in problem for problem in problems), problems
    if not any(message in finer or finer in message for finer in PARSER_ONLY):
        assert not VALIDATOR.is_valid(raw)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "shop\n"),
        ("services.web\n", {"command": "run"}),
        ("registry.listen", "127.0.0.1:1\n"),
        (".host", "127.0.0.1\n"),
        (".env", {"A\n": "1"}),
        (".health", {"http": "/health\n"}),
        (".umask", "022\n"),
        (".port", "80\n"),
    ],
)
def test_a_newline_at_the_end_is_no_part_of_a_good_value(path: str, value: Any) -> None:
    """To Python's `$` it is nothing; in a file name, an environment or a Redis key it is a great deal."""
    _, problems = build(manifest_with(path, value))
    (problem,) = problems
    assert "\n" not in problem


@pytest.mark.parametrize(("keys", "fields"), CONTAINERS)
def test_a_container_has_an_image_or_a_build(keys: dict[str, Any], fields: dict[str, Any]) -> None:
    raw = {"services": {"x": keys}}
    manifest, problems = build(raw)
    assert problems == []
    assert {name: getattr(manifest.services["x"], name) for name in fields} == fields
    assert VALIDATOR.is_valid(raw)


def test_the_defaults_are_these() -> None:
    manifest, problems = build({"services": {"x": {"command": ["run"], "health": {"tcp": True}, "port": "auto"}}})
    assert problems == []
    assert (manifest.name, manifest.registry.token, manifest.registry.tls) == ("project", "", None)
    assert (str(manifest.registry.listen), str(manifest.control.listen)) == ("127.0.0.1:5555", "127.0.0.1:5556")
    assert (manifest.redis.url, manifest.redis.prefix) == ("", "{minikube}")
    x = manifest.services["x"]
    assert (x.command, x.cwd, x.env, x.env_file, x.user) == (("run",), ROOT, {}, (), "")
    assert (x.group, x.umask, x.schedule) == ("", -1, "")
    assert not manifest.registry.chosen
    assert not manifest.control.chosen
    assert (x.replicas, x.profiles, x.tags, x.watch, x.meta) == (1, (), (), (), {})
    assert (x.register, x.port, x.auto_port, x.host, x.depends_on) == ("supervisor", 0, True, "127.0.0.1", {})
    assert x.health is not None
    assert (x.health.interval, x.health.timeout, x.health.failures, x.health.timeouts) == (5.0, 2.0, 1, 2)
    assert (x.health.successes, x.health.start_period, x.health.restart_after) == (1, 30.0, 0)
    assert (x.restart.policy, x.restart.delay, x.restart.max_delay, x.restart.limit) == ("always", 0.5, 30.0, 5)
    assert (x.stop.signal, x.stop.timeout, x.stop.command) == ("TERM", 10.0, ())
    assert (x.limits, x.logs.max_size, x.logs.keep, x.logs.format) == ({}, 10 * 1024 * 1024, 5, "plain")


def test_args_follow_the_command() -> None:
    manifest, _ = build({"services": {"x": {"command": "run it", "args": ["-v"]}}})
    assert manifest.services["x"].command == ("run", "it", "-v")


def test_numbers_words_and_switches_may_come_from_variables() -> None:
    raw = manifest_with(".port", "${P}")
    raw["services"]["x"] |= {
        "replicas": "${N:-1}",
        "register": "${R:-self}",
        "health": {"tcp": True, "failures": "${F}"},
    }
    raw["services"]["x"]["limits"] = {"cpus": "${C}"}
    raw["registry"] = {"listen": "127.0.0.1:${RP}"}
    manifest, problems = build(raw, {"P": "7070", "F": "3", "RP": "99", "C": "0.5"})
    assert problems == []
    x = manifest.services["x"]
    assert x.health is not None
    assert (x.port, x.replicas, x.register, x.health.failures, x.limits) == (7070, 1, "self", 3, {"cpus": 0.5})
    assert manifest.registry.listen.port == 99
    assert VALIDATOR.is_valid(raw)
    assert "replicas: expected an integer from 0 to 1000" in build(manifest_with(".replicas", "${X:-two}"))[1][0]
    assert "replicas: A is not set: no" in build(manifest_with(".replicas", "${A:?no}"))[1][0]


def test_a_variable_that_is_not_set_is_a_warning_with_its_place() -> None:
    manifest, problems = build(manifest_with(".env", {"A": "${NOPE}"}))
    assert problems == []
    assert manifest.warnings == (
        "supervisor.toml:1:1: services.x.env.A: NOPE is not set, empty is used — set it, or write ${NOPE:-default}",
    )


def test_all_problems_are_reported_together() -> None:
    raw = manifest_with(".port", 0)
    raw["nam"] = "x"
    raw["services"]["y"]["health"] = {"http": "h", "timeout": 2}
    raw["services"]["z"]["depends_on"] = ["w"]
    _, problems = build(raw)
    assert [problem.partition(":")[0] for problem in problems] == [
        "services.x.port",
        "services.y.health.http",
        "services.y.health.timeout",
        "nam",
        "services.z.depends_on.w",
    ]


def test_an_unknown_key_with_nothing_near_lists_the_known_ones() -> None:
    _, problems = build({"control": {"zzz": 1}})
    assert problems == ["control.zzz: unknown key, expected a key of [control] (known: listen)"]


def test_a_strangers_key_cannot_paint_the_terminal() -> None:
    _, problems = build({"services": {"x": {"command": "a", "\x1b[31m\u202e": 1}}})
    assert '"\\x1b[31m\\u202e": unknown key' in problems[0]


def test_secrets_do_not_show_in_errors() -> None:
    _, problems = build({"redis": {"url": "http://me:hunter2@h"}, "registry": {"token": ["hunter2"]}})
    assert len(problems) == 2
    assert "hunter2" not in "".join(problems)


def test_the_schema_is_one_and_an_empty_manifest_is_valid() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert VALIDATOR.is_valid({})
    assert build({})[1] == []
    assert SCHEMA["$schema"].startswith("http://json-schema.org/draft-07/")


def test_every_field_of_a_service_can_be_set_from_the_manifest() -> None:
    keys = set(SCHEMA["definitions"]["service"]["properties"])
    own = {"name", "file_env", "auto_port", "optional_dependencies", "port_range", "workdir"}
    assert set(ServiceSpec.__struct_fields__) == (keys | own) - {"args", "extends"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = sorted(SCHEMA["definitions"]["service"]["properties"])


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), json_values, max_size=4))
def test_no_value_whatever_crashes_the_parser_and_what_it_takes_the_schema_takes(keys: dict[str, Any]) -> None:
    raw = {"services": {"x": {"command": "run", **keys}}}
    _, problems = build(raw)
    if not problems:
        assert VALIDATOR.is_valid(raw)


def test_the_shipped_manifest_is_valid() -> None:
    import tomllib

    raw = tomllib.loads(Path("supervisor.toml").read_text())
    assert build(raw)[1] == []
    assert VALIDATOR.is_valid(raw)


def test_a_port_is_one_number_or_any_or_any_of_a_range() -> None:
    ports = {}
    for value in (7070, "7070", "auto", "7070-7079", "7070-7070"):
        manifest, problems = build(manifest_with(".port", value))
        assert not problems
        x = manifest.services["x"]
        ports[value] = (x.port, x.auto_port, x.port_range)
    assert ports == {
        7070: (7070, False, (0, 0)),
        "7070": (7070, False, (0, 0)),
        "auto": (0, True, (0, 0)),
        "7070-7079": (0, True, (7070, 7079)),
        "7070-7070": (7070, False, (0, 0)),
    }
