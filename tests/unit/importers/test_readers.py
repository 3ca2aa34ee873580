"""Readers of Procfiles, process-compose, supervisord and pm2: what any file becomes, and what each refuses in one line."""

import json
import os
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikube.errors import ManifestError, UsageError
from minikube.importers import import_source, write_manifest
from minikube.importers.names import service_names
from minikube.importers.shell_lines import from_shell, line_keys
from minikube.manifest import load_manifest
from minikube.manifest.keys.commands import find_shell_syntax
from minikube.model import NAME_PATTERN
from tests.unit.importers import keys_of_tools


def imported(file: str, text: str) -> dict[str, Any]:
    """Return the manifest that a file becomes, with its comments as the key ``."""
    with TemporaryDirectory() as directory:
        source = Path(directory) / file
        source.write_bytes(text.encode())
        written = write_manifest(import_source(source, Path(directory)))
    return tomllib.loads(written) | {"": " ".join(written.split()).replace(" # ", " ")}


def refused(file: str, text: str) -> str:
    with TemporaryDirectory() as directory:
        source = Path(directory) / file
        source.write_bytes(text.encode())
        with pytest.raises(UsageError) as raised:
            import_source(source, Path(directory))
    return str(raised.value).removeprefix(f"{directory}/")


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("bundle exec puma -p $PORT", {"command": "bundle exec puma -p ${PORT}"}),
        ("serve ${PORT:-3000}", {"command": "serve ${PORT:-3000}"}),
        ("serve $PORTAL", {"shell": "serve $PORTAL"}),
        ("serve '$PORT'", {"command": "serve '$PORT'"}),
        ("serve '${PORT}'", {"shell": "serve '$${PORT}'"}),
        ('serve "$DATABASE_URL"', {"shell": 'serve "$DATABASE_URL"'}),
        ("serve ${X:-y} $$", {"shell": "serve $${X:-y} $$$$"}),
        (r"serve \$X", {"command": r"serve \$X"}),
        ("exec serve -x", {"command": "serve -x"}),
        ("exec 2>&1 serve", {"shell": "exec 2>&1 serve"}),
        ("A=1 B='x y' serve", {"env": {"A": "1", "B": "x y"}, "command": "serve"}),
        ("A=$B serve", {"shell": "A=$B serve"}),
        ("A=1", {"shell": "A=1"}),
        ("cd web && npm start", {"cwd": "web", "command": "npm start"}),
        ("cd - && npm start", {"shell": "cd - && npm start"}),
        ("cd web && a && b", {"shell": "cd web && a && b"}),
        ("a; b", {"shell": "set +e; a; b"}),
        ("set -e; a; b", {"shell": "set -e; a; b"}),
        ("a & b", {"shell": "set +e; a & b"}),
        ("a\nb", {"shell": "set +e\na\nb"}),
        ("a 2>&1 | b", {"shell": "a 2>&1 | b"}),
        ("a \\\n  b", {"command": "a b"}),
        ("rm *.pid", {"shell": "rm *.pid"}),
        ("ls ~/x", {"shell": "ls ~/x"}),
        ("wait", {"shell": "wait"}),
        ("it's", {"shell": "it's"}),
        ("sh -c 'a; b'", {"command": "sh -c 'a; b'"}),
    ],
)
def test_a_line_for_a_shell_needs_one_only_where_it_has_its_syntax(line: str, keys: dict[str, Any]) -> None:
    assert line_keys(from_shell(line)) == keys


@pytest.mark.parametrize(
    "line", ["[[ -f x ]]", "echo {a,b}", "source env", "a |& b", "echo ${X^^}", "x=(1 2)", "cat <(a)"]
)
def test_bash_gets_what_only_bash_understands(line: str) -> None:
    assert line_keys(line, bash=True) == {"command": ["bash", "-c", line]}
    assert line_keys(f"echo '{line}'", bash=True).keys() & {"command", "shell"}


@given(
    line=st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1).filter(lambda line: line.strip())
)
def test_a_command_has_no_shell_syntax(line: str) -> None:
    keys = line_keys(from_shell(line))
    if isinstance(keys.get("command"), str):
        assert find_shell_syntax(keys["command"]) is None


