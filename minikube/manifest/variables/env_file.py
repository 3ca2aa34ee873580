"""`.env` files and the files of `env_file`: `NAME=value` lines, as Compose reads them."""

import re
from collections.abc import Callable, Mapping

_ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*(.*)")
_BARE_NAME = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*(?:#.*)?")
_SHELL_WORDS = frozenset(
    {"if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "return", "exit"}
)
"""Lines of one word that are no names of variables."""

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$"}

ENCODING = "utf-8-sig"
"""UTF-8, with or without the byte order mark that editors on Windows write."""


class EnvFileError(ValueError):
    """A line is no assignment. Its value is not in the text; `line` and `column`, from 1, are the place."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line
        self.column = column
        self.message = message


def parse_env_file(
    text: str,
    environ: Mapping[str, str] | None = None,
    ignore: Callable[[int], object] = lambda line: None,
    note: Callable[[str, int, int], object] = lambda name, line, column: None,
) -> dict[str, str]:
    """Parse a `.env` file: `NAME=value` lines, `export ` allowed, `#` comments, values bare, 'verbatim' or "with \\n".

    A quoted value may span lines. A line with a name alone takes the variable of `environ`, if it is set there. Nothing is
    interpolated. `ignore` is called with the number of each line that is neither: such files may hold lines for a shell.
    `note` is called with each name that is set, and its line and column. Raises EnvFileError.
    """
    found: dict[str, str] = {}
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    at = 0
    while at < len(lines):
        line, number = lines[at].lstrip(), at + 1
        indent = len(lines[at]) - len(line)
        at += 1
        if not line or line.startswith("#"):
            continue
        if (match := _ASSIGNMENT.fullmatch(line)) is None:
            bare = _BARE_NAME.fullmatch(line)
            if bare is None or bare[1] in _SHELL_WORDS:
                ignore(number)
            elif environ is not None and bare[1] in environ:
                found[bare[1]] = environ[bare[1]]
                note(bare[1], number, indent + bare.start(1) + 1)
            continue
        value = match[2]
        if value[:1] in ("'", '"'):
            while (end := _quote_end(value)) < 0:
                if at == len(lines):
                    raise EnvFileError(number, indent + match.start(2) + 1, f"expected a closing {value[0]}")
                value, at = f"{value}\n{lines[at]}", at + 1
            rest = value[end + 1 :].strip()
            if rest and not rest.startswith("#"):
                column = len(lines[at - 1]) - len(value[end + 1 :].lstrip()) + 1
                raise EnvFileError(at, column, f"expected nothing after the closing {value[0]}")
            value = _unquote(value[: end + 1])
        else:
            value = re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip()
        found[match[1]] = value
        note(match[1], number, indent + match.start(1) + 1)
    return found


def _quote_end(value: str) -> int:
    """Return the index of the quote that closes a quoted value; -1 where it is not closed."""
    if value[0] == "'":
        return value.find("'", 1)
    at = 1
    while at < len(value):
        if value[at] == '"':
            return at
        at += 2 if value[at] == "\\" else 1
    return -1


def _unquote(value: str) -> str:
    inner = value[1:-1]
    if value[0] == "'":
        return inner
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), inner, flags=re.DOTALL)
