"""Untrusted text made safe to show: control characters made visible, secrets masked. Pure."""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import lru_cache
from urllib.parse import unquote, unquote_plus

MASK = "***"

_INVISIBLE = (
    # DEL and C1: a terminal obeys them.
    "\x7f-\x9f"
    # Bidirectional marks, embeddings, overrides and isolates (they reorder what is read: CVE-2021-42574), separators of lines
    # and paragraphs.
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    # Characters without a width: what they spell is not what is read.
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    # Shorthand and musical controls; tags and supplementary variation selectors, in which whole texts can be hidden.
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    # Lone surrogates, which no terminal can encode.
    "\ud800-\udfff"
    # Joiners and variation selectors: see `is_hidden`.
    "\u200c\u200d\ufe00-\ufe0f"
)
INVISIBLE = re.compile(f"[{_INVISIBLE}]")
"""Matches characters, but for C0, that a terminal obeys or does not show. Whether one is to be replaced says `is_hidden`."""

_HIDDEN = re.compile(f"[\x00-\x1f{_INVISIBLE}]")
_JOINERS = "\u200c\u200d"
_SELECTORS = frozenset(map(chr, range(0xFE00, 0xFE10)))
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")

ASCII_SUBSTITUTES = {
    ord(symbol): sign
    for symbols, sign in (
        ("─━═╌╍┄┅╴╶╸╺—–▔↔", "-"),
        ("│┃║╎╏┆┇▎▏▕▊▌▐", "|"),
        ("┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛┣┫┳┻╋╔╗╚╝╠╣╦╩╬", "+"),
        ("▁▂▃▄", "_"),
        ("▅▆▇█▀■", "#"),
        ("●◆", "*"),
        ("○◌◐◑◒◔□◇", "o"),
        ("◉◈", "@"),
        ("✓▾▼⇣↓⧩", "v"),
        ("✗×", "x"),
        ("↻⟳", "r"),
        ("▸►→≥", ">"),
        ("←≤↵", "<"),
        ("⇄⏸", "="),
        ("↑▲", "^"),
        ("“”", '"'),
        ("‘’", "'"),
        ("·…", "."),
        ("±", "+"),
        ("µ", "u"),
        ("§", "S"),
        ("⚠", "!"),
        ("⠋⠙⠇⠏", "\\"),
        ("⠹⠸⠼", "|"),
        ("⠴⠦⠧", "/"),
        ("�", "?"),
    )
    for symbol in symbols
}
"""By code point: an ASCII sign, as wide, for the symbols that this program prints, where an encoding does not have them."""

_SECRET_NAME = re.compile(
    r"passw|passphrase|pwd|secret|token|credential|private|api_?key|access_?key|(^|[_-])(key|auth|pass|dsn|cookie|salt)s?($|[_-])",
    re.IGNORECASE,
)
# Searched from `://` on, without the scheme before it: a long run of letters would be searched again at each of them.
_URL_USER = re.compile(r"(?P<head>(?<=[A-Za-z0-9+.-])://[^\s/?#:@'\"]*):(?P<password>[^\s/'\"]*)@")
# `redis+sentinel://secret@…` is a password, as `redis://secret@…` is to some clients; it may hold an @ itself.
_URL_LONE_USER = re.compile(r"(?P<head>rediss?(\+sentinel)?://)(?P<password>[^\s/?#:'\"]+)@", re.IGNORECASE)
_URL_REST = re.compile(r"://[^\s'\"]+")
_URL_PARAMETER = re.compile(r"(?P<head>[?&](?P<name>[^=&?#]+)=)(?P<password>[^&]+)")


_SETTING = re.compile(
    r"(?<![\w?&-])(?P<head>--?(?P<option>[A-Za-z][\w-]*)(?:=|[ \t]+)|(?P<variable>[A-Za-z_]\w*)=)"
    r"(?![-$]|[\"']\$)(?P<value>\"[^\"]*\"|'[^']*'|[^\s;|&'\"]+)"
)
"""An option with its value, or an assignment: `--name=value`, `--name value`, `NAME=value`."""
_NO_SECRET_OPTION = re.compile(r"^no[_-]|[_-](file|path|dir|name|env|type|stdin)$", re.IGNORECASE)
SHORTEST_SECRET = 4
"""Shorter values of variables, such as `1`, are not searched in a command: they would hide much of it."""


