"""`${VAR}` in strings, and `.env` files.

    ${VAR}            its value; empty with a warning where it is not set
    ${VAR:-default}   `default` where VAR is not set or empty; it may contain ${…}
    ${VAR:?message}   an error with `message` where VAR is not set or empty
    $$                a dollar

A `$` before any other character is a dollar. This is no shell: it splits no words and runs no commands.
"""

import re
from collections.abc import Callable, Mapping

INSTANCE_VARIABLES = ("PORT", "HOST", "SERVICE_NAME", "INSTANCE_ID", "MINIKUBE_REGISTRY", "REDIS_URL")
"""Variables that are known when an instance starts. In strings of an instance they are left in place until then."""

MAX_DEPTH = 20
"""How deep defaults may be nested."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LATER = re.compile(r"\$\{(?:" + "|".join(INSTANCE_VARIABLES) + r")(?::[-?][^}]*)?\}")
_ENV_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*(.*)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$"}


def interpolate(
    text: str, variables: Mapping[str, str], *, later: bool = False, warn: Callable[[str], object] = lambda _: None
) -> str:
    """Return `text` with its variables replaced. Raises ValueError; `warn` is called with each name that is not set.

    With `later`, references to INSTANCE_VARIABLES stay in place for `fill_instance_variables`, and dollars stay doubled.
    """
    if "$" not in text:
        return text
    pieces = list(_expand(text, variables, later, warn, 0))
    whole = "".join(piece for piece, _ in pieces)
    if not later or not _LATER.search(whole):
        return whole
    return "".join(piece if kept else piece.replace("$", "$$") for piece, kept in pieces)


def fill_instance_variables(text: str, variables: Mapping[str, str]) -> str:
    """Return `text`, a string of a loaded manifest, with the INSTANCE_VARIABLES in it replaced by values of `variables`."""
    return interpolate(text, variables) if _LATER.search(text) else text


def escape_dollars(text: str, *, later: bool = False) -> str:
    """Return `text` with dollars doubled, so that `interpolate` of the result returns `text`."""
    return text if later and _LATER.search(text) else text.replace("$", "$$")


def _expand(
    text: str, variables: Mapping[str, str], later: bool, warn: Callable[[str], object], depth: int
) -> list[tuple[str, bool]]:
    """Return the result of `interpolate` in pieces, each with True if it is a reference that stays in place."""
    if depth > MAX_DEPTH:
        raise ValueError(f"expected at most {MAX_DEPTH} nested ${{…}}")
    pieces: list[tuple[str, bool]] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        pieces.append((text[at:dollar], False))
        following = text[dollar + 1 : dollar + 2]
        if following == "{":
            at = _closing(text, dollar) + 1
            pieces += _reference(text[dollar:at], variables, later, warn, depth)
        else:
            pieces.append(("$", False))
            at = dollar + (2 if following == "$" else 1)
    pieces.append((text[at:], False))
    return pieces


def _closing(text: str, dollar: int) -> int:
    """Return the index of the brace that closes the `${` at `dollar`, past nested `${…}`."""
    depth, at = 0, dollar
    while at < len(text):
        if text.startswith("$$", at):
            at += 2
        elif text.startswith("${", at):
            depth, at = depth + 1, at + 2
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
            at += 1
        else:
            at += 1
    raise ValueError(f"expected a closing brace after {text[dollar : dollar + 20]!r} ($$ is a plain dollar)")


def _reference(
    written: str, variables: Mapping[str, str], later: bool, warn: Callable[[str], object], depth: int
) -> list[tuple[str, bool]]:
    inner = written[2:-1]
    match = _NAME.match(inner)
    name, rest = (match[0], inner[match.end() :]) if match else ("", inner)
    if not name or (rest and rest[:2] not in (":-", ":?")):
        raise ValueError(
            f"expected ${{VAR}}, ${{VAR:-default}} or ${{VAR:?message}}, got {written!r} ($$ is a plain dollar)"
        )
    if later and name in INSTANCE_VARIABLES:
        return [(written, True)]
    value = variables.get(name)
    if rest.startswith(":?") and not value:
        raise ValueError(f"{name} is not set: {rest[2:] or 'it is required'}")
    if rest.startswith(":-") and not value:
        return _expand(rest[2:], variables, later, warn, depth + 1)
    if value is None:
        warn(name)
    return [(value or "", False)]


def parse_env_file(text: str) -> dict[str, str]:
    """Parse a `.env` file: `NAME=value` lines, `export ` allowed, `#` comments, values bare, 'verbatim' or "with \\n".

    A quoted value may span lines. Nothing is interpolated. Raises ValueError with the line's number and never its value.
    """
    found: dict[str, str] = {}
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    at = 0
    while at < len(lines):
        line, number = lines[at].lstrip(), at + 1
        at += 1
        if not line or line.startswith("#"):
            continue
        match = _ENV_LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected NAME=value")
        value = match[2]
        if value[:1] in ("'", '"'):
            while (end := _quote_end(value)) < 0:
                if at == len(lines):
                    raise ValueError(f"line {number}: expected a closing {value[0]}")
                value, at = f"{value}\n{lines[at]}", at + 1
            rest = value[end + 1 :].strip()
            if rest and not rest.startswith("#"):
                raise ValueError(f"line {number}: expected nothing after the closing {value[0]}")
            value = _unquote(value[: end + 1])
        else:
            value = re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip()
        found[match[1]] = value
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
