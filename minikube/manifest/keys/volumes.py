"""The texts of `volumes`: what is mounted where, and how. Pure."""

import re

from minikube.manifest import spec

VOLUME_OPTIONS = ("ro", "rw", "z", "Z", "cached", "delegated", "consistent")
VOLUME_FORM = (
    "source:/target, source:/target:ro or /target, where source is a path (./data) or a volume's name,"
    f" and further options are {', '.join(VOLUME_OPTIONS)}"
)
# A colon within the source has no slash behind it: `/a:/b:/c` would have two meanings.
_VOLUME = re.compile(r"(?:(?P<source>[^:\0]+(?::[^/:\0][^:\0]*)*):)?(?P<target>/[^:\0]*)(?::(?P<options>[A-Za-z,]+))?")
_VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def parse_volume(text: str) -> spec.VolumeSpec:
    """Parse a volume: `./data:/srv/data:ro,Z`, `/etc/ssl:/etc/ssl`, `cache:/var/cache`, `/anonymous`. Raises ValueError."""
    match = _VOLUME.fullmatch(text)
    options = (match["options"] or "").split(",") if match else []
    if match is None or not {"", *VOLUME_OPTIONS}.issuperset(options):
        raise ValueError(f"expected {VOLUME_FORM}")
    source = match["source"] or ""
    if source and not source.startswith(("/", ".", "~")) and not _VOLUME_NAME.fullmatch(source):
        raise ValueError("expected a path that starts with / or ./, or a volume's name (a-z, 0-9, _, . and -)")
    others = tuple(option for option in options if option not in ("", "ro", "rw"))
    return spec.VolumeSpec(source, match["target"], "ro" in options, others)