@given(st.lists(st.text(max_size=70)))
def test_names_become_different_dns_labels_and_labels_stay(names: list[str]) -> None:
    import re

    labels = service_names(names)
    assert list(labels) == list(dict.fromkeys(names))
    assert len(set(labels.values())) == len(labels)
    for name, label in labels.items():
        assert re.fullmatch(NAME_PATTERN, label)
        assert label == name or not re.fullmatch(NAME_PATTERN, name)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("process-compose.yaml", "processes: {a-2: {command: x}, a: {command: y, replicas: 2}, a_2: {command: z}}"),
        (
            "supervisord.conf",
            "[program:a-2]\ncommand=x\n[program:a]\ncommand=y\nnumprocs=2\n[program:a_2]\ncommand=z\n",
        ),
        (
            "pm2.json",
            '[{"name": "a-2", "script": "x"}, {"name": "a", "script": "y", "instances": 2}, {"name": "a_2", "script": "z"}]',
        ),
    ],
)
def test_a_name_that_a_replica_has_becomes_another_one(file: str, text: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text)
    made = import_source(tmp_path / file, tmp_path)
    assert list(made.services) == ["a-2-alone", "a", "a-2-alone-2"]
    assert "the name a-2 is that of a replica" in [note.text for note in made.notes]
    (tmp_path / "supervisor.toml").write_text(write_manifest(made))
    assert list(load_manifest(tmp_path / "supervisor.toml").services) == list(made.services)


@pytest.mark.parametrize(
    ("line", "port"),
    [
        ("rails server -p 3000", 3000),
        ("gunicorn -b 0.0.0.0:8000 app", 8000),
        ("flask run --port=5001", 5001),
        ("python manage.py runserver 8001", 8001),
        ("php -S localhost:8080", 8080),
        ("PORT=4000 node server.js", 4000),
        ("docker run -p 8080:80 nginx", 8080),
        ("node server.js", "auto"),
        ("uv run python manage.py runserver", 8000),
        ("uv run python manage.py runserver $PORT", "auto"),
        ("bin/vite dev", 5173),
        ("serve --threads -P 10 --db postgres://localhost:5432/x", "auto"),
        ("postgres://db:5432/x --workers 30", "auto"),
    ],
)
def test_a_web_process_is_registered_with_the_port_of_its_line(line: str, port: int | str) -> None:
    assert imported("Procfile", f"web: {line}\n")["services"]["web"]["port"] == port


def test_a_worker_has_no_port_unless_its_line_names_one() -> None:
    made = imported("Procfile", "worker: sidekiq redis://localhost:6379\nredis: redis-server --port 6380\n")["services"]
    assert "port" not in made["worker"]
    assert made["redis"]["port"] == 6380


