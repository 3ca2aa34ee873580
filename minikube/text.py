"""What may reach a terminal, a listing or a log (floor 0): strangers' characters made visible, secrets masked.

Pure string work. It never decides what is shown, only how.
"""

import re
from collections.abc import Container, Iterator, Mapping
from urllib.parse import unquote

MASK = "***"

# C0, DEL and C1 (a terminal obeys them), bidirectional marks, embeddings, overrides and isolates (they reorder what
# is read: CVE-2021-42574), line and paragraph separators, and lone surrogates, which no terminal can encode.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")

_SECRET_NAME = re.compile(
    r"passw|passphrase|pwd|secret|token|credential|private|api_?key|access_?key|(^|[_-])(key|auth|pass|dsn|cookie|salt)s?($|[_-])",
    re.IGNORECASE,
)
_URL_USER = re.compile(r"(?P<head>[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#:@'\"]*):(?P<password>[^\s/'\"]*)@")


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def printable(text: str) -> str:
    """`text` with control, C1, bidirectional and lone surrogate characters written as `\\x1b` or `\\u202e`.

    A tab becomes a space: it harms nothing, but no column survives it.
    """
    if text.isascii() and text.isprintable():
        return text
    return _HIDDEN.sub(_visible, text.replace("\t", " "))


def printable_line(text: str) -> str:
    """A line of a service's output for a terminal: its colours are dropped, tabs stay, the rest as `printable`."""
    if text.isascii() and text.isprintable():
        return text
    return "\t".join(_HIDDEN.sub(_visible, part) for part in _COLOUR.sub("", text).split("\t"))


def looks_secret(name: str) -> bool:
    """Whether a variable of this name is likely to hold a secret: `DB_PASSWORD`, `API_KEY`, `AUTH_TOKEN`."""
    return _SECRET_NAME.search(name) is not None


def secrets_in(env: Mapping[str, str]) -> Iterator[str]:
    """What must not be read in the output of who has these variables: values whose names look secret, and passwords of
    URLs, as they stand there and decoded."""
    for name, value in env.items():
        if name in ("PWD", "OLDPWD"):  # a shell's directories
            continue
        if looks_secret(name) and value not in ("true", "false"):
            yield value
        if "://" in value:
            for match in _URL_USER.finditer(value):
                yield match["password"]
                yield unquote(match["password"])


def mask_url(text: str) -> str:
    """`text` with the password of every URL in it masked: `redis://me:***@host`."""
    return _URL_USER.sub(lambda match: f"{match['head']}:{MASK}@", text) if "://" in text else text


def mask_env(env: Mapping[str, str], secret: Container[str] = ()) -> dict[str, str]:
    """A copy fit to be shown: values whose names look secret or are in `secret` masked, passwords in URLs too."""
    return {
        name: MASK if value and (name in secret or looks_secret(name)) else mask_url(value)
        for name, value in env.items()
    }
