"""`import`: writes a new manifest, never over a file, says what differs, and has one line for each kind of bad input."""

import os
from pathlib import Path

import pytest

from minikube.cli.app import run

COMPOSE = """\
services:
  web:
    image: example/web
    ports: ["8080:80"]
    env_file: web.env
    secrets: [key]
"""


def test_import_writes_beside_the_source_and_sums_up(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "web.env").touch()
    (project / "compose.yaml").write_text(COMPOSE)
    assert run(["import", "compose.yaml"]) == 0
    printed = capsys.readouterr()
    summary = "4 lines taken as they are, 1 with a comment, 1 left out"
    assert printed.out == f"supervisor.toml: 1 service; {summary}\n"
    assert printed.err == ""
    assert run(["validate"]) == 0
    text = (project / "supervisor.toml").read_text()
    capsys.readouterr()
    assert run(["import", "-o", "-"]) == 0  # the working directory's file
    printed = capsys.readouterr()
    assert printed.out == text
    assert printed.err == f"minikube: {summary}\n"


@pytest.mark.parametrize("there", ["file", "link", "directory"])
def test_import_writes_over_nothing(project: Path, there: str, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "compose.yaml").write_text("services: {web: {image: x}}")
    target = project / "mine.toml"
    if there == "file":
        target.write_text("mine")
    elif there == "link":
        target.symlink_to("away.toml")
    else:
        (project / "mine").mkdir()
        target = project / "mine" / "supervisor.toml"
        target.write_text("mine")
    given = "mine" if there == "directory" else "mine.toml"
    assert run(["import", "compose.yaml", "-o", given]) == 1
    expected = f"minikube: {target.relative_to(project)} exists already — nothing was written; move it away, or choose"
    assert capsys.readouterr().err.startswith(expected)
    assert not (project / "away.toml").exists()
    assert there == "link" or target.read_text() == "mine"


def test_a_manifest_that_cannot_start_yet_is_written_and_its_problems_are_shown_with_lines(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "compose.yaml").write_text(COMPOSE + "    environment: {KEY: '${KEY:?set it}'}\n")
    assert run(["import", "."]) == 1
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == 3
    assert "supervisor.toml:11:12: services.web.env_file: expected a file that can be read" in lines[0]
    assert "services.web.env.KEY: KEY is not set: set it" in lines[1]
    assert lines[2].startswith("minikube: supervisor.toml was written, but cannot be started yet — mend the above")
    assert "1 service; " in printed.out
    assert (project / "supervisor.toml").exists()


def test_a_manifest_in_another_directory_has_the_same_paths_name_and_a_word_on_env(project: Path) -> None:
    (project / "app" / "ops").mkdir(parents=True)
    (project / "app" / "web.env").touch()
    (project / "app" / ".env").write_text("A=1\n")
    (project / "app" / "compose.yaml").write_text(
        "services:\n  web:\n    build: src\n    env_file: web.env\n    volumes: [./data:/data, /var/x:/x, '${A:-/x}:/a', data:/n]\n"
    )
    assert run(["import", "app", "-o", "app/ops/"]) == 0
    text = (project / "app" / "ops" / "supervisor.toml").read_text()
    for line in (
        "# - compose.yaml, .env: variables are read from .env beside the manifest — copy it there",
        'name = "app"',
        'build = "../src"',
        'env_file = "../web.env"',
        '    "../data:/data",',
        '    "/var/x:/x",',
        "    # line 5: a relative path in the variable is one from the manifest's directory here",
    ):
        assert line in text.splitlines(), text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.yaml", None, "gone.yaml: no such file"),
        ("compose.yaml", b"services:\n  web: {image: \xff}\n", "compose.yaml:2:16: expected UTF-8, got the byte 0xff"),
        ("compose.yaml", b"\xff\xfes\0", "compose.yaml:1:1: expected UTF-8, got the byte 0xff — save it as UTF-8"),
        ("compose.yaml", b"services:\n  web: {image: [\n", "compose.yaml:3:1: not YAML: "),
        ("compose.yaml", b"services: [a]\n", "compose.yaml:1:1: services: expected a table, got a list"),
        ("compose.yaml", b"- a\n", "compose.yaml:1:1: expected a table with services, got a list"),
        ("compose.yaml", b"", "compose.yaml:1:1: has no services"),
        ("other.txt", b"\x00\x01", "other.txt: its format is not known — expected a Procfile, or a file of Compose"),
        ("supervisor.toml", b"[services.x]\n", "supervisor.toml: is TOML — expected a Procfile"),
        (
            "compose.yaml",
            b"services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n",
            "compose.yaml:2:3: depends_on goes in a circle: a → b → a",
        ),
        (
            "compose.yaml",
            b"services:\n  a: {extends: b}\n  b: {extends: a}\n",
            "compose.yaml:2:7: services.a.extends goes in a circle",
        ),
        (
            "compose.yaml",
            b"services:\n  a: {image: x, extends: {file: gone.yaml, service: b}}\n",
            "compose.yaml:2:17: extends: ",
        ),
        (
            "compose.yaml",
            (
                "services:\n  a0: {image: x}\n" + "".join(f"  a{n}: {{extends: a{n - 1}}}\n" for n in range(1, 60))
            ).encode(),
            "compose.yaml:3:8: services.a51.extends goes on over 50 services",
        ),
        (
            "ecosystem.config.js",
            b"module.exports = {}\n",
            """ecosystem.config.js: is a program, which import does not run — run `node -p 'JSON.stringify(require("./ecosystem""",
        ),
    ],
)
def test_bad_input_is_one_line_with_its_place_and_exit_code_2(
    project: Path, name: str, content: bytes | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (project / name).write_bytes(content)
    assert run(["import", name]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"minikube: {message}")
    assert error.count("\n") == 1
    assert name == "supervisor.toml" or not (project / "supervisor.toml").exists()


def test_an_error_names_the_file_as_the_user_sees_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "sub").mkdir()
    (project / "sub" / "compose.yaml").write_text("include: [../more.yaml]\nservices: {web: {image: x}}\n")
    (project / "more.yaml").write_text("services: {web: [}\n")
    assert run(["import", "sub", "-o", "-"]) == 0
    assert "# - line 1, include: ../more.yaml:1:18: not YAML:" in capsys.readouterr().out
    (project / "sub" / "compose.yaml").write_text("services: {web: [}\n")
    assert run(["import", "sub"]) == 2
    assert capsys.readouterr().err.startswith("minikube: sub/compose.yaml:1:18: not YAML:")
    assert run(["import", str(project / "sub")]) == 2
    assert capsys.readouterr().err.startswith(f"minikube: {project}/sub/compose.yaml:1:18: not YAML:")


