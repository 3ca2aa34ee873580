"""A small Debian out of this machine's own packages: those that are essential, and what is asked for, with their files as
they are installed here.

What a tool makes that installs a system anew is the same, downloads some hundred megabytes for it and takes a minute.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

NOT_NEEDED = re.compile(r"/usr/share/(doc|info|locale|man|lintian|bug)(/|$)")
ACCOUNTS = ("etc/passwd", "etc/group")
PLACES = ("root", "srv")
"""Made where a system is installed, by the packages' scripts."""


def archive(target: Path, *wanted: str) -> None:
    """A tar of a system's root with the packages `wanted`, all that they need, and what is essential."""
    entries = dict.fromkeys(_files(_closure(wanted)))
    entries |= dict.fromkeys(_alternatives(set(entries)))
    with tempfile.TemporaryDirectory() as directory:
        for name in ("etc", *PLACES):
            Path(directory, name).mkdir(mode=0o755)
        for name in ACCOUNTS:
            Path(directory, name).write_bytes(Path("/usr/share/base-passwd", f"{Path(name).name}.master").read_bytes())
        command = ["tar", "--create", "--file", str(target), "--no-recursion", "--numeric-owner", "-C", "/"]
        command += ["--null", "--files-from=-", "-C", directory, *ACCOUNTS, *PLACES]
        names = b"\0".join(os.fsencode(name.lstrip("/")) for name in entries if name.lstrip("/") not in PLACES)
        subprocess.run(command, input=names, check=True)


def _closure(wanted: Iterable[str]) -> list[str]:
    """The packages by name, of those that are installed."""
    form = "${Package}\t${Essential}\t${Provides}\t${Pre-Depends}, ${Depends}\t${db:Status-Abbrev}\n"
    told = subprocess.run(["dpkg-query", "--show", f"--showformat={form}"], capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in told.stdout.splitlines() if line.endswith("ii ")]
    needs = {name: _names(depends) for name, _, _, depends, _ in rows}
    virtual = {other: name for name, _, provides, _, _ in rows for other in _names(provides) if other not in needs}
    found: dict[str, None] = {}
    edge = [*wanted, *(name for name, essential, *_ in rows if essential == "yes")]
    assert set(wanted) <= needs.keys(), f"not all installed: {wanted}"
    while edge:
        name = virtual.get(edge[-1], edge[-1])
        edge.pop()
        if name in needs and name not in found:
            found[name] = None
            edge += needs[name]
    return [*found]


def _names(relation: str) -> list[str]:
    """Of `a (>= 1), b:any | c`: those, whichever are meant."""
    return re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]*)", relation)


def _files(packages: list[str]) -> Iterator[str]:
    """Every path once, where it really is: directories, links (that of a merged /bin, too), files."""
    told = subprocess.run(["dpkg-query", "--listfiles", *packages], capture_output=True, text=True, check=True).stdout
    places: dict[str, str] = {}
    seen = set()
    for line in told.splitlines():
        if not line.startswith("/") or NOT_NEEDED.match(line) or line == "/.":
            continue
        parent, name = os.path.split(line)
        if parent not in places:
            places[parent] = os.path.realpath(parent)
        path = os.path.join(places[parent], name)
        if path not in seen and os.path.lexists(path):
            seen.add(path)
            yield path


def _alternatives(files: set[str]) -> Iterator[str]:
    """The links of what is there (`awk`)."""
    for entry in Path("/etc/alternatives").iterdir():
        if os.path.realpath(entry) in files:
            yield str(entry)
            if os.path.islink(link := f"/usr/bin/{entry.name}"):
                yield link
