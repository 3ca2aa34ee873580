"""The keys that say what runs: image, build, command, environment, user."""

import re
import shlex

from minikube.errors import UsageError
from minikube.importers.compose.draft import ServiceDraft
from minikube.importers.compose.variables import split_outside
from minikube.importers.result import Span
from minikube.importers.source import read_source
from minikube.importers.yaml_nodes import Entry, Items, Node, Scalar, Table, is_nothing

_ENV_NAME = re.compile(r"[^=\s]+")
_REFERENCE = re.compile(r"\$\$|\$\{")

_OTHER_FORM = re.compile(
    r"True|TRUE|False|FALSE|[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].*)?"
    r"|[-+]?0([xob][0-9a-fA-F_]+|[0-9_]+)|\+[0-9.]+|[-+]?[0-9]+_[0-9_]*|[-+]?[0-9]{20,}"
    r"|[-+]?([0-9]+\.[0-9]*0|[0-9]*\.|\.[0-9]+|[0-9]{7,}\.[0-9]+|0\.0000[0-9]*|[0-9.]+[eE][-+]?[0-9]+)"
)
"""Plain values that Compose does not pass on as they are written: 0755, 1.10, 1e3, 2024-01-02, True."""

BUILD_REFUSED = {
    "dockerfile_inline": "a build needs a file — write it into a Dockerfile",
    "secrets": "builds get no secrets — build the image yourself, and name it as image",
    "ssh": "builds get no SSH agent — build the image yourself, and name it as image",
    "additional_contexts": "a build has one context — build the image yourself, and name it as image",
    "cache_from": "the engine's own cache is used",
    "cache_to": "the engine's own cache is used",
    "no_cache": "use `minikube build --no-cache`",
    "pull": "use `minikube build`, and the engine's own pull",
    "tags": "a built image has one name",
    "platforms": "builds are for this machine",
    "network": "builds have the engine's default network",
    "labels": "built images get no labels",
    "shm_size": "builds have the engine's default",
}


def read_image(draft: ServiceDraft, entry: Entry) -> None:
    """Read `image`. Beside `build` it is the name of the built image, as in Compose."""
    if (text := draft.text(entry.value, "image", "image")) is not None:
        if text:
            draft.out["image"] = text
        else:
            draft.refuse(entry.span, "image", "expected the name of an image")


def read_build(draft: ServiceDraft, entry: Entry) -> None:
    """Read `build`, a table after `normalize_service`."""
    entries = draft.entries(entry, "build")
    if not entries:
        return
    build: dict[str, object] = {}
    span = entries["context"].span if "context" in entries else entry.span
    context = draft.text(entries["context"].value, "build.context", "build") if "context" in entries else "."
    if context is None:
        return
    if re.match(r"[a-z+]+://|git@|[^./]+\.[a-z]+/.*\.git", context) or not context:
        draft.refuse(
            span, "build.context", "only directories are built — build the image yourself, and name it as image"
        )
        return
    build["context"] = draft.file_path(context, span, "build", "build")
    for key in ("dockerfile", "target"):
        if key in entries and (text := draft.text(entries[key].value, f"build.{key}", "build", key)):
            build[key] = text
    if "args" in entries:
        args = {}
        for name, item in draft.entries(entries["args"], "build.args").items():
            if (
                value := _variable(draft, f"build.args.{name}", name, item, ("build", "args", name), later=False)
            ) is not None:
                args[name] = value
        if args:
            build["args"] = args
    draft.refuse_unknown(entries, "build", ("context", "dockerfile", "target", "args"), BUILD_REFUSED)
    draft.out["build"] = build["context"] if len(build) == 1 else build


def read_command(draft: ServiceDraft, entry: Entry) -> None:
    """Read `command`: a list, or a string that is split into words. Nothing is the image's own."""
    if command := command_value(draft, entry, "command"):
        draft.out["command"] = command


def read_entrypoint(draft: ServiceDraft, entry: Entry) -> None:
    """Read `entrypoint`. An empty one removes the image's, and nothing is the image's own."""
    if (command := command_value(draft, entry, "entrypoint")) is not None:
        draft.out["entrypoint"] = command


def command_value(draft: ServiceDraft, entry: Entry, key: str) -> str | list[str] | None:
    """Return a command as the manifest has it; empty for an empty one, None for nothing or after a note."""
    node = entry.value
    if not isinstance(node, Scalar):
        words = draft.texts(node, key, key, later=True)
        if words and not words[0]:
            draft.refuse(entry.span, key, "expected a command, got an empty string")
            return None
        return words
    if node.value is None:
        return None
    text = draft.text(node, key, key, later=True)
    if text is None:
        return None
    text = text.strip()
    if (end := _operator(text)) >= 0:
        operator = text[end : end + 1 + (text[end] * 2 == text[end : end + 2])]
        note = (
            f"Compose runs only what stands before `{operator}`, so the rest is left out — write shell to run all of it"
        )
        draft.inexact(entry.span, key, note, key)
        text = text[:end].strip()
    try:
        words = shlex.split(text)
    except ValueError as error:
        draft.refuse(entry.span, key, f"cannot be split into words: {str(error).lower()}")
        return None
    if words and not words[0]:
        draft.refuse(entry.span, key, "expected a command, got an empty string")
        return None
    # Words after a line break, or with a variable that may hold several words, are split as here only in a string.
    return text if words and ("\n" not in text or _has_variable(text)) and not _is_script(words) else words


