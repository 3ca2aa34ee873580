"""The script of an app of pm2 as a command: its interpreter, by its name or content, and its arguments."""

import os
import shlex
from pathlib import Path
from typing import Any

from minikube.importers.manifest_text import literal
from minikube.importers.shell_lines import from_shell, line_keys
from minikube.importers.table_keys import TableKeys
from minikube.importers.yaml_nodes import Scalar

INTERPRETERS = {
    ".sh": "bash",
    ".py": "python",
    ".rb": "ruby",
    ".php": "php",
    ".pl": "perl",
    ".coffee": "coffee",
    ".ls": "lsc",
    ".ts": "bun",
    ".tsx": "bun",
    **dict.fromkeys((".js", ".cjs", ".mjs"), "node"),
}
"""By the end of a script's name, what pm2 runs it with."""


def script_keys(keys: TableKeys, directory: Path) -> dict[str, Any]:
    """Return `command` or `shell` of an app that runs in `directory`, with what belongs to it."""
    script = (keys.text("script") or "").strip()
    if " " in script:  # pm2 hands it to bash
        keys.refuse("args", "script is a line for a shell, which pm2 runs without args")
        for key in ("exec_interpreter", "node_args"):
            keys.refuse(key, "script is a line for a shell")
        return line_keys(from_shell(script), bash=True)
    interpreter = _interpreter(keys, script, directory)
    if interpreter:
        words = [*_split(interpreter), *_words(keys, "node_args"), script]
    else:
        keys.refuse("node_args", "there is no interpreter")
        words = [_program(script, directory)]
    return {"command": [literal(word) for word in (*words, *_words(keys, "args"))]}


def _words(keys: TableKeys, key: str) -> list[str]:
    """Take a key with a list of words, or a string that is split into words."""
    entry = keys.entry(key)
    if entry is not None and isinstance(entry.value, Scalar):
        return _split(entry.value.text)
    return keys.strings(key) or []


def _interpreter(keys: TableKeys, script: str, directory: Path) -> str:
    """Return the program that runs the script; empty where it runs itself."""
    chosen = keys.text("exec_interpreter")
    if chosen == "none":
        return ""
    if chosen and chosen.startswith("node@"):
        keys.inexact("exec_interpreter", "command", f"{chosen} is the node of nvm — here the one on the PATH runs")
        return "node"
    if chosen:
        return chosen
    known = INTERPRETERS.get(Path(script).suffix)
    if known == "bun":
        keys.inexact(
            "script", "command", "pm2 runs TypeScript with bun — write ts-node, tsx or node where that is meant"
        )
    if known:
        return known
    return _interpreter_of_content(script, directory / script)


def _interpreter_of_content(script: str, path: Path) -> str:
    """Return what runs a script without a known ending; empty where it runs itself.

    pm2 takes it for one of node, unless it is a binary. One that names its interpreter is better run with that.
    """
    try:
        if not path.is_file():  # to open a pipe may wait for ever
            raise FileNotFoundError
        with path.open("rb") as file:
            start = file.read(256)
        executable = os.access(path, os.X_OK)
    except (OSError, ValueError):
        return "node" if "node_modules/" in script else ""  # else a program on the PATH
    if not start.startswith(b"#!"):
        return "" if b"\0" in start else "node"
    words = start[2:].split(b"\n")[0].decode(errors="replace").split()
    if any(Path(word).name == "node" for word in words):
        return "node"
    if executable or not words:
        return ""
    if Path(words[0]).name == "env":
        words = [word for word in words[1:] if word != "-S"]
    return shlex.join(words)


def _program(script: str, directory: Path) -> str:
    """Return the script as a program: with a slash where it is a file beside the others, not one on the PATH."""
    try:
        beside = "/" not in script and (directory / script).is_file()
    except (OSError, ValueError):
        beside = False
    return f"./{script}" if beside else script


def _split(text: str) -> list[str]:
    """Return the words of a string; one with a quote that is not closed is split at spaces."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
