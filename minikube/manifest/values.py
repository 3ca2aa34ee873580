"""Parsers of strings with a form of their own: addresses, signals, schedules, patterns, masks.

Each raises ValueError whose text says what was expected.
"""

import ipaddress
import re
import signal
from pathlib import Path

from minikube.addresses import split_host_port
from minikube.durations import parse_duration
from minikube.manifest.diagnostics import did_you_mean
from minikube.manifest.spec import HostPort

SCHEDULE_FORM = 'a schedule such as "*/5 * * * *", "@daily" or "every 30s"'
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""The nicknames of crontab(5), except @reboot: a service without a schedule starts with the project."""

LEAST_EVERY_S = 1.0

ALLOWED_CHECK_FORM = '"*" for any, a host without a port, or a network such as "10.0.0.0/8"'

WATCH_FORM = 'a path or pattern as in .gitignore, such as "src", "src/**/*.py" or "!src/generated"'


def parse_listen(text: str) -> HostPort:
    """Parse an address to listen on, as `parse_host_port` does; `auto` means a free port on 127.0.0.1."""
    return HostPort("127.0.0.1", 0) if text == "auto" else parse_host_port(text)


def parse_host_port(text: str) -> HostPort:
    """Parse a host and port: `127.0.0.1:5555`, `localhost:0` or `[::1]:5555`. Raises ValueError."""
    try:
        host, port = split_host_port(text)
        if text.startswith("["):
            return HostPort(str(ipaddress.IPv6Address(host)), port)
    except ValueError:
        host, port = "", 0
    if not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        raise ValueError('expected host:port, such as "127.0.0.1:5555" or "[::1]:5555"')
    return HostPort(host, port)


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address or localhost. Other host names are not resolved and return False."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def has_ipv4_loopback(host: str) -> bool:
    """Return whether a server that listens on `host` is reached by IPv4 over loopback. Names but localhost are not resolved."""
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def is_exposed(listen: HostPort, token: str, tls: object) -> bool:
    """Return whether a registry at `listen` would be open to other machines without both a token and TLS."""
    return not is_loopback(listen.host) and not (token and tls)


SIGNAL_CUTOFF = 0.7
"""Names of signals are short: a lower cutoff would suggest one for every word."""


def parse_signal(text: str) -> str:
    """Return the name of a signal without SIG: `TERM` for `TERM`, `sigterm` and `15`. Raises ValueError."""
    names = {known.name.removeprefix("SIG"): known.value for known in signal.Signals}
    name = text.upper().removeprefix("SIG")
    if name in names:
        return name
    for known, number in names.items():
        if text == str(number):
            return known
    raise ValueError(f"expected a signal such as TERM, INT or QUIT{did_you_mean(name, names, cutoff=SIGNAL_CUTOFF)}")


def parse_schedule(text: str) -> str:
    """Return a schedule as five cron fields (`@hourly` expanded), or `every 30s` unchanged. Raises ValueError."""
    words = text.split()
    if words[:1] == ["every"]:
        if len(words) != 2 or parse_duration(words[1]) < LEAST_EVERY_S:
            raise ValueError(f"expected {SCHEDULE_FORM}, with a period of at least {LEAST_EVERY_S:g}s")
        return " ".join(words)
    fields = NICKNAMES.get(text.strip().lower(), " ".join(words)).upper()
    if len(fields.split()) != 5:
        raise ValueError(f"expected {SCHEDULE_FORM}{did_you_mean(text, NICKNAMES) if text.startswith('@') else ''}")
    from datetime import datetime

    from cronsim import CronSim, CronSimError  # costs 10 ms: only for manifests that schedule something

    try:
        next(CronSim(fields, datetime(2024, 1, 1)))
    except (CronSimError, StopIteration) as error:  # StopIteration: no such day in fifty years
        raise ValueError(f"expected {SCHEDULE_FORM} ({str(error).lower() or 'there is no such day'})") from None
    return fields


def parse_watch(text: str) -> str:
    """Check a pattern of watched files in the syntax of `.gitignore` and return it; `!` excludes. Raises ValueError."""
    body = text.removeprefix("!").rstrip("/")
    if not body.strip("/ ") or body.endswith("\\") or "\n" in body:
        raise ValueError(f"expected {WATCH_FORM}")
    try:
        Path(body).expanduser()
        if re.search(r"[\[\\]", body):  # all other patterns are valid, and the import takes 0.1 s
            from pathspec import GitIgnoreSpec

            GitIgnoreSpec.from_lines([f"/{body.lstrip('/')}"]).match_file("x")
    except RuntimeError:
        raise ValueError(f"expected {WATCH_FORM}: there is no such user") from None
    except Exception:  # each regular expression engine that pathspec may use raises its own
        raise ValueError(f"expected {WATCH_FORM}: the part in brackets is malformed") from None
    return text


def parse_allowed_check(text: str) -> str:
    """Check an item of `allow_checks`: `*`, a host, or a network such as `10.0.0.0/8`; return it. Raises ValueError."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if "/" in text or ":" in host or re.fullmatch(r"[0-9.]+", text):
        try:
            ipaddress.ip_network(host, strict=False)
        except ValueError:
            raise ValueError(f"expected {ALLOWED_CHECK_FORM}") from None
    elif text != "*" and not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError(f"expected {ALLOWED_CHECK_FORM}")
    return host


def parse_umask(text: str) -> int:
    """Parse a umask, `022` or `0o77`, and return it as a number. Raises ValueError."""
    digits = text.removeprefix("0o")
    if not re.fullmatch(r"[0-7]{1,4}", digits) or int(digits, 8) > 0o777:
        raise ValueError('expected an octal mask such as "022"')
    return int(digits, 8)