def test_a_directory_needs_one_file_to_import(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import"]) == 2
    assert capsys.readouterr().err.startswith("minikube: .: has no file that can be imported — expected a Procfile")
    (project / "Procfile").write_text("web: ./serve\n")
    (project / "docker-compose.yml").write_text("services: {web: {image: x}}")
    assert run(["import", str(project)]) == 2
    error = capsys.readouterr().err
    assert error.endswith(": has files of several tools: docker-compose.yml, Procfile — name the one to import\n")
    (project / "Procfile").unlink()
    assert run(["import"]) == 0


def test_a_manifest_is_readable_for_no_more_users_than_its_sources(project: Path) -> None:
    (project / "compose.yaml").write_text("services: {web: {image: x, environment: {PASSWORD: a}}}")
    (project / "compose.override.yaml").write_text("services: {web: {image: y}}")
    (project / "compose.override.yaml").chmod(0o600)
    assert run(["import"]) == 0
    assert (project / "supervisor.toml").stat().st_mode & 0o777 == 0o600


def test_what_is_no_regular_file_is_refused_and_not_waited_for(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(project / "compose.yaml")
    assert run(["import", "compose.yaml"]) == 2
    expected = "minikube: compose.yaml: is no regular file — save it as one, and import that\n"
    assert capsys.readouterr().err == expected
    assert run(["import"]) == 2
    assert "has no file that can be imported" in capsys.readouterr().err


def test_a_file_with_any_name_is_told_by_its_content(project: Path) -> None:
    (project / "stack.txt").write_text("# mine\nservices:\n  web:\n    image: x\n")
    assert run(["import", "stack.txt"]) == 0


def test_a_missing_directory_for_the_output_is_an_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "compose.yaml").write_text("services: {web: {image: x}}")
    assert run(["import", "-o", "gone/x.toml"]) == 2
    assert capsys.readouterr().err == "minikube: gone: no such directory — create it first, or choose another with -o\n"


def test_a_manifest_that_cannot_be_written_whole_is_removed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "compose.yaml").write_text("services: {web: {image: x}}")
    monkeypatch.setattr("minikube.importers.write_manifest", lambda _: "a\udc80")
    monkeypatch.setenv("MINIKUBE_DEBUG", "1")
    with pytest.raises(UnicodeEncodeError):
        run(["import"])
    assert not (project / "supervisor.toml").exists()


def test_no_secret_of_the_source_is_in_a_message(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "compose.yaml").write_text(
        "services:\n  web:\n    image: x\n    environment: {PASSWORD: [hunter2], TOKEN: '${A:+hunter2}'}\n"
        '    command: "run \'hunter2"\n    ports: [hunter2]\n    restart: hunter2\n    mem_limit: hunter2\n'
    )
    run(["import", "-o", "-"])
    printed = capsys.readouterr()
    assert "hunter2" not in printed.err
    assert "hunter2" not in printed.out
