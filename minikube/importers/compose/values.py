"""Durations and sizes of Compose in the manifest's forms. Pure. A text with a variable stays as it is."""

import re

from minikube.durations import parse_duration, parse_size

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|µs|ns|ms|s|m|h)")
_TINY_MS = {"us": 1e-3, "µs": 1e-3, "ns": 1e-6}
"""The milliseconds of the units that a manifest does not have."""

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([bkmgt]?)(?:i?b)?", re.IGNORECASE)


def duration(text: str) -> str:
    """Return a duration such as `1m30s`. Raises ValueError."""
    if "${" in text:
        return text
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("expected a duration such as 30s")
    if any(unit in _TINY_MS for _, unit in parts):
        tiny = sum(float(number) * _TINY_MS[unit] for number, unit in parts if unit in _TINY_MS)
        rest = "".join(number + unit for number, unit in parts if unit not in _TINY_MS)
        text = f"{rest}{tiny:.6f}ms"
    parse_duration(text)
    return text


def size(text: str) -> str:
    """Return a size such as `512M`. Raises ValueError."""
    if "${" in text:
        return text
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("expected a size such as 512m")
    unit = match[2].upper().replace("B", "")
    parse_size(f"{match[1]}{unit}")
    return f"{match[1]}{unit}"
