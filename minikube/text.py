"""What may reach a terminal, a listing or a log (floor 0): strangers' characters made visible, secrets masked.

Pure string work. It never decides what is shown, only how.
"""

import re
from collections.abc import Container, Iterator, Mapping
from urllib.parse import unquote, unquote_plus

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
# `redis+sentinel://secret@…` is a password, as `redis://secret@…` is to some clients; it may hold an @ itself.
_URL_LONE_USER = re.compile(r"(?P<head>rediss?(\+sentinel)?://)(?P<password>[^\s/?#:'\"]+)@", re.IGNORECASE)
_URL_REST = re.compile(r"://[^\s'\"]+")
_URL_PARAMETER = re.compile(r"(?P<head>[?&](?P<name>[^=&?#]+)=)(?P<password>[^&]+)")


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
            for found in _url_secrets(value):
                yield found
                yield unquote(found)


def _url_secrets(text: str) -> Iterator[str]:
    """A lone user is one only to Sentinel's URLs: `default` in everybody's lines must not be masked."""
    for pattern in (_URL_USER, _URL_LONE_USER):
        for match in pattern.finditer(text):
            if pattern is _URL_USER or "+sentinel" in match["head"].lower():
                yield match["password"]
    for rest in _URL_REST.findall(text):
        yield from (
            match["password"] for match in _URL_PARAMETER.finditer(rest) if looks_secret(unquote_plus(match["name"]))
        )


def mask_url(text: str) -> str:
    """`text` with the secrets of every URL in it masked: `redis://me:***@host?sentinel_password=***`."""
    if "://" not in text:
        return text
    text = _URL_USER.sub(lambda match: f"{match['head']}:{MASK}@", text)
    text = _URL_LONE_USER.sub(lambda match: f"{match['head']}{MASK}@", text)
    return _URL_REST.sub(lambda match: _URL_PARAMETER.sub(_masked_parameter, match[0]), text) if "=" in text else text


def _masked_parameter(match: re.Match[str]) -> str:
    return f"{match['head']}{MASK}" if looks_secret(unquote_plus(match["name"])) else match[0]


def mask_env(env: Mapping[str, str], secret: Container[str] = ()) -> dict[str, str]:
    """A copy fit to be shown: values whose names look secret or are in `secret` masked, passwords in URLs too."""
    return {
        name: MASK if value and (name in secret or looks_secret(name)) else mask_url(value)
        for name, value in env.items()
    }
