"""A project at home: PATH, interpreter, Redis and dollars are the user's, in services, checks, stop commands, `run`, `exec`."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.small import Small
from tests.eventually import eventually

APPLICATIONS_REDIS = "redis://127.0.0.1:1/7"

SERVICES = """
[services.web]
command = "python 'echo $HOME; exec sleep 1000' ${REPLICA} ${PORT}"
port = "auto"
replicas = 2
health.shell = 'echo "$MINIKUBE_REDIS_URL $REDIS_URL $PORT" > check-$REPLICA; test -s check-${REPLICA}'
stop.command = "python 'echo stopped $1 $HOME >> stopped' ${REPLICA}"

[services.lines]
env_file = "notes.env"
shell = '''
cd sub
count=$(ls | wc -l)
echo "$count ${count} file" | tr a-z A-Z && ${MINIKUBE_PYTHON} -c "import minikube; print('sdk')"
echo $NOTE
exec sleep 1000
'''
stop.shell = "echo lines-$$ | cut -d- -f1 >> stopped"

[services.task]
command = "echo a && echo b | cat"
restart = "never"
"""


class AtHome(Small):
    """A small project that remembers what `up` has said."""

    said = ""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtHome]:
    """A running project whose PATH begins with a `python` of the user's: a shell that runs its first argument."""
    directory = tmp_path_factory.mktemp("project")
    python = directory / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nscript=$1; shift; exec sh -c "echo my python; $script" python "$@"\n')
    python.chmod(0o755)
    (directory / "sub").mkdir()
    (directory / "sub" / "one").touch()
    (directory / "notes.env").write_text("NOTE=every value of such a file is a secret\n")
    (directory / ".env").write_text(f"\ufeffREDIS_URL={APPLICATIONS_REDIS}\nPORT=3000\nHOST=0.0.0.0\nif true; then\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{python.parent}{os.pathsep}{os.environ['PATH']}")
        with AtHome(directory, SERVICES) as small:
            small.said = small.up("--wait")
            yield small


def test_a_line_for_a_shell_in_dotenv_and_shell_syntax_in_a_command_are_warnings(small: AtHome) -> None:
    text = small.said
    assert f"{small.directory / '.env'}:4:1: is neither NAME=value nor a name, and is ignored" in text
    assert "services.task.command: `&&` is not understood" in text
    assert "set services.task.shell in its place" in text
    assert eventually(lambda: small.lines("task")) == ["a && echo b | cat"]


def test_the_python_of_a_service_is_the_first_of_the_users_path(small: AtHome) -> None:
    """Also for `run` and `exec`; single dollars stay, although another word has an instance's variable."""
    home = os.environ["HOME"]
    assert eventually(lambda: len(found := small.lines("web-2")) > 1 and found) == ["my python", home]
    for words in (("run", "web"), ("exec", "web-2")):
        text = small.run(*words, "--", "python", "echo $PATH; echo $1", "x")
        assert text.startswith("my python\n")
        assert text.splitlines()[1].split(os.pathsep)[-1] == str(Path(sys.executable).parent)


def test_the_redis_of_the_application_is_not_the_projects(small: AtHome) -> None:
    own, applications, port = (small.directory / "check-2").read_text().split()
    assert own.startswith("unix://")
    assert applications == APPLICATIONS_REDIS
    row = small.instance("web-2")
    assert row is not None
    assert row.address == f"127.0.0.1:{port}"
    assert small.run("run", "lines", "--", "sh", "-c", "echo $REDIS_URL") == f"{APPLICATIONS_REDIS}\n"


def test_the_lines_of_shell_have_pipes_and_variables_and_our_interpreter_the_sdk(small: AtHome) -> None:
    lines = eventually(lambda: len(found := small.lines("lines")) > 2 and found)
    assert lines == ["1 1 FILE", "sdk", "***"]


def test_stop_commands_and_shells_run_before_the_signal(small: AtHome) -> None:
    """The last test of this file: it stops the services."""
    small.run("stop", "web", "lines")
    home = os.environ["HOME"]
    stopped = (small.directory / "stopped").read_text().splitlines()
    assert {*stopped} == {f"stopped 1 {home}", f"stopped 2 {home}", "lines"}