@pytest.mark.parametrize(
    ("content", "mode", "command"),
    [
        (b"#!/usr/bin/env node\nx", 0o644, ["node", "run"]),
        (b"#!/bin/sh\nx", 0o755, ["./run"]),
        (b"#!/usr/bin/env -S python3 -u\nx", 0o644, ["python3", "-u", "run"]),
        (b"#!/usr/bin/perl -w\nx", 0o644, ["/usr/bin/perl", "-w", "run"]),
        (b"require('x')", 0o644, ["node", "run"]),
        (b"\x7fELF\0", 0o755, ["./run"]),
    ],
)
def test_a_script_of_pm2_runs_with_what_its_content_says(
    content: bytes, mode: int, command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "run").write_bytes(content)
    (tmp_path / "run").chmod(mode)
    (tmp_path / "pm2.json").write_text('{"script": "run"}')
    assert import_source(tmp_path, tmp_path).services["run"]["command"] == command


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("Procfile", "", "Procfile: has no line of the form `name: command`"),
        ("Procfile", "# nothing\n", "Procfile: has no line of the form"),
        ("process-compose.yaml", "a: [1", "process-compose.yaml:1:"),
        ("process-compose.yaml", "version: 1\n", "process-compose.yaml:1:1: has no processes"),
        ("process-compose.yaml", "- a\n", "process-compose.yaml:1:1: expected a table with processes, got a list"),
        ("process-compose.yaml", "processes: {}\nextends: gone.yaml\n", "process-compose.yaml:2:1: extends: "),
        ("process-compose.yaml", "processes: {}\nextends: process-compose.yaml\n", "process-compose.yaml:2:1: extends"),
        (
            "process-compose.yaml",
            "processes:\n  a: {command: x, extends: a}\n",
            "process-compose.yaml:2:3: processes.a extends",
        ),
        ("process-compose.yaml", "processes:\n  a: {extends: b}\n", "process-compose.yaml:2:3: processes.a extends b"),
        ("supervisord.conf", "[program:x]\ncommand\n", "supervisord.conf:2:1: expected a [section], or an option"),
        ("supervisord.conf", "command=x\n", "supervisord.conf:1:1: expected a [section] before"),
        ("supervisord.conf", "", "supervisord.conf: has no [program:NAME] section"),
        (
            "supervisord.conf",
            "[supervisord]\n[include]\nfiles=x/*.conf\n",
            "supervisord.conf: has no [program:NAME] section",
        ),
        ("ecosystem.json", '{"apps": []}', "ecosystem.json:1:1: has no apps"),
        ("ecosystem.json", '{"apps": [\n{"script": "x"}\n', "ecosystem.json:3:"),
        ("ecosystem.json", "7", "ecosystem.json:1:1: has no apps"),
        ("ecosystem.config.js", "module.exports = {}", "ecosystem.config.js: is a program"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_with_its_line(file: str, text: str, message: str) -> None:
    found = refused(file, text)
    assert found.startswith(message)
    assert "\n" not in found


def test_a_pipe_beside_the_source_is_not_opened(tmp_path: Path) -> None:
    """Password managers put one in the place of `.env`: to open it would wait for ever."""
    os.mkfifo(tmp_path / ".env")
    (tmp_path / "Procfile").write_text("web: serve $PORT\n")
    assert import_source(tmp_path / "Procfile", tmp_path).services["web"]["port"] == "auto"
    os.mkfifo(tmp_path / "run")
    (tmp_path / "pm2.json").write_text('{"script": "run"}')
    assert import_source(tmp_path / "pm2.json", tmp_path).services["run"]["command"] == ["run"]
    os.mkfifo(tmp_path / "base.yaml")
    (tmp_path / "process-compose.yaml").write_text("extends: base.yaml\nprocesses: {a: {command: x}}\n")
    with pytest.raises(UsageError, match="is no regular file"):
        import_source(tmp_path / "process-compose.yaml", tmp_path)


def test_files_of_process_compose_merge_as_there(tmp_path: Path) -> None:
    """A later file wins, but for nothing, 0 and false; variables merge by name, other lists are joined."""
    (tmp_path / "process-compose.yaml").write_text(
        "processes:\n  a:\n    command: one\n    disabled: true\n    environment: [A=1, B=1]\n    entrypoint: [x]\n"
    )
    (tmp_path / "process-compose.override.yml").write_text(
        "processes:\n  a:\n    command: two\n    disabled: false\n    environment: [B=2]\n  b: {entrypoint: [y]}\n"
    )
    services = import_source(tmp_path, tmp_path).services
    assert services["a"]["command"] == "two"
    assert services["a"]["profiles"] == ["manual"]
    assert services["a"]["env"] == {"A": "1", "B": "2"}
    alone = import_source(tmp_path / "process-compose.yaml", tmp_path).services
    assert alone["a"]["command"] == "one"
    assert "b" not in alone


def test_port_and_host_of_the_environment_become_those_of_the_service() -> None:
    made = imported("process-compose.yaml", "processes: {a: {command: 'serve ${HOST}:${PORT}'}}")
    assert made["services"]["a"]["port"] == "auto"
    assert "PORT and HOST say where the instance listens" in made[""]


@pytest.mark.parametrize(
    ("ports", "port", "http"),
    [
        (["8080"], 8080, "/"),
        (["${A_PORT}"], "${A_PORT}", "/"),
        (["$A_PORT"], "${A_PORT}", "/"),
        (["${A_PORT:-80}"], "${A_PORT:-80}", "/"),
        (["8080", "8080"], None, "http://127.0.0.1:8080/"),
        (["${A_PORT}", "${A_PORT}"], None, "http://127.0.0.1:${A_PORT}/"),
        (["${PORT}"], "auto", "http://127.0.0.1:${PORT}/"),
        (["70000"], None, "http://127.0.0.1/"),
    ],
)
def test_the_port_of_a_check_is_the_service_s_where_one_process_names_it(
    ports: list[str], port: int | str | None, http: str
) -> None:
    processes = {
        f"p{index}": {"command": "x", "readiness_probe": {"http_get": {"host": "localhost", "port": named}}}
        for index, named in enumerate(ports)
    }
    service = imported("process-compose.yaml", json.dumps({"processes": processes}))["services"]["p0"]
    assert (service.get("port"), service["health"]["http"]) == (port, http)


def test_a_second_program_of_a_name_takes_no_service_away() -> None:
    text = "[program:web]\ncommand=a %(process_num)d\nnumprocs=2\nprocess_name=%(process_num)d\n[program:web-0]\ncommand=b\n"
    services = imported("supervisord.conf", text)["services"]
    assert sorted(str(service["command"]) for service in services.values()) == ["a 0", "a 1", "b"]


def test_many_numbered_processes_stay_one_service() -> None:
    text = "[program:web]\ncommand=a %(process_num)d\nnumprocs=60\nprocess_name=%(process_num)d\n"
    made = imported("supervisord.conf", text)
    assert made["services"]["web"]["replicas"] == 60
    assert made["services"]["web"]["command"] == "a ${REPLICA}"
    assert "counts from 1, not from 0" in made[""]


def test_paths_are_rewritten_for_a_manifest_elsewhere(tmp_path: Path) -> None:
    for place in ("source", "out"):
        (tmp_path / place).mkdir()
    (tmp_path / "source" / "Procfile").write_text("web: cd front && npm start\nworker: x\n")
    made = import_source(tmp_path / "source", tmp_path / "out")
    assert made.services["web"]["cwd"] == "../source/front"
    assert made.services["worker"]["cwd"] == "../source"
    assert made.env_file == ({"path": "../source/.env", "required": False},)


def loads_or_says_why(file: str, text: str) -> None:
    """Import a text; it makes a manifest that loads or has problems with their lines, or it is refused in one line."""
    with TemporaryDirectory() as directory:
        source = Path(directory) / file
        source.write_bytes(text.encode("utf-8", "replace"))
        try:
            made = import_source(source, Path(directory))
        except UsageError as error:
            said = str(error)
        else:
            said = ""
        if said:
            assert "\n" not in said
            assert said.startswith((f"{directory}/", file))
            return
        manifest = Path(directory) / "supervisor.toml"
        manifest.write_text(write_manifest(made))
        assert tomllib.loads(manifest.read_text()).get("services", {}).keys() == made.services.keys()
        try:
            load_manifest(manifest, {"X": "x", "PORT": "1"})
        except ManifestError as error:
            problems = str(error).splitlines()
        else:
            problems = []
        assert [line for line in problems if not any(word in line for word in MENDED_THERE)] == []


MENDED_THERE = (
    "expected no cycle",
    "expected a file that can be read",
    "expected port",
)
"""Problems that are in the source, too, and are better mended where `validate` names their line."""

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
WORDS = st.sampled_from(
    [
        "a",
        "b",
        "web",
        "1",
        "0",
        "-3",
        "true",
        "no",
        "always",
        "${PORT}",
        "$X",
        "{{.A}}",
        "x y",
        "echo $$HOME",
        "",
        "%(here)s",
    ]
)


@settings(max_examples=30, deadline=None)
@given(
    st.text(st.characters(codec="utf-8"), max_size=200)
    | st.lists(st.tuples(WORDS, TEXTS)).map(lambda lines: "\n".join(f"{name}: {line}" for name, line in lines))
)
def test_any_procfile_becomes_a_manifest_or_is_refused(text: str) -> None:
    loads_or_says_why("Procfile", text)


def tree(keys: tuple[str, ...]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(keys)
    scalars = WORDS | TEXTS | st.integers(-(10**6), 10**9) | st.booleans() | st.none() | st.floats(allow_nan=False)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5), max_leaves=12
    )


