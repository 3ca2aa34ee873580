"""`--json` prints the fields of its struct: docs/cli.md and the schemas follow the structs."""

import importlib
import json
import re
from typing import Any

import jsonschema
import pytest

from minikube.cli.app import COMMANDS, cli, run
from minikube.cli.render.schemas import OUTPUTS, output_schema
from tests.documents import section

ROWS = {
    name: match[2]
    for match in re.finditer(r"(?m)^\| ((?:`\w+`,? ?)+) \| (.*) \|$", section("docs/cli.md", "## JSON for programs"))
    for name in re.findall(r"\w+", match[1])
}


def has_json(name: str) -> bool:
    importlib.import_module(f"minikube.cli.{COMMANDS[name][0]}")
    command = cli.get_command(cli.make_context("minikube", [name, "--help"], resilient_parsing=True), name)
    assert command is not None
    return any("--json" in param.opts for param in command.params)


def test_every_command_with_json_has_a_struct_and_a_row_in_the_documentation() -> None:
    wanted = {name for name in COMMANDS if has_json(name)}
    assert set(OUTPUTS) == wanted, "add the command to OUTPUTS in minikube/cli/render/schemas.py"
    assert set(ROWS) == wanted, "add the command to the table in docs/cli.md, `--json` of"


@pytest.mark.parametrize("command", OUTPUTS)
def test_the_documentation_names_only_fields_that_exist(command: str) -> None:
    known = json.dumps(output_schema(command))
    for word in re.findall(r"`([A-Za-z_]+)`", ROWS[command]):
        assert f'"{word}": ' in known, f"{command} prints no {word}"


@pytest.mark.parametrize("command", OUTPUTS)
def test_every_struct_has_a_schema_that_the_command_line_prints(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["schema", command]) == 0
    schema: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema == json.loads(json.dumps(output_schema(command)))
    text = json.dumps(schema)
    assert r"\n" not in text
    assert "  " not in text


def test_a_command_without_json_has_no_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "up"]) == 2
    assert "expected a command that has --json: ps, " in capsys.readouterr().err
