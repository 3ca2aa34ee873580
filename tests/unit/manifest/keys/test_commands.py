"""`command` as a string, whose shell syntax is a warning, and `shell`, whose lines a shell runs."""

import subprocess
from typing import Any

import pytest
import tomli_w

from minikube.manifest import fill_instance_variables
from minikube.manifest.dump import dump_manifest, dump_service
from minikube.manifest.keys.commands import find_shell_syntax
from minikube.project.service_diff import diff
from tests.unit.manifest.cases import manifest_with
from tests.unit.manifest.test_parser import build


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("echo a && echo b | cat", "&&"),
        ("a | b", "|"),
        ("a || b", "||"),
        ("a; b", ";"),
        ("a >log 2>&1", ">"),
        ("a <in", "<"),
        ("a >>log", ">>"),
        ("a &", "&"),
        ("a & b", "&"),
        ("migrate\nserve", "\n"),
        ("\n  run --x\n  --y\n", "\n"),
        ("echo $(date)", "$("),
        ('echo "$(date)"', "$("),
        ("echo `date`", "`"),
        ("echo $HOME", "$HOME"),
        ("cd x", "cd"),
        ("cd x && y", "cd"),
        ("A=1 run", "A=1"),
        ("exec run", "exec"),
        ("source .env", "source"),
        ("  export A=1", "export"),
        ("case x in esac", "case"),
        ("wait", "wait"),
        ("run 'a' ; b", ";"),
        ('run "a \'b" | c', "|"),
        # Not shell syntax:
        ("run", None),
        ("", None),
        ("run 'a && b' \"c | d ; $HOME\"", None),
        (r"run a\;b \| \$HOME", None),
        ("sh -c 'echo $HOME | cat; exec sleep 50' ${PORT}", None),
        ('/bin/bash -c "echo $(date)"', None),
        ("curl http://h/?a=1&b=2", None),
        ("run ${PORT} ${A:-b} $$HOME $5 --x=1 A=1", None),
        ("\n  run --x  \n", None),
        ("cdrecord", None),
        ("it's'", None),
    ],
)
def test_shell_syntax_is_found_where_only_a_shell_would_understand_it(command: str, found: str | None) -> None:
    assert find_shell_syntax(command) == found


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (".command", "cd x && y", "services.x.shell"),
        (".health", {"command": "a | b"}, "services.x.health.shell"),
        (".stop", {"command": "a; b"}, "services.x.stop.shell"),
    ],
)
def test_shell_syntax_in_a_string_is_a_warning_that_names_the_key_to_set(path: str, value: Any, key: str) -> None:
    manifest, problems = build(manifest_with(path, value))
    assert problems == []
    (warning,) = manifest.warnings
    assert f"no shell runs a command — set {key} in its place, or quote what is meant as it is written" in warning


def test_a_value_with_shell_syntax_and_a_list_are_no_warnings() -> None:
    for value in ("run ${FLAGS}", ["run", "a && b", "$(x)"]):
        assert build(manifest_with(".command", value), {"FLAGS": "--x=';'"})[0].warnings == ()


@pytest.mark.parametrize("extra", [{}, {"image": "i", "runtime": "container"}])
def test_the_lines_of_shell_are_run_by_a_shell(extra: dict[str, str]) -> None:
    lines = "x=two\necho one $x ${x} ${A} $${A} | tr a-z A-Z && echo ${PORT}"
    manifest, problems = build({"services": {"x": {"shell": lines, **extra}}}, {"A": "apple"})
    assert problems == []
    assert manifest.warnings == ()
    argv = [fill_instance_variables(word, {"PORT": "7070"}) for word in manifest.services["x"].argv]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"A": "own"})
    assert done.stdout == "ONE TWO TWO APPLE OWN\n7070\n"


def test_a_line_of_shell_that_fails_ends_the_script() -> None:
    manifest, _ = build({"services": {"x": {"shell": "false\necho never"}}})
    done = subprocess.run(manifest.services["x"].argv, capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"shell": "a", "command": "b"}, "services.x: expected either command or shell, got both"),
        ({"shell": "a", "args": ["b"]}, "services.x.args: expected no args beside shell — write them into its lines"),
        (
            {"shell": "a", "image": "b", "entrypoint": ["c"]},
            "services.x.entrypoint: expected no entrypoint beside shell, whose lines `/bin/sh -ec` runs",
        ),
        ({"shell": "a", "tcp": 1}, "services.x.tcp: unknown key"),
        ({"shel": "a"}, "services.x.shel: unknown key, expected a key of [services.x] (did you mean shell?)"),
    ],
)
def test_what_cannot_stand_beside_shell(keys: dict[str, Any], problem: str) -> None:
    _, problems = build({"services": {"x": keys}})
    assert len(problems) == 1
    assert problems[0].startswith(problem)


@pytest.mark.parametrize("defaults", [False, True])
def test_shell_is_printed_as_it_is_written(defaults: bool) -> None:
    keys = {"shell": "a $HOME ${PORT} ${A} $$", "health": {"shell": "b | c"}, "stop": {"shell": "d"}, "port": 1}
    manifest, _ = build({"services": {"x": keys}}, {"A": "apple$"})
    printed = dump_service(manifest.services["x"], defaults=defaults)
    assert printed["shell"] == "a $$HOME ${PORT} apple$$ $$"
    assert "command" not in printed
    assert (printed["health"]["shell"], "command" in printed["health"]) == ("b | c", False)
    again, problems = build(dump_manifest(manifest, defaults=defaults))
    assert (again.services, problems) == (manifest.services, [])
    assert tomli_w.dumps(printed)


def test_an_edited_shell_needs_a_new_process_and_an_edited_check_does_not() -> None:
    def services(shell: str, check: str) -> Any:
        return build({"services": {"x": {"shell": shell, "health": {"shell": check}}}})[0].services

    assert diff(services("a", "b"), services("c", "b")).replaced == ("x",)
    assert diff(services("a", "b"), services("a", "c")).adjusted == ("x",)