@pytest.mark.parametrize(
    ("file", "text", "keys"),
    [
        ("process-compose.yaml", "processes: {{a: {{command: x, {key}: 1}}}}", keys_of_tools.PROCESS_COMPOSE),
        (
            "process-compose.yaml",
            "processes: {{a: {{command: x, readiness_probe: {{exec: {{command: x}}, {key}: 1}}}}}}",
            keys_of_tools.PROCESS_COMPOSE_PROBE,
        ),
        ("pm2.yaml", "apps: [{{script: x, {key}: 1}}]", keys_of_tools.PM2),
        ("supervisord.conf", "[program:a]\ncommand=x\n{key}=1\n", keys_of_tools.SUPERVISORD),
    ],
)
def test_each_key_of_a_tool_is_known_and_a_mistyped_one_has_the_nearest(
    file: str, text: str, keys: tuple[str, ...], tmp_path: Path
) -> None:
    for key in keys:
        if f"{key}:" in text or f"{key}=" in text:
            continue
        for written, unknown in ((key, 0), (f"{key}z", 1)):
            (tmp_path / file).write_text(text.format(key=written))
            try:
                notes = import_source(tmp_path / file, None).notes
            except UsageError:  # `extends: 1`
                continue
            found = [note.text for note in notes if " no key of " in note.text or " no option of " in note.text]
            assert len(found) == unknown, (written, found)
            assert all("(did you mean " in note for note in found)


