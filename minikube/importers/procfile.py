"""The reader of a Procfile, as foreman, Heroku, honcho and overmind have it, with the `.env` beside it.

Each line is `name: a line for a shell`; other lines are ignored there, and noted here. foreman starts each process once, gives
it a PORT of its own, and stops all when one ends. Heroku runs `release` to its end before the others; that is taken over.
"""

import re
from typing import Any

from msgspec import Struct

from minikube.errors import UsageError
from minikube.importers.detect import Found
from minikube.importers.manifest_text import port_number
from minikube.importers.names import renamed, service_names
from minikube.importers.result import Imported, Notes, Span
from minikube.importers.shell_lines import from_shell, line_keys
from minikube.importers.source import Destination, read_source, source_error, source_file

_ENTRY = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")
_WEB_NAME = re.compile(r"(?:^|[-_])(?:web|api|app|server|http|frontend|backend|site)(?:$|[-_0-9])", re.IGNORECASE)
"""Names of processes that read PORT although their line does not name it: Heroku gives it to `web`, foreman to each."""

_ANY_ADDRESS = r"(?:0\.0\.0\.0|\[::\]|\*)?:"
_ADDRESS = r"(?:[a-z]+://)?(?:0\.0\.0\.0|127\.0\.0\.1|localhost|\[::1?\]|\*)?:"
_NAMED_PORT = re.compile(
    r"(?:(?:^|\s)(?:-p|-l|--port|--listen|--http-port|PORT)[ =]?"
    rf"|(?:^|\s)(?:-[ablS]|--?(?:bind|listen|addr|address|host|http|http-address|listen-address|from))[ =]{_ADDRESS}"
    rf"|(?:http\.server|runserver)\s+(?:{_ADDRESS})?"
    rf"|(?:^|(?<!-to)(?<!proxy)(?<=[\s=])){_ANY_ADDRESS}"
    r")([0-9]{3,5}|80)(?![0-9.\w])"
)
"""A port on which a line listens, as servers of several languages take it.

An address such as `localhost:3000` counts after an option for it only: elsewhere it is that of another service.
"""

_COMMAND_END = re.compile(r"\|\|?|&&?|;|\n")
_CLIENT = re.compile(
    r"^\s*(?:(?:while|until|if|do|then|else|!|exec|time|npx|bunx|bundle exec|pnpm exec|yarn|env|[A-Z_]+=\S*)\s+)*(?:\S*/)?"
    r"(?:ssh|autossh|kcat|kafkacat|scp|curl|wget|nc|ncat|ngrok|cloudflared|stripe|wait-on|wait-for(?:-it)?(?:\.sh)?|dockerize|psql|pg_isready|pg_dump"
    r"|mysql|mysqladmin|mysqldump|redis-cli|mongosh|mongo|kubectl|cypress|ab|wrk|k6|hey|sleep)(?=\s|$)"
)
"""A command that connects to ports, and listens on none that it names."""

DEFAULT_PORTS = (
    (r"\brunserver\b", 8000),
    (r"\bflask\b.*\brun\b", 5000),
    (r"\buvicorn\b", 8000),
    (r"\bhttp\.server\b", 8000),
    (r"\bartisan serve\b", 8000),
    (r"\bmkdocs serve\b", 8000),
    (r"\bjekyll serve\b", 4000),
    (r"\bhugo server\b", 1313),
    (r"\bvite\b(?! build)", 5173),
)
"""What a line contains, and the port of that server where none is named: these do not read PORT."""

CHECKED = " — add health to have it checked by more than a connection"

_USES_PORT = re.compile(r"\$\{?PORT(?![A-Za-z0-9_])")
_USES_PS = re.compile(r"\$\{?PS(?![A-Za-z0-9_])")
_LISTENING = re.compile(r"^[ \t]*(?:export[ \t]+)?(PORT|HOST)[ \t]*=[ \t]*(.*)$", re.MULTILINE)
RELEASE = "release"
FIRST_PORT = 5000
PORT_STEP = 100


class _Line(Struct, frozen=True):
    """One entry of the file."""

    number: int
    name: str
    command: str


def read(found: Found, destination: Destination) -> Imported:
    """Return the import of a Procfile. Raises UsageError where it has no entry."""
    text = read_source(found.path)
    name = destination.shown(found.path)
    source = source_file(name, text)
    notes = Notes()
    lines = _entries(name, text, notes)
    if not lines:
        raise source_error(found.path, "has no line of the form `name: command`")
    labels = service_names(lines)
    first_line = min(line.number for line in lines.values())
    first_port = _note_listening(found, destination, notes, Span(name, first_line, first_line))
    services: dict[str, dict[str, Any]] = {}
    for index, line in enumerate(lines.values()):
        services[labels[line.name]] = _service(
            line, labels[line.name], first_port + index * PORT_STEP, _Reading(name, destination, notes)
        )
    if RELEASE in services:
        for label, service in services.items():
            if label != RELEASE:
                service["depends_on"] = {RELEASE: "completed"}
    return Imported(
        tool="Procfile",
        sources=(source,),
        services=services,
        env_file=({"path": destination.path(".env"), "required": False},),
        notes=notes.in_order(),
    )


