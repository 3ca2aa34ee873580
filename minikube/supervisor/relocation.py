"""A move of the project's directory while it runs: what was written with its old path, as it is now. Pure."""

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote


class Relocation(NamedTuple):
    """One move of the project directory, the parent of `.minikube`."""

    old: Path
    new: Path

    def path(self, path: Path) -> Path:
        """Return where a path leads now."""
        return self.new / path.relative_to(self.old) if path.is_relative_to(self.old) else path

    def text(self, text: str) -> str:
        """Return a word of a command, the value of a variable or a URL with the new path in place of the old one.

        The old path is known by what stands around it: `PATH=/old/bin:/usr/bin`, `unix:///old/x.sock`, but not `/mnt/old`.
        """
        forms = (
            (r"(?:^|(?<=[\s:=,;'\"]))", str(self.old), str(self.new)),
            (r"(?<=://)", quote(os.fsencode(self.old)), quote(os.fsencode(self.new))),
        )
        for before, old, new in forms:
            text = re.sub(rf"{before}{re.escape(old)}(?=$|[/\s:,;'\"])", new.replace("\\", r"\\"), text)
        return text
