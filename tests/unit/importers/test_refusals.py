"""A source that cannot be imported is refused in one line with file, line and column, in plain words and visible characters."""

import tomllib
from pathlib import Path

import pytest

from minikube.errors import UsageError
from minikube.importers import import_source, write_manifest
from minikube.text import INVISIBLE


def refused(directory: Path, file: str, text: str | bytes) -> str:
    (directory / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as raised:
        import_source(directory / file, None)
    return str(raised.value).removeprefix(f"{directory}/")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("Procfile", b"web: caf\xe9\n", "Procfile:1:9: expected UTF-8, got the byte 0xe9"),
        ("Procfile", "a: x\nb: é".encode() + b"\xff\n", "Procfile:2:5: expected UTF-8, got the byte 0xff"),
        ("compose.yaml", b"services:\n  caf\xe9: {image: x}\n", "compose.yaml:2:6: expected UTF-8"),
        ("supervisord.conf", "[program:x]\n command\n", "supervisord.conf:2:2: expected a [section], or an option"),
        ("supervisord.conf", "[program:x]\n\n=1\n", "supervisord.conf:3:1: expected a [section], or an option"),
        ("supervisord.conf", "  a=1\n", "supervisord.conf:1:3: expected a [section] before the first option"),
        ("compose.yaml", "services: [a, b]\n", "compose.yaml:1:1: services: expected a table, got a list"),
        ("compose.yaml", "x-a: 1\nservices: a\n", "compose.yaml:2:1: services: expected a table, got a string"),
        ("compose.yaml", "services:\n", "compose.yaml:1:1: services: has no service"),
        ("compose.yaml", "foo: bar\n", "compose.yaml:1:1: has no services — "),
        ("compose.yaml", "# x\n\nname: a\n", "compose.yaml:3:1: has no services — "),
        ("compose.yaml", "- a\n", "compose.yaml:1:1: expected a table with services, got a list"),
        ("compose.yaml", "services:\n  a: 1\n", "compose.yaml:2:3: services.a: expected a table, got a number"),
        ("compose.yaml", "services:\n  a:\n    init: true\n", "compose.yaml:2:3: services.a: has neither"),
        (
            "compose.yaml",
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n",
            "compose.yaml:2:3: depends_on goes in a circle: a → b → a",
        ),
        (
            "compose.yaml",
            "services:\n  a:\n    image: x\n    extends: b\n",
            "compose.yaml:4:5: services.a.extends: there is no service b",
        ),
        ("process-compose.yaml", "version: 1\n", "process-compose.yaml:1:1: has no processes"),
        ("process-compose.yaml", "x: 1\nprocesses: [a]\n", "process-compose.yaml:2:1: processes: expected a table"),
        ("process-compose.yaml", "extends: gone.yaml\n", "process-compose.yaml:1:1: extends: "),
        ("pm2.yaml", "\napps: []\n", "pm2.yaml:2:1: has no apps"),
        ("pm2.yaml", "\napps: 7\n", "pm2.yaml:2:1: has no apps"),
        ("compose.yaml", "a: 1\n---\nb: 2\n", "compose.yaml:2:1: has a second document"),
        ("pm2.yaml", "apps: []\n--- {}\n", "pm2.yaml:2:1: has a second document"),
        ("process-compose.yaml", "a: 1\n...\nb: 2\n", "process-compose.yaml:3:1: "),
        ("compose.yaml", "a: b\n  \x01\n", "compose.yaml:2:3: not YAML: a control character"),
    ],
)
def test_a_refusal_has_its_place(file: str, text: str | bytes, message: str, tmp_path: Path) -> None:
    found = refused(tmp_path, file, text)
    assert found.startswith(message)
    assert "\n" not in found


@pytest.mark.parametrize("text", ["[" * 5000, "a:\n" + "  - " * 5000, "{a: " * 5000])
def test_what_is_nested_too_deeply_has_its_place(text: str, tmp_path: Path) -> None:
    found = refused(tmp_path, "compose.yaml", text)
    file, line, column, said = found.split(":", 3)
    assert (file, said) == ("compose.yaml", " nested too deeply")
    assert int(line) > 0 < int(column)


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200b", "\ufeff", "\u00ad", "\U000e0041", "\u2060"])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "compose.yaml",
            'services:\n  a:\n    image: x\n    labels: {{"k{0}": "v{0}"}}\n    environment: {{A: "1{0}"}}\n',
        ),
        ("compose.yaml", 'services:\n  a:\n    image: x\n    "x{0}y": 1\n    command: ["a\'{0}", "b\\"{0}"]\n'),
        ("Procfile", "a: echo 'x{0}' $B\nb{0}: x\n"),
        ("process-compose.yaml", "processes:\n  a{0}:\n    command: |\n      echo {0}\n      echo $$B\n"),
        ("pm2.json", '[{{"script": "a.js", "args": "{0}", "env": {{"A{0}": "\\ud83d{0}"}}}}]'),
        ("supervisord.conf", "[program:a{0}]\ncommand=x {0}\nenvironment=A='{0}'\nx{0}=1\n"),
    ],
)
def test_characters_that_reorder_or_hide_text_are_written_as_escapes(
    character: str, file: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(text.format(character))
    imported = import_source(tmp_path / file, None)
    written = write_manifest(imported)
    assert not INVISIBLE.search(written)
    assert tomllib.loads(written) == imported.manifest()


def test_joined_emoji_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("a: echo 👩‍💻 ❤️\n")
    assert "👩‍💻 ❤️" in write_manifest(import_source(tmp_path, None))
