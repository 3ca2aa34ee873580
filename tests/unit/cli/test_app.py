"""The command line while nothing runs: help, errors of one line, exit codes, commands about the manifest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from minikube.cli.app import COMMANDS, cli, run
from minikube.errors import MinikubeError
from tests.untraced import untraced

SERVICE = '[services.x]\ncommand = "run"\n'


def test_every_command_in_the_help_exists_and_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: minikube {name}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_by_a_sentence(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for option in command.params:
        if isinstance(option, click.Option):
            text = option.help or ""
            assert text[:1].isupper(), option.name
            assert text.partition("  [default: ")[0].endswith((".", "ttl:")), option.name


def test_a_command_runs_with_garbage_collection_although_modules_are_imported_without() -> None:
    program = "import gc, sys; from minikube import cli; sys.argv[1:] = ['version']; cli.main()"
    check = "import atexit, gc; atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 0)); "
    done = subprocess.run([sys.executable, "-c", check + program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["True True"]


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    words = "up down ps logs start stop restart kill get events dashboard validate registry init version completion"
    for name in words.split():
        assert f"\n  {name} " in out


def test_help_imports_no_heavy_module() -> None:
    code = (
        "import sys; from minikube.cli.app import run; run(['--help']);"
        "heavy = {'trio', 'msgspec', 'textual', 'redis', 'psutil', 'minikube.model'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pss"], "minikube: no command 'pss' — did you mean ps?\n"),
        (["zzz"], "minikube: no command 'zzz' — `minikube --help` lists all commands\n"),
        (["kill"], "minikube: missing argument 'NAMES...' — see `minikube kill --help`\n"),
        (
            ["kill", "-s", "TREM", "x"],
            "minikube: --signal: expected a signal such as TERM",
        ),
        (["kill", "-s", "NOPE", "x"], "minikube: --signal: expected a signal such as TERM, INT or QUIT, got 'NOPE'\n"),
        (["completion"], "minikube: missing argument '{bash|zsh|fish}'"),
        (["down", "product"], "minikube: product: no such file — expected a manifest or its directory"),
        (["ps", "product.toml"], "minikube: product.toml: no such file — expected a manifest or its directory"),
        (["apply", "nope.toml"], "minikube: nope.toml: no such file — expected a manifest or its directory"),
        (["register", "x", "y"], "minikube: HOST:PORT: expected an address such as 127.0.0.1:8080, got 'y'\n"),
        (["register", "x", "127.0.0.1:80", "--meta", "foo"], "minikube: --meta: expected KEY=VALUE, got 'foo'\n"),
        (["ps", "--nope"], "minikube: no such option '--nope'"),
        (["scale", "x"], "minikube: expected NAME=N, such as product=3, got 'x'\n"),
        (["scale", "x=-1"], "minikube: expected NAME=N"),
        (["scale", "x=100000"], "minikube: x=100000: expected 0 to 1000 replicas\n"),
        (["logs", "--tail", "x"], "minikube: invalid value for --tail: expected a number of lines up to"),
        (["logs", "--tail", "100001"], "minikube: invalid value for --tail: expected a number of lines up to"),
        (["wait", "--timeout", "x"], "minikube: invalid value for --timeout: expected a duration"),
        (["up", "--timeout", "x"], "minikube: invalid value for --timeout: expected a duration"),
        (["completion", "csh"], "minikube: invalid value for '{bash|zsh|fish}'"),
        (["get", "x", "--registry", "here"], "minikube: --registry: expected host:port"),
        (["registry", "--listen", "here"], "minikube: --listen: expected host:port"),
        (["registry", "--listen", "0.0.0.0:1"], "minikube: --listen: 0.0.0.0:1 is beyond loopback"),
        (["registry", "--redis", "http://h"], "minikube: --redis: expected redis://"),
        (["registry", "--tls-cert", "c"], "minikube: --tls-cert and --tls-key go together"),
        (["registry", "--tls-cert", "c", "--tls-key", "k"], "minikube: c: no such file"),
        (["dashboard"], "minikube: the dashboard needs a terminal"),
        (["validate", "nope.toml"], "minikube: nope.toml: no such file — `minikube init` writes a first one\n"),
        (["up", "nope.toml"], "minikube: nope.toml: no such file"),
    ],
)
def test_wrong_usage_is_an_error_of_one_line_with_exit_code_2(
    arguments: list[str], message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_without_a_command_the_help_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Usage: minikube ")
    assert "\nminikube:" not in error


@pytest.mark.parametrize(
    "command",
    ["ps", "logs", "events", "down", "start x", "stop x", "restart x", "kill x", "describe x", "wait"],
)
def test_exit_code_3_where_nothing_is_running(command: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = "minikube: supervisor.toml: nothing is running"
    assert run(command.split()) == 3
    assert capsys.readouterr().err == (
        f"{message}, and there is no such file — go to a project's directory, or name its manifest\n"
    )
    (project / "supervisor.toml").touch()
    assert run(command.split()) == 3
    assert capsys.readouterr().err == f"{message} — start it with `minikube up supervisor.toml`\n"


def test_exit_code_3_where_no_registry_listens(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["get", "x", "--registry", "127.0.0.1:1"]) == 3
    assert capsys.readouterr().err.startswith("minikube: 127.0.0.1:1: no registry there")
    (project / "supervisor.toml").write_text('[registry]\nlisten = "auto"\n' + SERVICE)
    assert run(["get", "x"]) == 3
    assert capsys.readouterr().err.startswith("minikube: supervisor.toml: nothing is running — start it with")


def test_the_manifest_is_found_in_the_directories_above(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "supervisor.toml").write_text(SERVICE)
    (project / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(project / "deep" / "er")
    assert run(["validate"]) == 0
    assert str(project / "supervisor.toml") in capsys.readouterr().out
    assert run(["validate", str(project)]) == 0
    assert run(["validate", "-m", "../../supervisor.toml"]) == 0


def test_version_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    from minikube import __version__

    assert run(["version"]) == 0
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"minikube {__version__}\n" * 2
    assert run(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == __version__
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["services"]


def test_completion_offers_commands_and_the_manifests_services(project: Path) -> None:
    (project / "supervisor.toml").write_text('[services.product]\ncommand = "run"\n')

    def complete(words: str) -> str:
        env = {**os.environ, "_MINIKUBE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "2"}
        env["COMP_CWORD"] = str(len(words.split(" ")) - 1)
        return subprocess.run(
            [sys.executable, "-m", "minikube"], env=env, capture_output=True, text=True, check=False
        ).stdout

    assert complete("minikube val") == "plain,validate\n"
    assert complete("minikube logs pr") == "plain,product\n"
    assert complete("minikube logs -m nope.toml pr").strip() == ""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MinikubeError("first\nsecond \x1b"), 1, "minikube: first\nminikube: second \\x1b\n"),
        (MinikubeError(), 1, "minikube: MinikubeError\n"),
        (KeyboardInterrupt(), 130, ""),
        (PermissionError(13, "Permission denied", "/x"), 1, "minikube: /x: permission denied\n"),
        (
            RuntimeError("odd"),
            1,
            "minikube: internal error: RuntimeError: odd — MINIKUBE_DEBUG=1 shows the traceback\n",
        ),
    ],
)
def test_every_error_is_lines_on_stderr_and_an_exit_code(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "main", fail)
    assert run([]) == code
    assert capsys.readouterr().err == message


def test_a_closed_pipe_is_no_error() -> None:
    """`minikube schema | head -1` prints nothing on stderr, and ends as a program that SIGPIPE ends does in a shell."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "minikube", "schema"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_during_imports_exits_with_130_and_prints_nothing() -> None:
    program = """
import sys
class Interrupted:
    def find_spec(self, name, *_):
        if name in ("click", "typing"):
            raise KeyboardInterrupt
import minikube.cli
sys.meta_path.insert(0, Interrupted())
minikube.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.parametrize("url", ["redis://[::1:6379/0", "redis://h/abc", "redis+sentinel://[::1:1,[::1]:2/main"])
@pytest.mark.parametrize("command", ["validate", "up -d", "config", "run x -- true", "registry", "registry --redis"])
def test_a_malformed_redis_url_is_refused_in_one_line(
    command: str, url: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "supervisor.toml").write_text('[services.x]\ncommand = "run"\n')
    words = command.split()
    if words[-1] == "--redis":
        words.append(url)
    else:
        monkeypatch.setenv("REDIS_URL" if words == ["registry"] else "MINIKUBE_REDIS_URL", url)
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("minikube: ")
    assert err.count("\n") == 1
    assert "expected " in err


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("s.yaml", "s.yaml: a manifest is TOML, not YAML — `minikube import s.yaml` writes one from it"),
        (
            "sub/compose.yml",
            "sub/compose.yml: a manifest is TOML, not YAML — `minikube import sub/compose.yml` writes one from it",
        ),
        ("Procfile", "Procfile: a manifest is TOML, not a Procfile — `minikube import Procfile` writes one from it"),
        ("none.yaml", "none.yaml: no such file"),
    ],
)
def test_a_file_of_another_tool_in_place_of_a_manifest_is_told_so(
    word: str, message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "sub").mkdir()
    for name in ("s.yaml", "sub/compose.yml", "Procfile"):
        (project / name).write_text("services:\n  web: x\n")
    assert run(["up", word]) == 2
    assert capsys.readouterr().err.startswith(f"minikube: {message}")


REMOVED = "minikube: the working directory was removed — change to another one\n"


@pytest.mark.parametrize(
    "arguments", [["validate"], ["ps"], ["up", "-d"], ["down"], ["init"], ["export", "compose"], ["doctor"]]
)
def test_a_working_directory_that_was_removed_is_a_usage_error_of_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "removed"
    place.mkdir()
    monkeypatch.chdir(place)
    place.rmdir()
    assert run(arguments) == 2
    assert capsys.readouterr().err == REMOVED


def test_an_absolute_path_needs_no_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "supervisor.toml").write_text(SERVICE)
    place = tmp_path / "removed"
    place.mkdir()
    monkeypatch.chdir(place)
    place.rmdir()
    assert run(["validate", "-m", str(tmp_path)]) == 0
    assert run(["ps", "-m", str(tmp_path)]) == 3
    assert "removed" not in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that may not enter a directory")
@pytest.mark.parametrize("command", ["validate", "ps"])
def test_a_working_directory_that_may_not_be_entered_is_a_usage_error_of_one_line(command: str, tmp_path: Path) -> None:
    """A manifest above it is not used in its place."""
    code = (
        "import os, sys; from minikube.cli.app import run;"
        "import minikube.cli.commands.ps, minikube.cli.manifest_commands.validate, minikube.manifest;"
        "import minikube.control.client.blocking;"
        "os.chdir(sys.argv[1]); os.setresuid(65534, 65534, 65534); sys.exit(run([sys.argv[2]]))"
    )
    place = tmp_path / "closed"
    place.mkdir(mode=0o700)
    (tmp_path / "supervisor.toml").write_text(SERVICE)
    done = subprocess.run(
        # This user may write no coverage into a checkout of root's.
        [sys.executable, "-c", code, str(place), command],
        env=untraced(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"minikube: {place}: permission denied — change to a directory that you may enter\n"
