"""Which Redis server runs: the bundled one before those on the PATH, and before both the one that wrote the data."""

import os
from pathlib import Path

import pytest

from minikube.errors import StartError
from minikube.supervisor.backing import redis_program
from minikube.supervisor.backing.redis_program import (
    Writer,
    bundled_redis,
    find_redis,
    parse_version,
    read_writer,
    record_writer,
)


def program(directory: Path, name: str) -> str:
    """Make a program and return its path."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_the_bundled_server_comes_before_one_on_the_path(tmp_path: Path) -> None:
    program(tmp_path, "redis-server")
    found = find_redis({"PATH": str(tmp_path)})
    assert found == bundled_redis()
    assert os.access(found, os.X_OK)


def test_without_a_bundled_server_the_path_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_program, "bundled_redis", lambda: "")
    with pytest.raises(StartError, match="redis: no valkey-server or redis-server here"):
        find_redis({"PATH": str(tmp_path)})
    redis = program(tmp_path, "redis-server")
    assert find_redis({"PATH": str(tmp_path)}) == redis
    valkey = program(tmp_path, "valkey-server")
    assert find_redis({"PATH": str(tmp_path)}) == valkey


def test_the_environment_the_manifest_and_the_writer_of_the_data_come_first_in_this_order(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    writer = program(tmp_path / "a", "redis-server")
    wanted = program(tmp_path / "b", "keydb-server")
    record_writer(tmp_path, Writer(writer, "redis 7.0.15"))
    path = {"PATH": str(tmp_path / "b")}
    assert find_redis(path, "", tmp_path / "redis") == writer
    assert find_redis(path, "keydb-server", tmp_path / "redis") == wanted
    assert find_redis({**path, "MINIKUBE_REDIS_SERVER": "/x/server"}, wanted, tmp_path / "redis") == "/x/server"
    os.remove(writer)
    assert find_redis(path, "", tmp_path / "redis") == bundled_redis(), "a program that is gone cannot run"


@pytest.mark.parametrize(
    ("env", "wanted", "source"),
    [({"MINIKUBE_REDIS_SERVER": "nope-server"}, "", "MINIKUBE_REDIS_SERVER"), ({}, "nope-server", "redis.server")],
)
def test_a_name_that_is_not_on_the_path_is_refused(env: dict[str, str], wanted: str, source: str) -> None:
    with pytest.raises(StartError, match=f"redis: {source} is nope-server, which is not on the PATH"):
        find_redis({"PATH": "/nowhere", **env}, wanted)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"program": "x"}', "x"])
def test_a_damaged_note_of_the_writer_is_no_writer(tmp_path: Path, text: str) -> None:
    (tmp_path / "written-by.json").write_text(text)
    assert read_writer(tmp_path) is None


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ("# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n", "valkey 9.1.2"),
        ("$99\r\n# Server\r\nredis_version:7.0.15\r\n", "redis 7.0.15"),
        ("-NOPERM this user has no permissions\r\n", ""),
    ],
)
def test_the_version_is_the_servers_own_word(info: str, version: str) -> None:
    assert parse_version(info) == version
