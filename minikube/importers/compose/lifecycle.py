"""The keys that say when a service starts, whether it is well, and how it ends."""

import re
from collections.abc import Mapping

from minikube.importers.compose import values
from minikube.importers.compose.draft import ServiceDraft
from minikube.importers.compose.run import command_value
from minikube.importers.result import Span
from minikube.importers.yaml_nodes import Entry, Items, Node, Scalar, Table
from minikube.manifest.values import parse_signal

CONDITIONS = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "completed",
}

CHECK_DEFAULTS = {"interval": "30s", "timeout": "30s", "failures": 3, "timeouts": 3}
"""Those of Compose; a manifest's own are shorter."""

MOST = 1_000_000


# ---------------------------------------------------------------- dependencies


def read_depends_on(draft: ServiceDraft, entry: Entry) -> None:
    """Read `depends_on`, a table after `normalize_service`; a name alone means started."""
    for name, item in draft.entries(entry, "depends_on").items():
        key = f"depends_on.{name}"
        settings = draft.entries(item, key)
        needed = _needed(draft, name, item, key)
        if needed is None:
            continue
        condition = "started"
        if "condition" in settings:
            text = draft.text(settings["condition"].value, f"{key}.condition")
            if text not in CONDITIONS:
                draft.refuse(
                    settings["condition"].span, f"{key}.condition", f"expected {', '.join(CONDITIONS)}; it is started"
                )
            condition = CONDITIONS.get(text or "", "started")
        if condition == "healthy" and name not in draft.names.checked:
            note = f"{needed} has no healthcheck in this file, and an image's own is not used — add services.{needed}.health"
            draft.inexact(item.span, key, note, "depends_on", needed)
            condition = "started"
        if "restart" in settings and draft.flag(settings["restart"], f"{key}.restart"):
            note = f"is not restarted with {needed} — `minikube restart` both"
            draft.inexact(settings["restart"].span, f"{key}.restart", note, "depends_on", needed)
        optional = "required" in settings and not draft.flag(settings["required"], f"{key}.required")
        draft.refuse_unknown(settings, key, ("condition", "restart", "required"))
        depends_on = draft.out.setdefault("depends_on", {})
        depends_on[needed] = {"condition": condition, "required": False} if optional else condition


def _needed(draft: ServiceDraft, name: str, item: Entry, key: str) -> str | None:
    needed = draft.names.services.get(name)
    if needed is None:
        draft.refuse(item.span, key, "there is no such service in this file")
    elif needed == draft.name:
        draft.refuse(item.span, key, "a service cannot wait for itself")
        return None
    return needed


def read_links(draft: ServiceDraft, entry: Entry) -> None:
    """Read `links`: what is linked starts first. All names are found without them; `link_aliases` has other names."""
    for item in entry.value.items if isinstance(entry.value, Items) else ():
        text = draft.text(item, "links")
        if not text:
            continue
        if (needed := _needed(draft, text.partition(":")[0], Entry(item.span, item), "links")) is not None:
            draft.out.setdefault("depends_on", {}).setdefault(needed, "started")


def link_aliases(services: Mapping[str, Table]) -> dict[str, list[tuple[str, Span]]]:
    """Return, by the name of a service, the other names that `links` give it."""
    found: dict[str, list[tuple[str, Span]]] = {}
    for table in services.values():
        links = table.get("links")
        for item in links.items if isinstance(links, Items) else ():
            name, _, alias = item.text.partition(":") if isinstance(item, Scalar) else ("", "", "")
            if alias and alias != name:
                found.setdefault(name, []).append((alias, item.span))
    return found


# ---------------------------------------------------------------- health


def read_healthcheck(draft: ServiceDraft, entry: Entry) -> None:
    """Read `healthcheck`; its defaults are written out, as a manifest's are shorter. None at all, or disabled: no check."""
    settings = draft.entries(entry, "healthcheck")
    if not is_checked(entry):
        if settings and "test" not in settings and "disable" not in settings:
            draft.refuse(
                entry.span, "healthcheck", "has no test: an image's own is not used — add health with a command"
            )
        return
    command = _test(draft, settings["test"])
    if not command:
        return
    health: dict[str, object] = {**command, **CHECK_DEFAULTS}
    for key in ("interval", "timeout", "start_period"):
        text = duration(draft, settings[key], f"healthcheck.{key}", "health", key) if key in settings else None
        if text and (key == "start_period" or _is_positive(text)):
            health[key] = text
    if "retries" in settings:
        number = draft.number(settings["retries"].value, "healthcheck.retries", 0, MOST)
        if number:
            health |= {"failures": number, "timeouts": number}
    if "start_interval" in settings:
        note = "checks before the first pass come after 0.25s, then each second"
        draft.inexact(settings["start_interval"].span, "healthcheck.start_interval", note, "health")
    known = ("test", "interval", "timeout", "start_period", "retries", "start_interval", "disable")
    draft.refuse_unknown(settings, "healthcheck", known)
    draft.out["health"] = health


