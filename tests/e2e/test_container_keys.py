"""What the keys of a container do in a real one, with Docker and with Podman: command and image, volumes, hosts, stdin, `.env`."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.engine import Base, docker
from tests.e2e.podman import IMAGE, Podman
from tests.e2e.small import Small
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(300)

CHANGES = ('ENTRYPOINT ["/bin/echo", "entry"]', 'CMD ["/bin/echo", "cmd"]', "VOLUME /image-volume")


class EngineUnderTest(NamedTuple):
    """An engine with an image that has an ENTRYPOINT, a CMD and a VOLUME."""

    kind: str
    image: str
    run: Callable[..., str]

    def names(self, *words: str) -> set[str]:
        return set(self.run(*words).split())


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest, base: Base) -> Iterator[EngineUnderTest]:
    changes = [word for change in CHANGES for word in ("--change", change)]
    if request.param == "docker":
        image = base.name.replace(":base", ":entry")
        docker("import", *changes, str(base.archive), image)
        yield EngineUnderTest("docker", image, docker)
        docker("image", "rm", "--force", image)
        return
    podman: Podman = request.getfixturevalue("podman")

    def run(*words: str) -> str:
        done = podman.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    run("import", *changes, str(base.archive), f"{IMAGE}:entry")
    yield EngineUnderTest("podman", f"{IMAGE}:entry", run)


TASK = 'image = "IMAGE"\nrestart = "never"\n'
ALONE = f'{TASK}network = "host"\n'
"""For tests of something else: a network takes the engine some tenths of a second."""

SERVICES = f"""
[containers]
engine = "ENGINE"

[services.own]
{ALONE}
[services.command]
{ALONE}command = "x '$HOME  y' ${{SERVICE_NAME}}"

[services.entrypoint]
{ALONE}entrypoint = ["/bin/echo", "two words", "$HOME"]
args = ["end"]

[services.cleared]
{ALONE}entrypoint = []

[services.bare]
{ALONE}entrypoint = []
command = ["/bin/echo", "bare"]

[services.shell]
{ALONE}shell = '''
set -- $(echo a | tr a b) && echo "$1 ${{SERVICE_NAME}} ${{UNSET-none}} $$HOME"
false
echo unreached
'''

[services.syntax]
{ALONE}entrypoint = "/bin/echo"
command = "a && b | c"

[services.stdin]
image = "IMAGE"
network = "host"
shell = "echo reading; cat; echo closed"
health = {{ command = "sh -c 'test $1 = stdin$HOME' sh ${{SERVICE_NAME}}/root" }}
stop = {{ command = "sh -c 'echo stopped $HOME $1 > /stopped/file' sh ${{SERVICE_NAME}}" }}
volumes = ["./stopped:/stopped"]

[services.mounts]
{ALONE}shell = '''
cat /settings
echo written > /data/file
test -d /image-volume
mountpoint -q /anonymous
mountpoint -q /anonymous-z
! touch /read-only/x 2>/dev/null
echo kept > /named/file
echo mounted
'''
volumes = [
  "./some, \\"odd\\" data/deep:/data:cached",
  "./settings:/settings:ro",
  "./shared:/shared:z",
  "/anonymous",
  "/anonymous-z:z",
  "named:/named:Z",
  "./settings.d:/read-only:ro,delegated",
]

[services.typo]
{ALONE}volumes = ["./setings:/settings:ro"]

[services.hosts]
{TASK}shell = '''
for name in db six me; do grep -w $name /etc/hosts; done
hostname
cat /proc/self/limits | grep open
'''
extra_hosts = {{ db = "10.1.2.3", six = "fd00::7", me = "host-gateway" }}
engine_args = ["--hostname", "named-here", "--label", "team=web"]
limits = {{ nofile = 333, nproc = 4000 }}
user = "1234"

[services.variables]
{TASK}shell = '''
echo $PORT $HOST $MINIKUBE_REDIS_URL
test "$REDIS_URL $LEVEL" = "redis://app/0 high"
echo "$PATH"
id -u
'''
port = "auto"
container_port = 8123
env_file = ".env"
user = "4321"
"""


SYSLOG = "failed to connect to syslog"
"""Podman's name server says so on machines without one, in the output of the container with which it starts."""


