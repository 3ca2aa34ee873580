"""Commands act on the project that runs in a directory, with the manifest that it runs, whatever other files lie there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.small import AUTO, READY, Small
from tests.eventually import eventually

OTHER = f'{AUTO}[services.x]\n{READY}env = {{ WHICH = "other" }}\n[services.only]\n{READY}'


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """A project of `other.toml`; a `supervisor.toml` with another environment lies beside it."""
    with Small(tmp_path_factory.mktemp("two"), f'[services.x]\n{READY}env = {{ WHICH = "default" }}\n') as found:
        (found.directory / "other.toml").write_text(OTHER)
        (found.directory / "sub").mkdir()
        found.up("other.toml", "--wait")
        yield found


@pytest.mark.parametrize("command", ["run", "exec"])
def test_a_command_gets_the_environment_of_the_manifest_that_runs(small: Small, command: str) -> None:
    assert small.run(command, "x", "--", "sh", "-c", "echo $WHICH") == "other\n"
    assert small.run(command, "only", "--", "echo", "here") == "here\n"


def test_a_project_is_found_from_a_directory_below_it(small: Small) -> None:
    directory = small.directory
    try:
        (directory / "supervisor.toml").rename(directory / "away")
        small.directory = directory / "sub"
        assert "only" in small.run("ps")
        assert small.run("exec", "x", "--", "sh", "-c", "echo $WHICH") == "other\n"
    finally:
        small.directory = directory
        (directory / "away").rename(directory / "supervisor.toml")


@pytest.mark.parametrize("command", ["ps", "status", "logs", "events", "graph", "describe only", "instances"])
def test_another_manifest_that_is_named_is_said_not_to_run(small: Small, command: str) -> None:
    text = small.run(*command.split(), "-m", "supervisor.toml")
    assert "minikube: supervisor.toml is not the manifest that runs here: using other.toml\n" in text


@pytest.mark.parametrize("command", ["run x -- true", "exec x -- true", "shell x", "apply"])
def test_nothing_is_executed_with_a_manifest_that_does_not_run(small: Small, command: str) -> None:
    name, *words = command.split()
    text = small.run(name, "-m", "supervisor.toml", *words, code=2)
    assert "supervisor.toml: is not the manifest that runs here" in text
    assert "other.toml" in text


def test_commands_that_read_the_manifest_read_the_one_that_runs(small: Small) -> None:
    assert "WHICH" in small.run("config")
    assert "other" in small.run("config")
    assert small.run("validate").startswith("other.toml: good")
    assert "supervisor.toml: good" in small.run("validate", "supervisor.toml")


def test_a_second_up_says_with_which_manifest_the_project_runs(small: Small) -> None:
    text = small.run("up", "-d", "supervisor.toml", code=1)
    assert f"supervisor.toml: is running already with other.toml (pid {small.status().pid})" in text


def test_a_manifest_that_was_renamed_or_deleted_still_runs(small: Small) -> None:
    other, renamed = small.directory / "other.toml", small.directory / "renamed.toml"
    pid = small.status().pid
    other.rename(renamed)
    try:
        assert "only" in small.run("ps")
        assert "using other.toml" in small.run("ps", "-m", "renamed.toml")
        assert "is running already (pid " in small.run("up", "-d", code=1)
        assert "other.toml" in small.run("exec", "x", "--", "true", code=2)
        small.run("restart", "only")
        renamed.unlink()
        assert "stopped" in small.run("down", "supervisor.toml")
        eventually(lambda: not Path(f"/proc/{pid}").exists(), what="the end")
    finally:
        other.write_text(OTHER)