class _Reading(Struct, frozen=True):
    """What all entries share."""

    file: str
    destination: Destination
    notes: Notes


def _entries(file: str, text: str, notes: Notes) -> dict[str, _Line]:
    """Return the entries by name. Of two with one name the last one counts, as each tool but foreman has it."""
    found: dict[str, _Line] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        span = Span(file, number, number)
        match = _ENTRY.fullmatch(stripped)
        if match is None:
            notes.refuse(span, f"line {number}", "is not of the form `name: command` — every tool ignores such a line")
            continue
        if match[1] in found:
            before = found[match[1]]
            notes.refuse(
                Span(file, before.number, before.number), match[1], f"stands again in line {number}, which counts"
            )
        found[match[1]] = _Line(number, match[1], match[2].rstrip())
    return found


def _service(line: _Line, label: str, port: int, reading: _Reading) -> dict[str, Any]:
    """Return the service of an entry, and note what is not exact."""
    span = Span(reading.file, line.number, line.number)
    path = ("services", label)
    notes = reading.notes

    def note(key: str, text: str) -> None:
        notes.inexact(span, line.name, (*path, key) if key else path, text)

    if label != line.name:
        note("", renamed(line.name, label))
    keys = line_keys(from_shell(line.command))
    cwd = reading.destination.path(keys.pop("cwd", "."))
    service = keys | ({"cwd": cwd} if cwd != "." else {})
    if chosen := _assigned_port(service) or _port(line):
        service["port"], reason = chosen
        note("port", f"{reason.format(foreman=port)}{CHECKED}")
    if _USES_PS.search(line.command):
        env = service.setdefault("env", {})
        env.setdefault("PS", f"{line.name}.${{REPLICA}}")
    if line.name == RELEASE:
        service["restart"] = "never"
        service["on_exit"] = "stop-all-on-failure"
        note(
            "on_exit",
            "Heroku runs release before the others, which wait for it here; foreman starts it together with them",
        )
        return service
    service["restart"] = "never"
    service["on_exit"] = "stop-all"
    return service


def _assigned_port(service: dict[str, Any]) -> tuple[int, str] | None:
    """Return the port that a line sets as PORT, and take it from `env`: minikube gives it to the process."""
    env = service.get("env", {})
    text = env.get("PORT", "")
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        return None
    del env["PORT"]
    if not env:
        del service["env"]
    return int(text), "is in its line: the service is registered with it, and gets it as PORT"


def _port(line: _Line) -> tuple[int | str, str] | None:
    """Return the port of an entry, and where it comes from; None for one that listens nowhere."""
    if _USES_PORT.search(line.command):
        return "auto", "a free port as PORT, where foreman gives {foreman}"
    if line.name == RELEASE:
        return None
    if named := _named_port(line.command):
        return named, "is in its line: the service is registered with it"
    if not _WEB_NAME.search(line.name):
        return None
    for pattern, default in DEFAULT_PORTS:
        if found := re.search(pattern, line.command):
            return default, f"is the default of {found[0].split()[0]}: the service is registered with it"
    return (
        "auto",
        "a free port as PORT, where foreman gives {foreman}; where it listens on a port of its own, write that",
    )


def _named_port(text: str) -> int:
    """Return the port that a line names as its own; 0 for none."""
    for command in _COMMAND_END.split(text):
        named = None if _CLIENT.match(command) else _NAMED_PORT.search(command)
        if named and (port := port_number(named[1])):
            return port
    return 0


def _note_listening(found: Found, destination: Destination, notes: Notes, first: Span) -> int:
    """Note a PORT or HOST in `.env`, which means nothing here. Return the first port of foreman, which PORT is there."""
    try:
        said = dict(_LISTENING.findall(read_source(found.path.parent / ".env")))
    except UsageError:
        return FIRST_PORT
    for name in said:
        advice = (
            "ports count from it in foreman — write port in a service" if name == "PORT" else "write host in a service"
        )
        notes.inexact(
            first, f".env {name}", ("env_file",), f"{name} in {destination.path('.env')} is not used: {advice}"
        )
    port = said.get("PORT", "").strip("'\" ")
    return int(port) if re.fullmatch(r"[0-9]{1,5}", port) else FIRST_PORT