def _operator(text: str) -> int:
    """Return the index of the first character of a command line that only a shell understands; -1 where there is none."""
    quote, at = "", 0
    while at < len(text):
        character = text[at]
        if character == "\\" and quote != "'":
            at += 1
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif not quote and text.startswith("${", at):
            at = max(at, text.find("}", at))
        elif not quote and character in ";&|<>":
            return at
        at += 1
    return -1


def _is_script(words: list[str]) -> bool:
    """Return whether the words are a shell with its lines, which read better as a word of a list."""
    return len(words) == 3 and re.fullmatch(r"(/bin/)?(ba|a|z)?sh", words[0]) is not None and words[1].startswith("-")


def _has_variable(text: str) -> bool:
    return any(match[0] == "${" for match in _REFERENCE.finditer(text))


def read_environment(draft: ServiceDraft, entry: Entry) -> None:
    """Read `environment`, a table after `normalize_service`."""
    env: dict[str, str] = {}
    for name, item in draft.entries(entry, "environment").items():
        if not _ENV_NAME.fullmatch(name):
            draft.refuse(item.span, "environment", "expected the name of a variable, without spaces")
        elif (value := _variable(draft, f"environment.{name}", name, item, ("env", name), later=True)) is not None:
            env[name] = value
    if env:
        draft.out["env"] = env


def _variable(
    draft: ServiceDraft, key: str, name: str, item: Entry, path: tuple[str, ...], *, later: bool
) -> str | None:
    """Return the value of a variable; one without a value is passed on from the environment."""
    if is_nothing(item.value):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            draft.refuse(item.span, key, "has no value, and no variable of the environment can have its name")
            return None
        if name == "REDIS_URL" and name in draft.project.dotenv and later:
            return None  # .env hands it on by itself
        if draft.text(Scalar(item.span, "", f"${{{name}-}}", False), key, *path, later=later) == f"${{{name}-}}":
            draft.inexact(item.span, key, "is empty, not missing, where the environment does not have it", *path)
            return f"${{{name}-}}"
        return None
    if isinstance(item.value, Scalar) and item.value.plain and _OTHER_FORM.fullmatch(item.value.text):
        note = "is taken as it is written; Compose passes on another form of such a value — quote it there"
        draft.inexact(item.span, key, note, *path)
    return draft.text(item.value, key, *path, later=later)


def read_env_file(draft: ServiceDraft, entry: Entry) -> None:
    """Read `env_file`: paths, or tables with a path."""
    files: list[str | dict[str, object]] = []
    for item in _items(entry.value):
        optional = False
        node: Node | None = item
        if isinstance(item, Table):
            node = item.get("path")
            required = item.entries.get("required")
            optional = required is not None and not draft.flag(required, "env_file.required")
            rest = {name: value for name, value in item.entries.items() if name not in ("path", "required")}
            for name, value in rest.items():
                draft.inexact(
                    value.span, f"env_file.{name}", "the file is read in the usual form", "env_file", len(files)
                )
        text = draft.text(node, "env_file") if node else None
        if not text:
            continue
        path = draft.file_path(text, item.span, "env_file", "env_file", len(files))
        _check_env_file(draft, text, item.span, len(files))
        files.append({"path": path, "required": False} if optional else path)
    if files:
        draft.out["env_file"] = files[0] if len(files) == 1 and isinstance(files[0], str) else files


def _check_env_file(draft: ServiceDraft, path: str, span: Span, index: int) -> None:
    """Note a file whose values refer to variables: Compose fills them in, a manifest takes them as they are."""
    try:
        text = read_source(draft.project.directory_of(span) / path)
    except UsageError:
        return
    if re.search(r"^[^#'\n=]*=[^#'\n]*?\$\{?[A-Za-z_]", text, re.MULTILINE):
        draft.inexact(
            span, "env_file", "variables in its values are not filled in — write the values", "env_file", index
        )


def _items(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Items):
        return tuple(node.items)
    return () if is_nothing(node) else (node,)


def read_working_dir(draft: ServiceDraft, entry: Entry) -> None:
    """Read `working_dir`, a directory in the container."""
    text = draft.text(entry.value, "working_dir", "cwd")
    if text is None:
        return
    if text.startswith(("/", "${")):
        draft.out["cwd"] = text
    else:
        draft.refuse(entry.span, "working_dir", "expected an absolute path — write the whole path as cwd")


def read_user(draft: ServiceDraft, entry: Entry) -> None:
    """Read `user`: `user`, or `user:group`."""
    text = draft.text(entry.value, "user", "user")
    if not text:
        return
    user, *rest = split_outside(text, ":")
    if user:
        draft.out["user"] = user
    if group := ":".join(rest):
        draft.out["group"] = group


def read_init(draft: ServiceDraft, entry: Entry) -> None:
    """Read `init`."""
    if draft.flag(entry, "init"):
        draft.out["init"] = True


def read_pull_policy(draft: ServiceDraft, entry: Entry) -> None:
    """Read `pull_policy`."""
    text = draft.text(entry.value, "pull_policy", "pull")
    if text in ("always", "never"):
        draft.out["pull"] = text
    elif text == "build":
        draft.inexact(
            entry.span, "pull_policy", "is built where it is missing — `up --build` builds it each time", "build"
        )
    elif text and text not in ("missing", "if_not_present"):
        draft.refuse(entry.span, "pull_policy", "is `missing` here — pull the image yourself")