def _is_positive(text: str) -> bool:
    """Return whether a duration is no zero, for which Compose takes its default."""
    return "$" in text or re.search(r"[1-9]", text) is not None


def is_checked(entry: Entry | None) -> bool:
    """Return whether a `healthcheck` has a test and is not disabled."""
    table = entry.value if entry else None
    if not isinstance(table, Table):
        return False
    disable, test = table.get("disable"), table.get("test")
    if isinstance(disable, Scalar) and disable.value is True:
        return False
    words = [item.text for item in test.items if isinstance(item, Scalar)] if isinstance(test, Items) else []
    if isinstance(test, Scalar):
        return bool(test.text.strip()) and test.value is not None and test.text.strip() != "NONE"
    return len(words) > 1 and words[0] in ("CMD", "CMD-SHELL") and bool(words[1].strip())


def _test(draft: ServiceDraft, entry: Entry) -> dict[str, object]:
    """Return the manifest's `command` or `shell` of a test; empty after a note."""
    key = "healthcheck.test"
    if isinstance(entry.value, Scalar):
        text = draft.text(entry.value, key, "health", "shell", later=True)
        return {"shell": text} if text else {}
    words = draft.texts(entry.value, key, "health", "command", later=True)
    if not words:
        return {}
    if words[0] == "CMD-SHELL":
        if len(words) > 2:
            draft.refuse(entry.span, key, "expected one string after CMD-SHELL")
            return {}
        return {"shell": words[1]}
    return {"command": words[1:]}


# ---------------------------------------------------------------- restarts and stops


def read_restart(draft: ServiceDraft, entry: Entry) -> None:
    """Read `restart`. Without it, Compose never restarts: see `finish_restart`."""
    text = draft.text(entry.value, "restart", "restart")
    if text is None:
        return
    policy, _, most = text.partition(":")
    if policy in ("always", "unless-stopped"):
        draft.out["restart"] = "always"
    elif policy == "on-failure":
        _restart_on_failure(draft, entry.value, "restart", most)
    elif policy in ("no", "false", "never"):
        draft.out["restart"] = "never"
    elif "${" in policy:
        draft.out["restart"] = text
        note = 'the variable must be "always", "on-failure" or "never" here'
        draft.inexact(entry.span, "restart", note, "restart")
    else:
        draft.refuse(entry.span, "restart", "expected no, always, unless-stopped or on-failure")


def _restart_on_failure(draft: ServiceDraft, node: Node, key: str, most: str) -> None:
    draft.out["restart"] = "on-failure"
    if not most or most == "0":
        return
    if not (most.isascii() and most.isdigit() and int(most[:9]) <= MOST and len(most) < 9):
        draft.refuse(node.span, key, "expected a number after on-failure:")
        return
    # Compose counts without a window; ten years are the longest that a manifest has.
    draft.out["restart"] = {"policy": "on-failure", "limit": int(most), "max_restarts": int(most), "window": "3650d"}


def read_restart_policy(draft: ServiceDraft, entry: Entry) -> None:
    """Read `deploy.restart_policy`, which holds where there is no `restart`."""
    settings = draft.entries(entry, "deploy.restart_policy")
    if draft.has("restart"):
        return
    condition = (
        draft.text(settings["condition"].value, "deploy.restart_policy.condition") if "condition" in settings else "any"
    )
    most = (
        draft.number(settings["max_attempts"].value, "deploy.restart_policy.max_attempts", 0, MOST)
        if "max_attempts" in settings
        else 0
    )
    if condition == "on-failure":
        _restart_on_failure(draft, entry.value, "deploy.restart_policy", str(most or ""))
    elif condition in ("any", "none"):
        draft.out["restart"] = "always" if condition == "any" else "never"
    elif condition is not None:
        draft.refuse(entry.span, "deploy.restart_policy.condition", "expected none, on-failure or any")
    draft.refuse_unknown(
        settings,
        "deploy.restart_policy",
        ("condition", "max_attempts"),
        {
            "delay": "restarts are delayed as `restart.delay` says",
            "window": "`restart.reset_after` decides",
        },
    )


def finish_restart(draft: ServiceDraft) -> None:
    """Write out the default of Compose, which is not the manifest's."""
    draft.out.setdefault("restart", "never")


def read_stop_signal(draft: ServiceDraft, entry: Entry) -> None:
    """Read `stop_signal`."""
    text = draft.text(entry.value, "stop_signal", "stop", "signal")
    if text is None:
        return
    try:
        signal = text if "${" in text else parse_signal(text)
    except ValueError:
        draft.refuse(entry.span, "stop_signal", "is no signal that a manifest knows, such as TERM or QUIT")
        return
    if signal != "TERM":
        draft.out.setdefault("stop", {})["signal"] = signal


