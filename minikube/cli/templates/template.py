"""A template of a project: the text of its manifest, and the files that make it run."""

from collections.abc import Mapping

from msgspec import Struct


class Template(Struct, frozen=True):
    """One template. `{name}` in its texts is the project's name."""

    summary: str
    """For `minikube init --list`."""
    manifest: str
    files: Mapping[str, str]
    """By path. They are written together or not at all: `marker` decides."""
    marker: str
    """The file that says that the directory has a project of its own: where it is there, the manifest alone is written."""
    own_manifest: str = ""
    """The manifest for such a directory; empty: the same."""
    note: str = ""
    """What has to be there before `minikube up`, in one sentence."""


def filled(text: str, name: str) -> str:
    """Return a text of a template for the project `name`. Nothing but `{name}` is replaced: braces are common in code."""
    return text.replace("{name}", name)
