"""Which format a file has, or which file of a directory is meant. By name first, by content where the name says nothing."""

import os
import re
from pathlib import Path
from typing import Literal

from msgspec import Struct

from minikube.errors import UsageError
from minikube.importers.source import read_source, source_error

Format = Literal["compose", "process_compose", "procfile", "supervisord", "pm2"]

NAMES: tuple[tuple[str, Format], ...] = (
    (r"(docker-)?compose([.-].*)?\.ya?ml", "compose"),
    (r"process-compose([.-].*)?\.ya?ml", "process_compose"),
    (r"procfile(\..*)?|.*\.procfile", "procfile"),
    (r"supervisord?([.-].*)?\.(conf|ini)", "supervisord"),
    (r"(ecosystem|pm2|processes|process)([.-].*)?\.(json|ya?ml)", "pm2"),
)
"""Names of files, without case, and the format that they have for certain."""

PM2_YAML = tuple(f"{name}.{end}" for name in ("ecosystem.config", "ecosystem", "pm2") for end in ("yaml", "yml"))

IN_DIRECTORY: tuple[tuple[Format, tuple[str, ...]], ...] = (
    ("compose", ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")),
    ("process_compose", ("process-compose.yaml", "process-compose.yml")),
    ("procfile", ("Procfile",)),
    (
        "supervisord",
        ("supervisord.conf", "etc/supervisord.conf", "supervisor/supervisord.conf", "supervisor/*.conf"),
    ),
    ("pm2", ("ecosystem.config.json", "ecosystem.json", "pm2.json", "processes.json", *PM2_YAML)),
)
"""For each format the names in a directory; of one format, the first that is there."""

SCRIPT_NAMES = ("ecosystem.config.js", "ecosystem.config.cjs", "ecosystem.config.mjs")

CONTENT: tuple[tuple[str, Format], ...] = (
    (r"^\[(program|supervisord|group|fcgi-program):?", "supervisord"),
    (r"""^["']?processes["']?\s*:""", "process_compose"),
    (r"""^["']?services["']?\s*:""", "compose"),
    (r"""^[ \t]*["']?apps["']?\s*:""", "pm2"),
    (r"""\A\s*[\[{][\s\S]*["']script["']\s*:""", "pm2"),
    (r"\A(?:[ \t]*(?:#.*)?\n)*+[ \t]*[A-Za-z0-9_-]+:\s*\S", "procfile"),
)
"""What the text of a file with another name contains, in the order in which it is tried."""

FORMATS = "a Procfile, or a file of Compose, process-compose, supervisord or pm2"


class Found(Struct, frozen=True):
    """A source file with its format. Each reader looks itself for the files that belong to it, such as `.env`."""

    format: Format
    path: Path
    named: bool
    """Whether the file itself was given, not its directory."""


def find_source(path: Path) -> Found:
    """Return the source file that `path`, a file or a directory, means. Raises UsageError with what to do."""
    if not os.path.isdir(path):  # Path.is_dir raises PermissionError
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe can be read once only, and may never end
            raise source_error(path, "is no regular file — save it as one, and import that")
        return Found(_format_of(path), path, True)
    try:
        found = [(kind, files) for kind, patterns in IN_DIRECTORY if (files := _in_directory(path, patterns))]
        scripts = [path / name for name in SCRIPT_NAMES if (path / name).is_file()]
    except OSError as error:
        raise source_error(path, f"cannot be read ({(error.strerror or 'unreadable').lower()})") from None
    if len(found) > 1:
        names = ", ".join(str(files[0].relative_to(path)) for _, files in found)
        raise source_error(path, f"has files of several tools: {names} — name the one to import")
    if found:
        return Found(found[0][0], found[0][1][0], False)
    if scripts:
        raise script_error(scripts[0])
    raise source_error(path, f"has no file that can be imported — expected {FORMATS}")


def script_error(path: Path) -> UsageError:
    """Return the error of a pm2 file that is a program: reading it would run it."""
    command = f"""node -p 'JSON.stringify(require("./{path.name}"))' > pm2.json"""
    if path.suffix == ".mjs":
        command = f"""node -e 'import("./{path.name}").then(m => console.log(JSON.stringify(m.default)))' > pm2.json"""
    return source_error(path, f"is a program, which import does not run — run `{command}` there, and import pm2.json")


def _in_directory(directory: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Return the files of one format, the one to take first."""
    return [file for pattern in patterns for file in sorted(directory.glob(pattern)) if file.is_file()]


def _format_of(path: Path) -> Format:
    name = path.name.lower()
    if path.suffix in (".js", ".cjs", ".mjs", ".ts"):
        read_source(path)
        raise script_error(path)
    for pattern, kind in NAMES:
        if re.fullmatch(pattern, name):
            return kind
    text = read_source(path)
    if path.suffix == ".toml":
        raise source_error(path, f"is TOML — expected {FORMATS}")
    for pattern, kind in CONTENT:
        if re.search(pattern, text, re.MULTILINE):
            return kind
    raise source_error(path, f"its format is not known — expected {FORMATS}")