def lines(project: Small, name: str) -> list[str]:
    return [line for line in project.run("logs", name, "--no-prefix").splitlines() if not line.startswith(SYSLOG)]


def test_every_key_of_a_container_does_what_it_says(tmp_path: Path, engine: EngineUnderTest) -> None:
    (tmp_path / "settings").write_text("set\n")
    (tmp_path / "settings.d").mkdir()
    (tmp_path / ".env").write_text("PORT=1\nHOST=2\nREDIS_URL=redis://app/0\nLEVEL=high\n")
    text = SERVICES.replace("IMAGE", engine.image).replace("ENGINE", engine.kind)
    with Small(tmp_path, text) as project:
        problems = project.run("validate")
        assert "services.syntax.command: `&&` is not understood" in problems
        project.run("up", "-d")
        ended = {"exited", "fatal"}
        eventually(
            lambda: {name for name, state in project.states().items() if state not in ended} == {"stdin"},
            within=120,  # an engine makes one container after the other
            what="all tasks have ended",
        )
        printed = {name: lines(project, name) for name in project.states()}
        assert printed["own"] == ["entry /bin/echo cmd"]
        assert printed["command"] == ["entry x $HOME  y command"]
        assert printed["entrypoint"] == ["two words $HOME end"]
        assert printed["cleared"] == ["cmd"]
        assert printed["bare"] == ["bare"]
        assert printed["shell"] == ["b shell none /root"]
        assert "1" in project.until("shell", "exited").reason
        assert printed["syntax"] == ["a && b | c"]
        assert printed["mounts"] == ["set", "mounted"]
        assert (tmp_path / 'some, "odd" data' / "deep" / "file").read_text() == "written\n"
        assert f"volumes: {tmp_path}/setings does not exist" in project.until("typo", "fatal").reason
        hosts = [" ".join(line.split()) for line in printed["hosts"]]
        assert hosts[:2] == ["10.1.2.3 db", "fd00::7 six"]
        assert re.fullmatch(r"[0-9.]+ me", hosts[2])
        assert hosts[3:] == ["named-here", "Max open files 333 333 files"]
        ours, path, user = printed["variables"]
        assert ours.startswith("8123 0.0.0.0 unix:///run/minikube/redis/")
        assert sys.prefix not in path, "the programs are the image's"
        assert user == "4321"
        assert project.until("stdin", "running").check == "passing"
        assert printed["stdin"] == ["reading"]
        project.run("down")
        assert (tmp_path / "stopped" / "file").read_text() == "stopped /root stdin\n"
    mine = ("--filter", "label=mini-kube-discovery.mark")
    assert engine.names("ps", "--all", "--quiet", *mine) == set()
    volumes = engine.names("volume", "ls", "--quiet")
    assert [name for name in volumes if not name.endswith("-named")] == []
    engine.run("volume", "rm", *volumes)


def test_a_killed_supervisor_leaves_no_volume_and_a_running_one_shows_no_secret(
    tmp_path: Path, engine: EngineUnderTest
) -> None:
    """Neither the anonymous volumes of `volumes` nor those of the image's VOLUME outlive it; a named one stays.

    What the engine's command is told is seen by every user of the machine, as long as that command runs.
    """
    before = engine.names("volume", "ls", "--quiet")
    (tmp_path / "secret.env").write_text("FILED=hunter2-filed\n")
    text = f"""
[containers]
engine = "{engine.kind}"
[services.x]
image = "{engine.image}"
network = "host"
env_file = "secret.env"
env = {{ API_TOKEN = "hunter2-named" }}
shell = "echo $API_TOKEN $FILED; exec sleep 1000"
replicas = 2
volumes = ["/anonymous", "kept:/kept"]
"""
    with Small(tmp_path, text) as project:
        project.run("up", "-d", "--wait")
        assert "hunter2" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        assert lines(project, "x-1") == ["*** ***"], "the container has them, the log masks them"
        held = engine.names("volume", "ls", "--quiet") - before
        (kept,) = (name for name in held if name.endswith("-kept"))
        assert len(held) == 5, "two of each replica, and the named one"
        record = json.loads((tmp_path / ".minikube" / "supervisor.json").read_text())
        os.kill(record["pid"], signal.SIGKILL)
        eventually(lambda: engine.names("volume", "ls", "--quiet") - before == {kept}, what="no anonymous volume")
    engine.run("volume", "rm", kept)
