"""`minikube config`: the printed manifest means the same as the file, and holds no secret."""

import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from minikube.durations import LONGEST_S, parse_duration
from minikube.manifest.dump import dump_manifest, exact_duration
from tests.unit.manifest.cases import CONTAINERS, GOOD, manifest_with
from tests.unit.manifest.test_parser import build, ids

OPEN = [case for case in GOOD if case[0] not in ("registry.token",) and "pw@" not in str(case[1])]


@pytest.mark.parametrize("defaults", [False, True])
@pytest.mark.parametrize(("path", "value", "_"), OPEN, ids=ids(OPEN))
def test_what_is_printed_is_the_manifest_again(path: str, value: Any, _: Any, defaults: bool) -> None:
    manifest, _problems = build(manifest_with(path, value))
    text = tomli_w.dumps(dump_manifest(manifest, defaults=defaults))
    again, problems = build(tomllib.loads(text))
    assert problems == []
    assert again.services == manifest.services
    assert again.redis == manifest.redis
    assert again.registry.listen == manifest.registry.listen


@pytest.mark.parametrize(("keys", "_"), CONTAINERS)
def test_containers_are_printed_too(keys: dict[str, Any], _: Any) -> None:
    manifest, _problems = build({"services": {"x": keys}})
    again, problems = build(tomllib.loads(tomli_w.dumps(dump_manifest(manifest))))
    assert problems == []
    assert again.services == manifest.services


def test_variables_are_filled_in_but_for_those_of_an_instance() -> None:
    raw = manifest_with(".env", {"A": "${A}", "B": "http://h:${PORT}/$$${A}", "C": "$$HOME"})
    manifest, _ = build(raw, {"A": "a$b"})
    assert dump_manifest(manifest)["services"]["x"]["env"] == {
        "A": "a$$b",
        "B": "http://h:${PORT}/$$a$$b",
        "C": "$$HOME",
    }
    again, problems = build(dump_manifest(manifest))
    assert problems == []
    assert again.services["x"].env == manifest.services["x"].env


def test_no_secret_is_printed() -> None:
    raw = manifest_with(".env", {"API_KEY": "hunter2", "DB": "postgres://me:hunter2@h/db", "EMPTY_TOKEN": ""})
    raw["registry"] = {"token": "hunter2"}
    raw["redis"] = {"url": "redis://me:hunter2@h/0"}
    raw["services"]["x"] |= {
        "image": "i",
        "command": ["run", "redis://:hunter2@h", "--password", "hunter3"],
        "engine_args": ["--log-opt", "fluentd-address=tcp://me:hunter6@h"],
        "health": {"command": ["ask", "--token=hunter4"]},
        "stop": {"shell": "quit -u me:hunter2 --password hunter5"},
    }
    manifest, problems = build(raw)
    assert problems == []
    text = str(dump_manifest(manifest, defaults=True))
    assert "hunter" not in text
    assert text.count("***") == 10


@given(st.floats(0, LONGEST_S / 2).map(lambda seconds: round(seconds, 3)))
def test_a_duration_is_read_back_as_it_was(seconds: float) -> None:
    assert parse_duration(exact_duration(seconds)) == pytest.approx(seconds, abs=1e-9)