def _process_compose_keys() -> tuple[str, ...]:
    below = (
        "restart",
        "condition",
        "host",
        "port",
        "path",
        "signal",
        "timeout_seconds",
        "cron",
        "interval",
        "paths",
        "rotation",
    )
    return (*keys_of_tools.PROCESS_COMPOSE, *keys_of_tools.PROCESS_COMPOSE_PROBE, *below, "a", "b", "web")


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        WORDS, st.dictionaries(st.sampled_from(_process_compose_keys()), tree(_process_compose_keys()), max_size=8)
    ),
    st.data(),
)
def test_any_tree_of_process_compose_becomes_a_manifest_or_is_refused(
    processes: dict[str, Any], data: st.DataObject
) -> None:
    for process in processes.values():
        process.setdefault("command", data.draw(WORDS))
    top = data.draw(
        st.dictionaries(
            st.sampled_from(("environment", "vars", "name", "shell", "version", "extends")), tree(("a", "A"))
        )
    )
    loads_or_says_why("process-compose.yaml", json.dumps(top | {"processes": processes}))


def _pm2_keys() -> tuple[str, ...]:
    from minikube.importers.pm2.app import ALIASES

    return (*keys_of_tools.PM2, *ALIASES, "env_production", "PORT")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(_pm2_keys()), tree(_pm2_keys()), max_size=8)), st.data())
def test_any_tree_of_pm2_becomes_a_manifest_or_is_refused(apps: list[dict[str, Any]], data: st.DataObject) -> None:
    for app in apps:
        app.setdefault("script", data.draw(WORDS))
    loads_or_says_why("ecosystem.json", json.dumps({"apps": apps}))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["program:a", "program:b c", "group:g", "supervisord", "include", "eventlistener:e", "x"]),
            st.dictionaries(
                st.sampled_from((*keys_of_tools.SUPERVISORD, "programs", "files")),
                WORDS | TEXTS | st.integers(-9, 99).map(str),
            ),
        )
    )
)
def test_any_ini_becomes_a_manifest_or_is_refused(sections: list[tuple[str, dict[str, str]]]) -> None:
    lines = [
        line
        for name, options in sections
        for line in (f"[{name}]", *(f"{key}={value}" for key, value in options.items()))
    ]
    loads_or_says_why("supervisord.conf", "\n".join(lines))


@pytest.mark.parametrize("text", ["126", "0", "63K", "many"])
def test_a_limit_with_which_no_process_starts_is_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "pm2.json").write_text(f'{{"apps": [{{"script": "sleep", "max_memory_restart": "{text}"}}]}}')
    made = import_source(tmp_path, None)
    assert [note.text for note in made.notes if note.kind == "refused"] == [
        "expected a size such as 300M, of at least 64K"
    ]
    assert "limits" not in made.services["sleep"]