def read_stop_grace_period(draft: ServiceDraft, entry: Entry) -> None:
    """Read `stop_grace_period`; both have 10s as the default."""
    if text := duration(draft, entry, "stop_grace_period", "stop", "timeout"):
        draft.out.setdefault("stop", {})["timeout"] = text


def read_pre_stop(draft: ServiceDraft, entry: Entry) -> None:
    """Read `pre_stop`: the first command becomes `stop.command`."""
    items = entry.value.items if isinstance(entry.value, Items) else ()
    for index, item in enumerate(items):
        command = item.entries.get("command") if isinstance(item, Table) else None
        if index or command is None:
            draft.refuse(item.span, "pre_stop", "a stop has one command — write them into stop.shell")
        elif found := command_value(draft, command, "pre_stop.command"):
            draft.out.setdefault("stop", {})["command"] = found
            if isinstance(item, Table):
                draft.refuse_unknown(item.entries, "pre_stop", ("command",))


def duration(draft: ServiceDraft, entry: Entry, key: str, *path: str) -> str | None:
    """Return a duration in the manifest's form; None after a note."""
    text = draft.text(entry.value, key, *path)
    if text is None:
        return None
    try:
        return values.duration(text)
    except ValueError:
        draft.refuse(entry.span, key, "expected a duration such as 30s or 1m30s")
        return None


# ---------------------------------------------------------------- logs, profiles, development


def read_logging(draft: ServiceDraft, entry: Entry) -> None:
    """Read `logging`: the sizes of the drivers that write files. Output goes to the manifest's own logs."""
    settings = draft.entries(entry, "logging")
    driver = draft.text(settings["driver"].value, "logging.driver") if "driver" in settings else "json-file"
    options = draft.entries(settings["options"], "logging.options") if "options" in settings else {}
    if driver not in ("json-file", "local"):
        reason = "minikube keeps the output itself — `minikube logs` shows it, .minikube/logs has the files"
        draft.refuse(entry.span, "logging", reason)
        return
    logs: dict[str, object] = {}
    if "max-size" in options and (
        text := size(draft, options["max-size"], "logging.options.max-size", "logs", "max_size")
    ):
        logs["max_size"] = text
    if "max-file" in options:
        number = draft.number(options["max-file"].value, "logging.options.max-file", 1, 1000)
        if isinstance(number, int):
            logs["keep"] = number - 1  # Compose counts the file that is written, too
        elif number:
            draft.refuse(options["max-file"].span, "logging.options.max-file", "write a number as logs.keep")
    draft.refuse_unknown(options, "logging.options", ("max-size", "max-file"))
    if logs:
        draft.out["logs"] = logs


def size(draft: ServiceDraft, entry: Entry, key: str, *path: str) -> str | None:
    """Return a size in the manifest's form; None after a note."""
    text = draft.text(entry.value, key, *path)
    if text is None:
        return None
    try:
        return values.size(text)
    except ValueError:
        draft.refuse(entry.span, key, "expected a size such as 512m")
        return None


def read_profiles(draft: ServiceDraft, entry: Entry) -> None:
    """Read `profiles`."""
    if names := draft.texts(entry.value, "profiles", "profiles"):
        draft.out["profiles"] = [name for name in names if name]


def read_develop(draft: ServiceDraft, entry: Entry) -> None:
    """Read `develop.watch`: paths that build again become `watch`; files are not copied into a running container."""
    settings = draft.entries(entry, "develop")
    draft.refuse_unknown(settings, "develop", ("watch",))
    rules = settings["watch"].value if "watch" in settings else None
    for rule in rules.items if isinstance(rules, Items) else ():
        table = rule.entries if isinstance(rule, Table) else {}
        action = table["action"].value if "action" in table else None
        path = table["path"].value if "path" in table else None
        if not isinstance(action, Scalar) or action.text not in ("rebuild", "restart") or path is None:
            reason = "files are not copied into a container — mount the directory in volumes, or build again with watch"
            draft.refuse(rule.span, "develop.watch", reason)
            continue
        if not (text := draft.text(path, "develop.watch.path", "watch")):
            continue
        watched = draft.file_path(text, rule.span).removeprefix("./").rstrip("/")
        if not watched or watched in (".", "..") or set(watched) & set("\\[]!*?"):
            draft.refuse(rule.span, "develop.watch.path", "cannot be watched — name files or directories in watch")
            continue
        draft.out.setdefault("watch", []).append(watched)
        for pattern in draft.texts(table["ignore"].value, "develop.watch.ignore") or () if "ignore" in table else ():
            draft.out["watch"].append(f"!{watched}/{pattern.removeprefix('./').strip('/')}")
