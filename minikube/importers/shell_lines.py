"""A line for a shell as the keys of a service: `command` where no shell is needed, else `shell`. Pure.

The texts are in the manifest's form: `${VAR}` is filled in by minikube, `$VAR` by the shell, `$$` is a dollar. `from_shell` makes
such a text from one that a shell reads whole. A line of several commands goes on after one that fails, as in the shells of other
tools: `sh -e`, which runs `shell`, is told so by `set +e`.
"""

import re
import shlex
from typing import Any

from minikube.manifest.keys.commands import find_shell_syntax

_QUOTED = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_REFERENCE = re.compile(r"\$\{[^{}]*\}")
_PATTERNS = re.compile(r"[*?()\[\]{}!]|(?:^|(?<=[\s=:]))~|(?:^|(?<=\s))#")
"""Characters that a shell expands or reads as syntax, and `find_shell_syntax` takes as they are."""

_EXPANSION = re.compile(r"\$[A-Za-z0-9_(@*#?]|`")
"""What a shell expands, in double quotes, too; `${…}` is the manifest's."""

_SEQUENCE = re.compile(r"[;\n]|(?<![&>])&(?![&>])")
"""What stands between commands that run whether the one before failed or not."""

_BASH = re.compile(
    r"\[\[|<<<|[<>]\(|&>|\|&|\{[^{}\s]*(,|\.\.)[^{}\s]*\}|(?<!\$)\(\(|\w\+?=\("
    r"|(?:^|[;&|\s])(?:source|shopt|pushd|popd|declare|function|mapfile|readarray|let)\s|pipefail"
)
"""What bash understands outside of quotes, and the plain shell, which is dash on many systems, does not."""

_BASH_VARIABLES = re.compile(r"\$'|\$\{\w+[\^,/@]|\$\{\w+:[0-9 ]|\$\{!|\$(?:RANDOM|BASH|PIPESTATUS)")
"""The same for variables, which may stand in quotes."""

_PORT = re.compile(r"\$(PORT)(?![A-Za-z0-9_])|\$\{PORT(?=\}|:?-)")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=((?:[^\s'\"\\$`]|'[^']*'|\"[^\"\\$`]*\")*)\s+")
_CD = re.compile(r"cd\s+([A-Za-z0-9_./][A-Za-z0-9_./-]*)\s*&&\s*(?=\S)")


def line_keys(text: str, *, bash: bool = False) -> dict[str, Any]:
    """Return the keys that run a line: `command` or `shell`; with them `env` and `cwd`, where the line begins with them.

    `cwd` is relative to the directory in which the line runs. With `bash`, the source's shell is bash, which then gets what it
    alone understands.
    """
    text = _joined(text.strip())
    if bash and (_BASH.search(unquoted(text)) or _BASH_VARIABLES.search(text)):
        return {"command": ["bash", "-c", text]}
    keys = _plain_keys(text)
    return keys if keys is not None else {"shell": going_on(text)}


def needs_shell(text: str) -> bool:
    """Return whether a text has shell syntax, patterns of file names, or quotes that are not closed."""
    if find_shell_syntax(text) is not None or "$$" in text:
        return True
    if _EXPANSION.search(_QUOTED.sub(_without_literal, text)):
        return True
    try:
        shlex.split(text)
    except ValueError:
        return True
    return _PATTERNS.search(unquoted(text)) is not None


def unquoted(text: str) -> str:
    """Return a text without its quoted and escaped parts, and without `${…}`."""
    return _QUOTED.sub("_", _REFERENCE.sub("_", text))


def _without_literal(match: re.Match[str]) -> str:
    return match[0] if match[0][0] == '"' else "_"


def going_on(text: str) -> str:
    """Return lines for `sh -ec` that go on after a command that fails, where there are several commands."""
    if _SEQUENCE.search(unquoted(text)) is None or re.match(r"set [-+][a-z]*e", text):
        return text
    return f"set +e\n{text}" if "\n" in text else f"set +e; {text}"


def from_shell(text: str) -> str:
    """Return a line that a shell reads whole as a text of the manifest.

    PORT alone is filled in by minikube. The values of all other variables are the shell's: put into its line as text, they would
    be read as shell syntax.
    """
    made: list[str] = []
    quote, at = "", 0
    while at < len(text):
        character = text[at]
        if character == "\\" and quote != "'" and at + 1 < len(text):
            made.append(text[at : at + 2])
            at += 2
            continue
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character == "$":
            written, at = _dollar(text, at, quote)
            made.append(written)
            continue
        made.append(character)
        at += 1
    return "".join(made)


def _dollar(text: str, at: int, quote: str) -> tuple[str, int]:
    """Return what the manifest has for the dollar at an index and what belongs to it, and the index after that."""
    if quote != "'" and (match := _PORT.match(text, at)):
        return (f"${{{match[1]}}}", match.end()) if match[1] else (match[0], match.end())
    if text.startswith("$$", at):
        return "$$$$", at + 2
    return ("$${", at + 2) if text.startswith("${", at) else ("$", at + 1)


def _joined(text: str) -> str:
    """Return a text with the lines joined that end in a backslash."""
    if "'" in text:
        return text
    first, *others = text.split("\\\n")
    return " ".join([first.rstrip(" \t") if others else first, *(part.strip(" \t") for part in others)])


def _plain_keys(text: str) -> dict[str, Any] | None:
    """Return the keys of a line without shell syntax, after `cd` and variables at its beginning; None where there is more."""
    keys: dict[str, Any] = {}
    if match := _CD.match(text):
        keys["cwd"] = match[1]
        text = text[match.end() :]
    env: dict[str, str] = {}
    at = 0
    while match := _ASSIGNMENT.match(text, at):
        env[match[1]] = "".join(shlex.split(match[2]))
        at = match.end()
    text = text[at:]
    text = re.sub(r"^exec\s+(?=[^\s\d<>&-])", "", text)
    if not text or needs_shell(text):
        return None
    return keys | ({"env": env} if env else {}) | {"command": text}
