"""The published JSON Schema: one exact message for each mistake, a description for each key, the form of schemastore.org."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from minikube.cli.app import run
from minikube.manifest import json_schema
from minikube.manifest.schema.descriptions import DOCS, find_defaults
from minikube.manifest.schema.document import schema_json
from tests.documents import find

SCHEMA = json.loads(schema_json())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
TAPLO = Path(sys.executable).with_name("taplo")

MISTAKES: list[tuple[str, str]] = [
    ("prot = 80", "a known key of this table"),
    ('environment = "A=1"', "env in place of this key"),
    ('cmd = "run"', "command in place of this key"),
    ("port = 99999", "99999 is greater than the maximum of 65535"),
    ('port = "http"', 'a port from 1 to 65535, "auto", or a range such as "7070-7079"'),
    ("port = true", 'a port from 1 to 65535, "auto", or a range such as "7070-7079"'),
    ('ports = ["8080:80"]', 'a table of ports by name, such as { http = "auto", debug = 9230 }'),
    ('ports = { web = { prot = "udp" } }', "a known key of this table: port, container_port, protocol"),
    ('restart = "unless-stopped"', "always"),
    ('restart = "no"', "never"),
    ('restart = "allways"', '"allways" is not one of ["always", "on-failure", "never"]'),
    ("restart = false", '"always", "on-failure", "never" or a table'),
    ('health = "health"', 'a path such as "/health" or an http(s):// URL'),
    ("health = false", 'a path such as "/health", "tcp", or a table'),
    ('health = { http = "/", interval = 5 }', '5 is not of type "string"'),
    ('health = { http = "/", interval = "5 sec" }', 'a duration such as "250ms", "5s", "2m" or "1h"'),
    ('health = { http = "/", tcp = true }', "no tcp beside http"),
    ('health = { test = "x" }', "command or shell in place of this key"),
    ('shell = "x"', "no shell beside command"),
    ('replicas = "2"', '"2" is not of type "integer"'),
    ("replicas = -1", "-1 is less than the minimum of 0"),
    ('depends_on = "db"', 'a list of service names, or a table such as { product = "healthy" }'),
    ('depends_on = { db = "service_healthy" }', "healthy"),
    ('depends_on = { db = "helthy" }', '"helthy" is not one of ["started", "healthy", "completed", "exited"]'),
    ("env = { A = true }", "a string or a number"),
    ('env = { "A B" = "x" }', "a variable's name as the key"),
    ('limits.memory = "lots"', 'a size such as "512K", "10M" or "2G", or "unlimited"'),
    ('register = "supervisr"', '"supervisr" is not one of ["supervisor", "self", "none"]'),
    ("image = 3", '3 is not of type "string"'),
    ('volumes = ["data"]', "source:/target, source:/target:ro or /target"),
    ("env_file = 3", "a file, a table with path and required, or a list of these"),
    ('logs.format = "xml"', '"xml" is not one of ["plain", "json"]'),
    ("tags = [1]", '1 is not of type "string"'),
]
"""A line of a service with a mistake, and what an editor says."""
TABLES: list[tuple[str, str]] = [
    ('[services.a_b]\ncommand = "x"', "a DNS label: a-z, 0-9 and -, 1 to 63 characters as the key"),
    ('[servces.x]\ncommand = "x"', "a known key of this table: name, registry, "),
    ('[registry]\nlistn = "x"', "a known key of this table: listen, token, tls, allow_checks, advertise"),
    ('name = "My Shop"', "a DNS label: a-z, 0-9 and -, 1 to 63 characters"),
    ("services.x = 3", '3 is not of type "object"'),
    ("[services.x]\ncommand = 3", "a list of strings, or a string"),
    ("[defaults]\nreplicas = 1.5", '1.5 is not of type "integer"'),
]
"""Whole manifests with a mistake."""


def manifests() -> list[tuple[str, str]]:
    return [(f'[services.x]\ncommand = "run"\n{line}\n', said) for line, said in MISTAKES] + TABLES


def leaves(error: jsonschema.ValidationError) -> Iterator[jsonschema.ValidationError]:
    """The errors of which an error is made: one where an editor has one message."""
    if error.context:
        for inner in error.context:
            yield from leaves(inner)
    else:
        yield error


def said_by(error: jsonschema.ValidationError) -> str:
    """What an editor says: the words of Taplo."""
    match error.validator:
        case "const":
            return str(error.validator_value)
        case "enum":
            return f"{json.dumps(error.instance)} is not one of {json.dumps(error.validator_value)}"
        case "type":
            return f'{json.dumps(error.instance)} is not of type "{error.validator_value}"'
        case "minimum" | "maximum" as bound:
            word = "less" if bound == "minimum" else "greater"
            return f"{error.instance} is {word} than the {bound} of {error.validator_value}"
    return str(error.message)


@pytest.mark.parametrize(("text", "said"), manifests(), ids=[text.splitlines()[-1] for text, _ in manifests()])
def test_each_mistake_has_one_exact_message(text: str, said: str) -> None:
    errors = [leaf for error in VALIDATOR.iter_errors(tomllib.loads(text)) for leaf in leaves(error)]
    assert len(errors) == 1, errors
    assert said_by(errors[0]).startswith(said)


@pytest.mark.skipif(not TAPLO.exists(), reason="taplo is not installed")
def test_taplo_shows_one_message_for_each_mistake(tmp_path: Path) -> None:
    """One message; at a value that is a table or a list it is repeated at each part, for which Taplo has no other way."""
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    found = manifests()
    for number, (text, _) in enumerate(found):
        (tmp_path / f"m{number}.toml").write_text(text)
    (tmp_path / "good.toml").write_text("\n".join(block.text for block in find("toml", "manifest")[:1]))
    schema = (tmp_path / "schema.json").as_uri()
    done = subprocess.run(
        [TAPLO, "check", "--colors", "never", "--schema", schema, *sorted(map(str, tmp_path.glob("*.toml")))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    shown: dict[str, list[str]] = {}
    for message, file in re.findall(r"(?m)^error: (.*)\n\s*┌─ \S*/(\S+?):\d+:\d+$", done.stdout + done.stderr):
        shown.setdefault(file, []).append(message.replace('\\"', '"').replace('", "', '","'))
    assert "good.toml" not in shown
    for number, (text, said) in enumerate(found):
        messages = shown[f"m{number}.toml"]
        assert len(set(messages)) == 1, (text, messages)
        assert said.replace('", "', '","').split(" as the key")[0] in messages[0], (text, messages)
        if not re.search(r"[\[{]|^\[", text.splitlines()[-1]) and "[serv" not in text.splitlines()[0]:
            assert len(messages) == 1, (text, messages)


def properties(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each key of the schema with its path and what the schema says of it."""
    if isinstance(schema, dict):
        for name, value in schema.get("properties", {}).items() if schema.get("type") == "object" else ():
            yield f"{path}.{name}", value
        for key, value in schema.items():
            if key not in ("if", "patternProperties"):
                yield from properties(value, f"{path}.{key}")
    elif isinstance(schema, list):
        for item in schema:
            yield from properties(item, path)


