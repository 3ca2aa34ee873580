"""Reading source files: their text, the lines that say something, and paths from the manifest's directory."""

import os
import re
from codecs import BOM_UTF8
from pathlib import Path

from msgspec import Struct

from minikube.errors import UsageError
from minikube.importers.result import SourceFile, Span
from minikube.text import printable

MAX_BYTES = 1024 * 1024


class Destination(Struct, frozen=True):
    """Where the source is and where the manifest will be: relative paths of the one are rewritten for the other."""

    source_dir: Path
    """Absolute."""
    output_dir: Path
    """Absolute."""

    @property
    def moves(self) -> bool:
        """Whether the manifest will be in another directory than the source."""
        return self.source_dir != self.output_dir

    def path(self, text: str, *, base: Path | None = None) -> str:
        """Return a path of the source as the manifest has it. `base` is the directory that it is relative to.

        Absolute paths, `~` and paths that begin with a variable stay. A relative one begins with `./` or `../` where the source's
        does, or where it is rewritten.
        """
        base = self.source_dir if base is None else base
        if base == self.output_dir or text.startswith(("/", "~", "$")):
            return text
        relative = os.path.relpath(base / text, self.output_dir)
        return relative if relative.split(os.sep)[0] in (".", "..") else f"./{relative}"

    def shown(self, path: Path) -> str:
        """Return the name of a source file as notes show it."""
        relative = os.path.relpath(path, self.source_dir)
        return relative if not relative.startswith(f"..{os.sep}..") else str(path)


def join_paths(base: str, path: str) -> str:
    """Return a path of a source that is relative to `base`. Absolute ones, `~` and those that begin with a variable stay."""
    if base in ("", ".") or path.startswith(("/", "~", "$")):
        return path
    return base if path == "." else f"{base.rstrip('/')}/{path.removeprefix('./')}"


class SourceError(UsageError):
    """A source file cannot be imported. The message is one line: `compose.yaml:3:5: …`."""

    def __init__(self, file: str, rest: str) -> None:
        super().__init__(printable(f"{file}{rest}"))
        self.file = file
        self.rest = rest

    def seen_from(self, directory: Path) -> "SourceError":
        """Return the error with the file's path as the user sees it; `directory` is that of the first source file."""
        if os.path.isabs(self.file) or Path(self.file).is_relative_to(directory):
            return self
        return SourceError(os.path.normpath(directory / self.file), self.rest)


def source_error(file: str | Path, message: str, line: int = 0, column: int = 0) -> SourceError:
    """Return the error of a file, by its name in notes, or its path."""
    place = "".join(f":{number}" for number in (line, column) if number)
    return SourceError(str(file), f"{place}: {' '.join(message.split())}")


def place_error(span: Span, message: str) -> SourceError:
    """Return the error of what stands at a place of a source."""
    return source_error(span.file, message, span.line, span.column)


def real_path(path: Path) -> Path:
    """Return a path without links. One that leads nowhere stays as it is: reading it says why."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, a NUL character
        return path.absolute()


def read_source(path: Path, name: str = "") -> str:
    """Return the text of a source file; a byte order mark is dropped, line ends become `\\n`. `name` is its name in errors.

    Raises UsageError where it is missing, cannot be read, is larger than 1M or no UTF-8.
    """
    shown = name or path
    try:
        if (
            path.exists() and not path.is_file()
        ):  # to open a pipe, such as a `.env` of a password manager, may wait for ever
            raise source_error(shown, "is no regular file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise source_error(shown, "no such file") from None
    except ValueError:
        raise source_error(shown, "expected a path, got one with a NUL character") from None
    except OSError as error:
        raise source_error(shown, f"cannot be read ({(error.strerror or 'unreadable').lower()})") from None
    if len(raw) > MAX_BYTES:
        raise source_error(shown, "expected at most 1M, got more")
    raw = raw.removeprefix(BOM_UTF8)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = len(raw[raw.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        hint = " — save it as UTF-8" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        message = f"expected UTF-8, got the byte 0x{raw[error.start]:02x}{hint}"
        raise source_error(shown, message, line, column) from None
    return re.sub(r"\r\n?", "\n", text)


def source_file(name: str, text: str, comments: str = "#") -> SourceFile:
    """Return what is remembered of a source file. `comments` are the characters with which a comment begins; "": none."""
    lines = enumerate((line.strip() for line in text.split("\n")), 1)
    return SourceFile(name, frozenset(number for number, line in lines if line and line[0] not in comments))
