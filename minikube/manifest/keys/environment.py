"""The shapes of `env` and `env_file`, of a service and of the whole manifest."""

from typing import Any

from minikube.errors import ManifestError
from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.files import read_variables
from minikube.manifest.shapes import Boolean, Converted, KnownKeys, ListOf, Number, OneOf, Shape, TableOf, Text
from minikube.manifest.spec import EnvFile

ENV_NAME = r"^[^=\s]+$"

Variables = dict[str, str]


def _text(value: int | float, _: KeyPath) -> str:
    return str(value)


NUMBERS: dict[type, Shape[str]] = {
    int: Converted(Number(int, -(2**63), 2**63), _text),
    float: Converted(Number(float, -1e308, 1e308), _text),
}
"""Numbers that become strings."""

ENV_VALUE: Shape[str] = OneOf({str: Text(later=True), **NUMBERS}, "a string or a number")
ENV: Shape[Variables] = TableOf(ENV_VALUE, 'strings, such as { NAME = "value" }', ENV_NAME, "a variable's name")


def env_file_shape(path: Shape[Any]) -> Shape[tuple[tuple[EnvFile, ...], Variables]]:
    """Return the shape of `env_file`: a file, a table, or a list of these; read as the files and their content.

    `path` is the shape of a file's path.
    """
    lone = Converted(path, lambda found, _: EnvFile(found))
    table = Converted(
        KnownKeys({"path": path, "required": Boolean()}, required=("path",)),
        lambda keys, _: EnvFile(**keys) if "path" in keys else None,
    )
    one: Shape[EnvFile] = OneOf({str: lone, dict: table}, "a file, a table with path and required, or a list of these")
    return Converted(ListOf(one, "files", lone=True), _read_env_files)


def _read_env_files(files: tuple[EnvFile, ...], key: KeyPath) -> tuple[tuple[EnvFile, ...], Variables] | None:
    found: Variables = {}
    failed = False
    for file in files:
        try:
            content = read_variables(file.path, key.reading.variables, key.path)
            found |= content.values
            for line in content.ignored:
                key.reading.warn_ignored(file.path, line)
        except ManifestError as error:
            failed = True
            for problem in error.problems:
                key.reading.fail_file(problem)
        except FileNotFoundError as error:
            if file.required:
                failed = True
                key.fail(
                    f"expected a file that can be read, got {file.path} ({(error.strerror or 'missing').lower()})"
                    " — create it, or write { path = …, required = false }"
                )
        except OSError as error:
            failed = True
            key.fail(f"expected a file that can be read, got {file.path} ({(error.strerror or 'unreadable').lower()})")
    return None if failed else (files, found)
