"""Completion in real shells: names that run, those of the manifest where nothing runs, and never an error message."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from minikube.model import InstanceView, ProcessState
from tests.integration.control.control_server import TOKEN, ControlServer, open_control

HERE = Path(sys.executable).parent

BASH = """
source <(minikube completion bash)
complete -p minikube >/dev/null || exit 9
COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}
$(complete -p minikube | grep -o "_minikube_[a-z]*") minikube
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
autoload -Uz compinit && compinit -u -D
eval "$(minikube completion zsh)"
compadd() {{ print -rl -- $completions }}
_describe() {{ print -rl -- ${{completions_with_descriptions%%:*}} }}
words=({words}); CURRENT=$#words
_minikube_completion
"""
FISH = """
minikube completion fish | source
complete -C "{line}"
"""


def tab(shell: str, line: str, directory: Path) -> list[str]:
    """Return what a shell offers after `line`; its standard error has to be empty."""
    words = " ".join(f"'{word}'" for word in line.split(" "))
    script = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell].format(words=words, line=line)
    options = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *options, "-c", script],
        cwd=directory,
        env={"PATH": f"{HERE}:{os.environ['PATH']}", "HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [text.partition("\t")[0] for text in done.stdout.splitlines() if text]


async def wait_offered(shell: str, line: str, directory: Path, expected: list[str]) -> None:
    """Wait until the shell offers just that; once in a while the supervisor, here in this process, is too slow for it."""
    with trio.fail_after(120):
        while (offered := await trio.to_thread.run_sync(tab, shell, line, directory)) != expected:
            assert set(offered) <= {"product"}, "nothing but names of the manifest"


@asynccontextmanager
async def running(project: Path) -> AsyncIterator[ControlServer]:
    """A supervisor of the project, as far as the command line can see."""
    state = project / ".minikube"
    state.mkdir(mode=0o700)
    (state / "token").touch(0o600)
    (state / "token").write_text(TOKEN)
    async with open_control() as server:
        where = f"{server.endpoint.host}:{server.endpoint.port}"
        (state / "supervisor.json").write_text(json.dumps({"pid": os.getpid(), "control": where}))
        yield server


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_names_of_running_instances_are_offered(shell: str, project: Path, need: Callable[[str], str]) -> None:
    need(shell)
    (project / "supervisor.toml").write_text('[services.product]\ncommand = "run"\n')
    async with running(project) as server:
        server.store.put_instances(InstanceView("cccccccc", "product", "product-2", ProcessState.RUNNING))
        await wait_offered(shell, "minikube logs p", project, ["product", "product-2"])


@pytest.mark.parametrize(
    ("shell", "line", "offered"),
    [
        ("bash", "minikube up --group b", "backend"),
        ("bash", "minikube restart @b", "backend"),
        ("bash", "minikube logs @tag:s", "setup"),
        ("zsh", "minikube logs @tag:s", "@tag:setup"),
        ("fish", "minikube logs @tag:s", "@tag:setup"),
    ],
)
def test_groups_and_tags_are_offered_where_several_services_can_stand(
    shell: str, line: str, offered: str, project: Path, need: Callable[[str], str]
) -> None:
    """bash replaces only what follows the last of the characters at which it splits words."""
    need(shell)
    (project / "supervisor.toml").write_text('[services.x]\ngroups = ["backend"]\ntags = ["setup"]\n')
    assert tab(shell, line, project) == [offered]


def test_groups_that_are_no_list_take_no_other_completions_away(project: Path) -> None:
    (project / "supervisor.toml").write_text('[services.x]\ngroups = 5\ntags = ["setup", 7]\n')
    assert tab("bash", "minikube up ", project) == ["x", "@tag:setup"]


async def test_ids_are_offered_where_an_id_is_wanted(project: Path) -> None:
    async with running(project):
        await wait_offered("bash", "minikube deregister bb", project, ["bbbbbbbb"])


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("minikube val", "validate"),
        ("minikube restart p", "product"),
        ("minikube wait --for he", "healthy"),
        ("minikube kill -s HU", "HUP"),
        ("minikube schema inst", "instances"),
    ],
)
def test_commands_choices_and_the_manifests_names_are_offered_where_nothing_runs(
    line: str, offered: str, project: Path
) -> None:
    (project / "supervisor.toml").write_text('[services.product]\nnot = "valid"\n[services.order]\n')
    assert tab("bash", line, project) == [offered]


MANIFESTS = {
    "no manifest": "",
    "a broken manifest": "[services.product",
    "a manifest that is none": '\udcff\x00 = "',
}


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_after_an_error_nothing_is_offered_and_nothing_printed(manifest: str, project: Path) -> None:
    if text := MANIFESTS[manifest]:
        (project / "supervisor.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert tab("bash", "minikube logs p", project) == []


async def test_a_supervisor_that_does_not_answer_does_not_block_the_prompt(project: Path) -> None:
    (project / "supervisor.toml").write_text('[services.product]\ncommand = "run"\n')
    (project / ".minikube").mkdir(mode=0o700)
    (project / ".minikube" / "token").touch(0o600)
    (project / ".minikube" / "token").write_text(TOKEN)
    (silent,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with silent:
        where = f"127.0.0.1:{silent.socket.getsockname()[1]}"
        (project / ".minikube" / "supervisor.json").write_text(json.dumps({"pid": os.getpid(), "control": where}))
        with trio.fail_after(30):
            assert await trio.to_thread.run_sync(tab, "bash", "minikube logs p", project) == ["product"]


def test_completion_imports_no_heavy_module(project: Path) -> None:
    (project / "supervisor.toml").write_text('[services.product]\ncommand = "run"\n')
    code = (
        "import sys; import minikube.cli.commands.start_stop;"
        "from minikube.cli.completion import read_tables; print(read_tables(()));"
        "heavy = {'trio', 'msgspec', 'http.client', 'ssl', 'email', 'minikube.model', 'minikube.manifest'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{'services': [{'name': 'product'}]}\n[]\n"


async def test_a_name_with_terminal_escapes_is_not_offered(project: Path) -> None:
    async with running(project) as server:
        server.store.put_instances(InstanceView("dddddddd", "product", "pr\x1b[31m", ProcessState.RUNNING))
        await wait_offered("bash", "minikube logs p", project, ["product"])


@pytest.mark.parametrize("order", ["foreign first", "ours first"])
def test_in_fish_ours_take_the_place_of_those_of_kubernetes(
    order: str, project: Path, need: Callable[[str], str]
) -> None:
    fish = need("fish")
    foreign = project / ".config" / "fish" / "completions" / "minikube.fish"
    foreign.parent.mkdir(parents=True)
    foreign.write_text('complete -c minikube -f -a "tunnel addons"\n')
    load = 'complete -C "minikube " >/dev/null; ' if order == "foreign first" else ""
    done = subprocess.run(
        [fish, "-c", f'{load}minikube completion fish | source; complete -C "minikube "'],
        cwd=project,
        env={"PATH": f"{HERE}:{os.environ['PATH']}", "HOME": str(project)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    offered = {line.partition("\t")[0] for line in done.stdout.splitlines()}
    assert "up" in offered
    assert not offered & {"tunnel", "addons"}
