"""The words of `engine_args`: options for the engine's `create`, without those that the supervisor needs for itself. Pure.

An engine has hundreds of options, and each release adds some: only those are known here that are refused, and those that take
no value, because a word after them would be taken for the image.
"""

from collections.abc import Iterator, Sequence

from minikube.defaults import CONTAINER_LABEL
from minikube.manifest.keys.volumes import parse_volume

OWN = "which the supervisor sets itself"
LABEL_PREFIX = f"{CONTAINER_LABEL}."

REFUSED = {
    **dict.fromkeys(("name", "cidfile", "rm", "detach", "attach", "interactive", "replace", "help"), OWN),
    "restart": "set restart in its place",
    "pull": "set pull in its place",
    **dict.fromkeys(("network", "net"), "set network in its place"),
    "entrypoint": "set entrypoint in its place",
    # Every user of the machine can read a command line.
    **dict.fromkeys(("env", "env-file"), "set env or env_file in its place, which put no value on a command line"),
    **dict.fromkeys(
        ("no-healthcheck", *(f"health-{key}" for key in ("cmd", "interval", "retries", "timeout", "start-period"))),
        "set health in its place",
    ),
    **dict.fromkeys(("publish", "publish-all"), "set port or ports in its place"),
    "add-host": "set extra_hosts in its place",
    "init": "set init in its place",
    "user": "set user in its place",
    "workdir": "set cwd in its place",
    "memory": "set limits.memory in its place",
    "cpus": "set limits.cpus in its place",
    "pids-limit": "set limits.pids in its place",
}
"""Options that `engine_args` must not have, each with the reason: the supervisor needs its own, or another key has them."""

LETTERS = {
    "a": "attach",
    "c": "cpu-shares",
    "d": "detach",
    "e": "env",
    "h": "hostname",
    "i": "interactive",
    "l": "label",
    "m": "memory",
    "p": "publish",
    "P": "publish-all",
    "q": "quiet",
    "t": "tty",
    "u": "user",
    "v": "volume",
    "w": "workdir",
}

WITHOUT_VALUE = frozenset(
    {
        *("attach", "detach", "disable-content-trust", "env-host", "help", "http-proxy", "init", "interactive"),
        *("no-healthcheck", "no-hosts", "oom-kill-disable", "privileged", "publish-all", "quiet", "read-only"),
        *("read-only-tmpfs", "replace", "rm", "tls-verify", "tty"),
    }
)
"""Options that take no value in the word after them. `attach` has one, and is refused."""


def find_problems(words: Sequence[str]) -> list[tuple[int, str]]:
    """Return the index of each word that must not be there, and what was expected in its place."""
    found: list[tuple[int, str]] = []
    may_be_value = False
    """Whether the word before is an option that may take this one as its value."""
    for index, word in enumerate(words):
        if not word.startswith("-") or word == "-":
            if not may_be_value:
                text = f'expected an option that begins with -, got "{word}", which would be taken for the image'
                found.append((index, text))
            may_be_value = False
            continue
        if word == "--":
            return [*found, (index, "expected no --, after which words would be taken for the image")]
        for shown, name, value in _options(word):
            may_be_value = value is None and name not in WITHOUT_VALUE
            if may_be_value and index + 1 < len(words):
                value = words[index + 1]
            if text := _refuse(shown, name, value or ""):
                found.append((index, text))
                break
    return found


def _refuse(shown: str, name: str, value: str) -> str:
    """Return what was expected in place of an option; empty where it may be there."""
    if name in REFUSED:
        reason = REFUSED[name]
        return f"expected no {shown}, {reason}" if reason == OWN else f"expected no {shown} — {reason}"
    if name == "label" and value.startswith(LABEL_PREFIX):
        return f"expected no label {LABEL_PREFIX}…, {OWN}"
    if name == "volume" and _has_key(value):
        return f"expected no {shown} with a path — set volumes in its place"
    return ""


def _has_key(volume: str) -> bool:
    """Return whether the key `volumes` can say the value of `--volume`.

    It cannot for a volume's name, which is that at the engine here and one of the project there, or for other options.
    """
    try:
        parsed = parse_volume(volume)
    except ValueError:
        return False
    return parsed.is_path or not parsed.source


def _options(word: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield each option in a word: as it is written, its long name, and its value, None where the word has none.

    A word such as `-itv` has several options.
    """
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        yield f"--{name}", name, value if equals else None
        return
    for at, letter in enumerate(word[1:], 2):
        name, rest = LETTERS.get(letter, letter), word[at:]
        if name not in WITHOUT_VALUE or rest.startswith("="):
            yield f"-{letter}", name, rest.removeprefix("=") or None
            return
        yield f"-{letter}", name, None
