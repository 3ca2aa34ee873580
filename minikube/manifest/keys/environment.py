"""The shapes of `env` and `env_file`, of a service and of the whole manifest."""

from typing import Any

from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.shapes import Boolean, Converted, KnownKeys, ListOf, Number, OneOf, Shape, TableOf, Text
from minikube.manifest.spec import EnvFile
from minikube.manifest.variables.env_file import ENCODING, parse_env_file

MAX_ENV_FILE_BYTES = 1024 * 1024

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
ENV: Shape[Variables] = TableOf(ENV_VALUE, "strings", ENV_NAME, "a variable's name")


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
        path = file.path
        try:
            with path.open("rb") as opened:
                raw = opened.read(MAX_ENV_FILE_BYTES + 1)
            if len(raw) > MAX_ENV_FILE_BYTES:
                raise ValueError("expected at most 1M")
            ignored: list[int] = []
            found |= parse_env_file(raw.decode(ENCODING), key.reading.variables, ignored.append)
            for line in ignored:
                key.reading.warn_ignored(path, line)
        except FileNotFoundError as error:
            if file.required:
                failed = True
                key.fail(
                    f"expected a file that can be read, got {path} ({(error.strerror or 'missing').lower()})"
                    " — create it, or write { path = …, required = false }"
                )
        except UnicodeDecodeError:
            failed = True
            key.fail(f"{path}: expected UTF-8")
        except OSError as error:
            failed = True
            key.fail(f"expected a file that can be read, got {path} ({(error.strerror or 'unreadable').lower()})")
        except ValueError as error:
            failed = True
            key.fail(f"{path}: {error}")
    return None if failed else (files, found)
