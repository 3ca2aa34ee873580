"""Restarts, stops, logs, profiles, and what is watched for changes."""

from minikube.importers.compose.draft import ServiceDraft
from minikube.importers.compose.run import command_value
from minikube.importers.yaml_nodes import Entry, Items, Node, Scalar, Table
from minikube.manifest.values import parse_signal

MOST_ATTEMPTS = 1_000_000


def read_restart(draft: ServiceDraft, entry: Entry) -> None:
    """Read `restart`. Without it, Compose never restarts: see `finish_restart`."""
    text = draft.text(entry.value, "restart", "restart")
    if text is None or "restart" in draft.out:  # `deploy.restart_policy` wins
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
    if not (most.isascii() and most.isdigit() and int(most[:9]) <= MOST_ATTEMPTS and len(most) < 9):
        draft.refuse(node.span, key, "expected a number after on-failure:")
        return
    restarts = int(most)
    # Compose counts restarts, and `limit` starts in a row. It has no window; ten years are the longest that a manifest has.
    limit = min(restarts + 1, MOST_ATTEMPTS)
    draft.out["restart"] = {"policy": "on-failure", "limit": limit, "max_restarts": restarts, "window": "3650d"}


def read_restart_policy(draft: ServiceDraft, entry: Entry) -> None:
    """Read `deploy.restart_policy`, which wins over `restart`."""
    settings = draft.entries(entry, "deploy.restart_policy")
    condition = (
        draft.text(settings["condition"].value, "deploy.restart_policy.condition") if "condition" in settings else "any"
    )
    most = (
        draft.number(settings["max_attempts"].value, "deploy.restart_policy.max_attempts", 0, MOST_ATTEMPTS)
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
    if text := draft.duration(entry, "stop_grace_period", "stop", "timeout"):
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
        text := draft.size(options["max-size"], "logging.options.max-size", "logs", "max_size")
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
        watched = draft.file_path(text, rule.span, "develop.watch", "watch").removeprefix("./").rstrip("/")
        if not watched or watched in (".", "..") or set(watched) & set("\\[]!*?"):
            draft.refuse(rule.span, "develop.watch.path", "cannot be watched — name files or directories in watch")
            continue
        draft.out.setdefault("watch", []).append(watched)
        for pattern in draft.texts(table["ignore"].value, "develop.watch.ignore") or () if "ignore" in table else ():
            draft.out["watch"].append(f"!{watched}/{pattern.removeprefix('./').strip('/')}")