def test_each_key_has_a_description_that_ends_as_a_sentence_and_a_default_or_an_example() -> None:
    keys = list(properties(SCHEMA, ""))
    assert len(keys) > 150
    for path, value in keys:
        if "$ref" in value:
            continue
        assert re.fullmatch(r"[A-Z0-9][^\n]*\.", value.get("description", "")), path
        if value.get("type") != "object" or "properties" not in value:
            assert {"default", "examples"} & value.keys(), path
    assert set(find_defaults()) <= set(DOCS)


def test_each_example_and_default_is_valid() -> None:
    for path, value in properties(SCHEMA, ""):
        for example in [*value.get("examples", []), *([value["default"]] if "default" in value else [])]:
            schema = {**value, "definitions": SCHEMA["definitions"]}
            assert not list(jsonschema.Draft7Validator(schema).iter_errors(example)), (path, example)


def test_the_schema_has_the_form_of_schemastore() -> None:
    """Draft 7 with an id, a title and a description; every table is closed or has keys that the user chooses; patterns are
    those of ECMAScript, and no type is a list."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert SCHEMA["$id"].startswith("https://json.schemastore.org/")
    assert SCHEMA["title"]
    assert SCHEMA["description"]

    def check(schema: Any) -> None:
        if isinstance(schema, list):
            for item in schema:
                check(item)
        elif isinstance(schema, dict):
            assert not isinstance(schema.get("type"), list)
            if schema.get("type") == "object":
                assert "additionalProperties" in schema, schema
            for pattern in [
                *schema.get("patternProperties", {}),
                *([schema["pattern"]] if "pattern" in schema else []),
            ]:
                if isinstance(pattern, str):
                    assert "(?s" not in pattern
                    re.compile(pattern)
            for key, value in schema.items():
                if key != "if":
                    check(value)

    check(SCHEMA)


def test_what_several_files_and_defaults_allow_is_no_mistake() -> None:
    """An override has some keys of a service, a base may have no command, a check in `[defaults]` no kind."""
    for text in (
        "[services.x]\nreplicas = 2\nhealth.interval = '1s'\nbuild.target = 'dev'\n[registry.tls]\nca = 'ca.pem'\n",
        "[defaults]\nhealth.interval = '1s'\n[services.x]\nextends = 'base'\n",
        "[services.x]\nreplicas = '${N}'\nrestart = '${POLICY}'\nport = '${P}'\nlimits.nofile = '${F}'\n",
    ):
        assert not list(VALIDATOR.iter_errors(tomllib.loads(text))), text


def test_the_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA


def test_a_word_that_is_a_choice_itself_is_no_hint() -> None:
    schema = json_schema.words(("a", "b"), {"a": "b", "x": "b"})
    assert jsonschema.Draft7Validator(schema).is_valid("a")
    assert not jsonschema.Draft7Validator(schema).is_valid("x")
