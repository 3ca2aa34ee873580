"""The probes of a process of process-compose as `health`, and the port that they name."""

import re
import shlex
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from minikube.importers.manifest_text import port_number
from minikube.importers.process_compose.lifecycle import TOOL
from minikube.importers.process_compose.text import Texts, has_function
from minikube.importers.shell_lines import line_keys
from minikube.importers.table_keys import TableKeys

LOCAL_HOSTS = ("", "127.0.0.1", "localhost", "0.0.0.0", "::1", "[::1]")
_LOG_SYNTAX = re.compile(r"[\\.+*?()|\[\]{}^$]")


class Probing(Struct, frozen=True):
    """What the probes of one process need to know of it."""

    texts: Texts
    restarts: bool
    """Whether the process is started again when its readiness probe gives up."""
    bash: bool
    own_port: Callable[[str], bool]
    """Whether a port that a probe names can be the service's own."""
    working_dir: str


def readiness(keys: TableKeys, probing: Probing) -> dict[str, Any]:
    """Return `health`, and `port` where the probe names the process's own, of `readiness_probe`, `liveness_probe` or a log line."""
    line = keys.text("ready_log_line")
    if line is not None:
        keys.refuse("readiness_probe", "does not go together with ready_log_line")
        keys.refuse("liveness_probe", "one check is made, that of ready_log_line")
        return {"health": {"log": _LOG_SYNTAX.sub(r"\\\g<0>", probing.texts.convert(line))}}
    name = "readiness_probe" if "readiness_probe" in keys else "liveness_probe"
    probe = keys.below(name, (*keys.path, "health"))
    if probe is None:
        return {}
    if name == "readiness_probe":
        keys.refuse("liveness_probe", "concerns daemons only — health.restart_after restarts what fails its check")
    else:
        keys.inexact(name, "health", f"{TOOL} acts on it for daemons only; here it says whether the service is ready")
    for kind in ("http_get", "exec"):  # the one that is not read is known, too
        probe.entry(kind)
    found = _http(keys, probe, probing) if "http_get" in probe else _exec(probe, probing)
    if not found:
        keys.refuse(name, "has neither http_get nor exec that can be taken")
        return {}
    found["health"] |= _timing(probe, probing, restarting=name == "readiness_probe")
    return found


def _timing(probe: TableKeys, probing: Probing, *, restarting: bool) -> dict[str, Any]:
    """Return the thresholds and times, with the defaults of process-compose."""
    failures = max(probe.integer("failure_threshold") or 3, 1)
    times = {
        "interval": f"{max(probe.integer('period_seconds') or 10, 1)}s",
        "timeout": f"{max(probe.integer('timeout_seconds') or 1, 1)}s",
        "failures": failures,
        "timeouts": failures,
        "successes": max(probe.integer("success_threshold") or 1, 1),
        "start_period": f"{max(probe.integer('initial_delay_seconds') or 0, 0)}s",
    }
    if restarting and probing.restarts:
        times["restart_after"] = failures
    elif restarting:
        text = f"{TOOL} stops the process after {failures} failures; here it is no longer found in the registry"
        probe.inexact("failure_threshold", "failures", text)
    probe.finish(TOOL)
    return times


def _exec(probe: TableKeys, probing: Probing) -> dict[str, Any]:
    table = probe.below("exec", probe.path)
    command = table.text("command") if table else None
    if table is None or not command:
        return {}
    text = probing.texts.convert(command, for_shell=True)
    working_dir = table.text("working_dir")
    table.finish(TOOL)
    if working_dir and probing.texts.convert(working_dir) != probing.working_dir:
        return {"health": {"shell": f"cd {shlex.quote(probing.texts.convert(working_dir))}\n{text.strip()}"}}
    keys = line_keys(text, bash=probing.bash)
    if keys.keys() <= {"command", "shell"}:
        return {"health": keys}
    return {"health": {"shell": text.strip()}}  # `cd` or variables at its beginning


def _http(keys: TableKeys, probe: TableKeys, probing: Probing) -> dict[str, Any]:
    table = probe.below("http_get", (*probe.path, "http"))
    if table is None:
        return {}
    parts = {key: probing.texts.convert(table.text(key) or "").strip() for key in ("host", "scheme", "path", "port")}
    if table.integer("num_port") and not parts["port"]:
        parts["port"] = str(table.integer("num_port"))
    probe.refuse("exec", "http_get is there, too")
    table.refuse("headers", "a check sends no headers — write health.command with curl, if they are needed")
    status = table.integer("status_code")
    if status not in (None, 200):
        table.inexact("status_code", "", "each status from 200 to 299 passes")
    table.finish(TOOL)
    path = parts["path"] if parts["path"].startswith("/") else f"/{parts['path']}"
    if any(map(has_function, parts.values())) or re.search(r"[\s\x00-\x1f]", "".join(parts.values())):
        probe.refuse("http_get", "is no URL with plain variables")
        return {}
    if "$" not in parts["port"] and not port_number(parts["port"]):
        if parts["port"]:
            table.refuse("port", f"is no port, and {TOOL} takes that of the scheme")
        parts["port"] = ""
    local = parts["host"] in LOCAL_HOSTS
    if local and parts["scheme"] in ("", "http") and probing.own_port(parts["port"]):
        text = "is the port of its check: the process is registered with it, and gets it as PORT"
        keys.notes.inexact(table.span("port"), table.name("port"), (*keys.path, "port"), text)
        return {"health": {"http": path}, "port": port_number(parts["port"]) or parts["port"]}
    host = "127.0.0.1" if local else parts["host"]
    scheme = parts["scheme"].lower() or "http"
    if scheme not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9._:\[\]${}-]+", host):
        probe.refuse("http_get", "is no http or https URL")
        return {}
    port = f":{parts['port']}" if parts["port"] else ""
    return {"health": {"http": f"{scheme}://{host}{port}{path}"}}
