"""When a process of process-compose is restarted, stopped, run at a time or by a changed file, and how its log is kept.

Each function takes keys of the process, and returns the keys of the service. Defaults of process-compose are written out.
"""

import re
import signal
from collections.abc import Callable
from typing import Any

from minikube.durations import parse_duration
from minikube.importers.process_compose.text import Texts
from minikube.importers.shell_lines import line_keys
from minikube.importers.table_keys import TableKeys
from minikube.importers.yaml_nodes import Table
from minikube.manifest.values import parse_schedule, parse_watch

TOOL = "process-compose"
NEVER_GIVES_UP = 1_000_000
"""The `restart.limit` of what is started again for ever."""

POLICIES = {"always": "always", "on_failure": "on-failure", "exit_on_failure": "never", "no": "never"}


def restart_keys(process: TableKeys) -> dict[str, Any]:
    """Return `restart` and `on_exit`."""
    keys = process.below("availability", (*process.path, "restart")) or TableKeys(
        Table(process.span(), "", {}), process.notes, process.name("availability"), (*process.path, "restart")
    )
    policy = keys.text("restart") or "no"
    if policy not in POLICIES:
        keys.refuse("restart", "expected always, on_failure, exit_on_failure or no — it is never restarted here")
    restart: dict[str, Any] = {"policy": POLICIES.get(policy, "never")}
    backoff, most = max(keys.integer("backoff_seconds") or 1, 1), max(keys.integer("max_restarts") or 0, 0)
    if restart["policy"] == "never":
        for key in ("backoff_seconds", "max_restarts"):
            keys.refuse(key, "has no meaning, as the process is never restarted")
    else:
        limit = min(most + 1 if most else NEVER_GIVES_UP, NEVER_GIVES_UP)
        restart |= {"delay": f"{backoff}s", "max_delay": f"{backoff}s", "limit": limit}
        if most:
            restart |= {"max_restarts": min(most, NEVER_GIVES_UP), "window": "365d"}
    codes = [int(code) for code in process.strings("success_exit_codes") or () if re.fullmatch(r"[0-9]{1,3}", code)]
    if codes := sorted({code for code in codes if code <= 255} - {0}):
        restart["success"] = [0, *codes]
    made: dict[str, Any] = {"restart": restart["policy"] if len(restart) == 1 else restart}
    if policy == "exit_on_failure":
        made["on_exit"] = "stop-all-on-failure"
    if keys.boolean("exit_on_end"):
        made["on_exit"] = "stop-all"
    if keys.boolean("exit_on_skipped"):
        keys.refuse("exit_on_skipped", 'write on_exit = "stop-all-on-failure" in the services that it depends on')
    keys.finish(TOOL)
    return made


def stop_keys(process: TableKeys, texts: Texts, *, bash: bool) -> dict[str, Any]:
    """Return `stop`. Raises TemplateError."""
    keys = process.below("shutdown", (*process.path, "stop"))
    if keys is None:
        return {}
    stop: dict[str, Any] = {}
    number = keys.integer("signal")
    if number is not None:
        try:
            stop["signal"] = signal.Signals(number).name.removeprefix("SIG")
        except ValueError:
            keys.refuse("signal", "is no signal: TERM is sent")
    if (command := (keys.text("command") or "").strip()) and (text := texts.convert(command, for_shell=True)):
        ran = line_keys(text, bash=bash)
        stop |= ran if ran.keys() <= {"command", "shell"} else {"shell": text}
        keys.inexact("command", next(key for key in ("command", "shell") if key in stop), "the signal is sent after it")
    timeout = keys.integer("timeout_seconds")
    if timeout is not None and timeout > 0:
        stop["timeout"] = f"{timeout}s"
    if keys.boolean("parent_only"):
        keys.inexact("parent_only", "", "the signal is always sent to all processes of the service")
    keys.refuse("send_keys", "no keys are sent — the signal ends it")
    keys.finish(TOOL)
    return {"stop": stop} if stop else {}


def schedule_keys(process: TableKeys) -> dict[str, Any]:
    """Return `schedule`."""
    keys = process.below("schedule", (*process.path, "schedule"))
    if keys is None:
        return {}
    made: dict[str, Any] = {}
    cron, interval = keys.text("cron"), keys.text("interval")
    try:
        if cron:
            made["schedule"] = parse_schedule(cron)
        elif interval:
            made["schedule"] = parse_schedule(f"every {parse_duration(interval):g}s")
    except ValueError as error:
        keys.refuse("cron" if cron else "interval", str(error))
    if keys.boolean("run_on_start"):
        keys.inexact("run_on_start", "", "the first run is at its time — `minikube start NAME` runs it at once")
    keys.refuse("timezone", "times are those of this machine")
    if (keys.integer("max_concurrent") or 1) > 1:
        keys.inexact("max_concurrent", "", "it never runs twice at a time")
    keys.finish(TOOL)
    return made


def watch_keys(process: TableKeys, locate: Callable[[str], str]) -> dict[str, Any]:
    """Return `watch`. `locate` makes a path of the process one of the manifest."""
    keys = process.below("watch", (*process.path, "watch"))
    if keys is None:
        return {}
    patterns: list[str] = []
    items = keys.items("paths")
    for index, item in enumerate(items.items if items else ()):
        if isinstance(item, Table):
            patterns += _watched(TableKeys(item, keys.notes, f"{keys.name('paths')}[{index}]", keys.path), locate)
    reasons = dict.fromkeys(("max_entries", "buffer_size", "debounce"), "there is no such setting")
    keys.refuse_all(reasons | {"cascade": "services that depend on it are not restarted with it"})
    keys.refuse("disable_default_excludes", "what the project's .gitignore leaves out is left out")
    keys.finish(TOOL)
    return {"watch": patterns} if patterns else {}


def _watched(table: TableKeys, locate: Callable[[str], str]) -> list[str]:
    """Return the patterns of one watched path."""
    path = locate(table.text("path") or ".").rstrip("/") or "/"
    includes, excludes = table.strings("include") or [], table.strings("exclude") or []
    below = [f"{path}/{word if '/' in word else f'**/{word}'}" for word in includes] or [path]
    table.finish(TOOL)
    good: list[str] = []
    for pattern in [*below, *(f"!{path}/{word if '/' in word else f'**/{word}'}" for word in excludes)]:
        try:
            good.append(parse_watch(pattern))
        except ValueError as error:
            table.refuse("path", str(error))
    return good


def log_keys(process: TableKeys) -> dict[str, Any]:
    """Return `logs`, from the rotation of `log_configuration`."""
    keys = process.below("log_configuration", (*process.path, "logs"))
    if keys is None:
        return {}
    made: dict[str, Any] = {}
    if rotation := keys.below("rotation", keys.path):
        if (size := rotation.integer("max_size_mb")) and 0 < size < 1_000_000:
            made["max_size"] = f"{size}M"
        if (backups := rotation.integer("max_backups")) and 0 < backups <= 1000:
            made["keep"] = backups
        if (days := rotation.integer("max_age_days")) and days > 0:
            made["max_age"] = f"{min(days, 3650)}d"
        own = "each service has its log in .minikube/logs"
        rotation.refuse_all({"directory": own, "filename": own, "compress": "older files are not compressed"})
        rotation.finish(TOOL)
    for key in keys.keys:
        if key != "rotation":
            keys.refuse(key, "each line has its time and stream; `minikube logs` chooses what it shows")
    return {"logs": made} if made else {}