def is_hidden(match: re.Match[str]) -> bool:
    """Return whether a character that `INVISIBLE` matches is to be made visible where it stands.

    Joiners and variation selectors belong to emoji and to many scripts: one of them, after or between their characters.
    """
    character, text, at = match[0], match.string, match.start()
    if character not in _JOINERS and character not in _SELECTORS:
        return True
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if character in _SELECTORS:
        return before.isascii() or before in _SELECTORS
    return before.isascii() or before in _JOINERS or after.isascii()


def _visible(match: re.Match[str]) -> str:
    if not is_hidden(match):
        return match[0]
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable(text: str) -> str:
    """Return `text` with characters that a terminal obeys or does not show written as `\\x1b` or `\\u202e`.

    A tab becomes a space, as it would break the columns of a table.
    """
    if text.isascii() and text.isprintable():
        return text
    return _HIDDEN.sub(_visible, text.replace("\t", " "))


def printable_line(text: str) -> str:
    """Return a line of output for a terminal: without colours, with its tabs, all else as `printable` does it."""
    if text.isascii() and text.isprintable():
        return text
    return "\t".join(_HIDDEN.sub(_visible, part) for part in _COLOUR.sub("", text).split("\t"))


@lru_cache(1024)  # each start asks for each variable of its environment
def looks_secret(name: str) -> bool:
    """Return whether a variable of this name probably holds a secret: `DB_PASSWORD`, `API_KEY`, `AUTH_TOKEN`."""
    return _SECRET_NAME.search(name) is not None


def secrets_in(env: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets among variables: values whose names look secret, and passwords in URLs, encoded and decoded."""
    for name, value in env.items():
        if name in ("PWD", "OLDPWD"):  # directories, although the names contain PWD
            continue
        if looks_secret(name) and value not in ("true", "false"):
            yield value
        if "://" in value:
            for found in _url_secrets(value):
                yield found
                yield unquote(found)


def _url_secrets(text: str) -> Iterator[str]:
    """Yield the passwords in the URLs of a text."""
    # `user@` without a colon is a password in Sentinel's URLs only: masking a user such as `default` would hide much output.
    for pattern in (_URL_USER, _URL_LONE_USER):
        for match in pattern.finditer(text):
            if pattern is _URL_USER or "+sentinel" in match["head"].lower():
                yield match["password"]
    for rest in _URL_REST.findall(text):
        yield from (
            match["password"] for match in _URL_PARAMETER.finditer(rest) if looks_secret(unquote_plus(match["name"]))
        )


def mask_url(text: str) -> str:
    """Return `text` with the secrets of every URL masked: `redis://me:***@host?sentinel_password=***`."""
    if "://" not in text:
        return text
    text = _URL_USER.sub(lambda match: f"{match['head']}:{MASK}@", text)
    text = _URL_LONE_USER.sub(lambda match: f"{match['head']}{MASK}@", text)
    return _URL_REST.sub(lambda match: _URL_PARAMETER.sub(_masked_parameter, match[0]), text) if "=" in text else text


def _masked_parameter(match: re.Match[str]) -> str:
    return f"{match['head']}{MASK}" if looks_secret(unquote_plus(match["name"])) else match[0]


def mask_env(env: Mapping[str, str], secret: Container[str] = ()) -> dict[str, str]:
    """Return a copy of `env` to show: values whose names look secret or are in `secret` masked, and passwords in URLs."""
    return {
        name: MASK if value and (name in secret or looks_secret(name)) else mask_url(value)
        for name, value in env.items()
    }


def mask_words(words: Iterable[str], secrets: Iterable[str] = ()) -> list[str]:
    """Return the words of a command to show: `secrets`, values of options such as `--password`, and passwords in URLs masked."""
    shown = []
    is_value = False
    known = sorted({secret for secret in secrets if len(secret) >= SHORTEST_SECRET}, key=len, reverse=True)
    for word in words:
        masked = word
        for secret in known:
            masked = masked.replace(secret, MASK)
        is_secret = is_value and not word.startswith(("-", "$"))
        masked = MASK if is_secret else mask_url(_SETTING.sub(_masked_setting, masked))
        is_value = word.startswith("-") and "=" not in word and " " not in word and _takes_secret(word.lstrip("-"))
        shown.append(masked)
    return shown


def _takes_secret(option: str) -> bool:
    return looks_secret(option) and not _NO_SECRET_OPTION.search(option)


def _masked_setting(match: re.Match[str]) -> str:
    return f"{match['head']}{MASK}" if _takes_secret(match["option"] or match["variable"]) else match[0]
