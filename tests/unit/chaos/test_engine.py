"""The container engine of a chaos run."""

import io
import os
import sys
import tarfile
from pathlib import Path

import pytest

from tests.chaos import engine
from tests.chaos.project import CONTAINER_SERVICES, PROGRAM


def test_the_image_has_the_links_of_this_machines_root_and_no_files() -> None:
    with tarfile.open(fileobj=io.BytesIO(engine.image())) as tar:
        members = tar.getmembers()
    assert not [one.name for one in members if one.isfile()]
    links = {one.name: one.linkname for one in members if one.issym()}
    assert all(os.readlink(f"/{name}") == link for name, link in links.items())


def test_the_mounts_hold_the_interpreter_of_containers() -> None:
    assert engine.PYTHON.startswith(tuple(f"{path}/" for path in engine.mounted()))
    assert not Path(engine.PYTHON).is_symlink()


def test_a_service_of_a_container_gets_python_its_program_and_the_socket_of_births() -> None:
    for service in CONTAINER_SERVICES:
        text = service.toml(Path("/run-of-chaos/births"), 2)
        assert f'command = ["{engine.PYTHON}", "{PROGRAM}"' in text
        assert '"/run-of-chaos/births:/run-of-chaos/births"' in text
        assert sys.executable == engine.PYTHON or f'"{sys.executable}"' not in text


def test_an_engine_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in engine.PROGRAMS[1:]:
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine.missing() == f"{engine.PROGRAMS[0]} is not installed"
    (tmp_path / engine.PROGRAMS[0]).touch(0o755)
    assert engine.missing() == ""


async def test_an_engine_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("dockerd", "echo iptables is missing; exit 1"), ("docker", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(engine.EngineFailed, match="did not start: iptables is missing"):
        await engine.Engine(tmp_path / "engine").open()


def test_control_groups_of_a_run_are_removed_with_those_below_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory/run-1/container").mkdir(parents=True)
    (tmp_path / "memory/run-2").mkdir()
    mounts = tmp_path / "mounts"
    mounts.write_text(f"cgroup {tmp_path}/memory cgroup rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n")
    monkeypatch.setattr(engine, "MOUNTS", mounts)
    engine.remove_cgroups(Path("/somewhere/run-1"))
    assert [path.name for path in (tmp_path / "memory").iterdir()] == ["run-2"]
