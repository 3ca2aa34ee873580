"""Make the root directory of a small Debian from the packages of this machine: the essential ones and those that are named.

Rejected: a tool that installs a new system. Its result is the same, after a download of some hundred megabytes and a minute.
"""

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

NOT_NEEDED = re.compile(r"/usr/share/(doc|info|locale|man|lintian|bug)(/|$)")
ACCOUNTS = ("etc/passwd", "etc/group")
NAME_SERVICES = "etc/nsswitch.conf"
"""Without this file, the C library asks the DNS first, and reads /etc/hosts only where none answers."""
PLACES = ("root", "srv")
"""Directories that the packages' scripts make at installation."""


def archive(target: Path, *wanted: str) -> None:
    """Write a tar of a root directory with the packages `wanted`, their dependencies, and the essential packages."""
    entries = dict.fromkeys(_files(_closure(wanted)))
    entries |= dict.fromkeys(_alternatives(set(entries)))
    with tempfile.TemporaryDirectory() as directory:
        for name in ("etc", *PLACES):
            Path(directory, name).mkdir(mode=0o755)
        for name in ACCOUNTS:
            Path(directory, name).write_bytes(Path("/usr/share/base-passwd", f"{Path(name).name}.master").read_bytes())
        Path(directory, NAME_SERVICES).write_bytes(Path("/usr/share/libc-bin/nsswitch.conf").read_bytes())
        command = ["tar", "--create", "--file", str(target), "--no-recursion", "--numeric-owner", "-C", "/"]
        command += ["--null", "--files-from=-", "-C", directory, *ACCOUNTS, NAME_SERVICES, *PLACES]
        names = b"\0".join(os.fsencode(name.lstrip("/")) for name in entries if name.lstrip("/") not in PLACES)
        subprocess.run(command, input=names, check=True)


def add_files(archive: Path, target: Path, directory: Path, programs: Mapping[str, Path]) -> None:
    """Write a copy of an archive with the files below `directory` added, and with `programs`, by their path in it."""
    shutil.copyfile(archive, target)
    with tarfile.open(target, "a") as tar:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                tar.add(path, str(path.relative_to(directory)))
        for name, program in programs.items():
            tar.add(program, name)


def _closure(wanted: Iterable[str]) -> list[str]:
    """Return the names of the wanted and the essential packages and of all that these depend on."""
    form = "${Package}\t${Essential}\t${Provides}\t${Pre-Depends}, ${Depends}\t${db:Status-Abbrev}\n"
    listed = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={form}"], capture_output=True, text=True, check=True
    )
    rows = [line.split("\t") for line in listed.stdout.splitlines() if line.endswith("ii ")]
    needs = {name: _names(depends) for name, _, _, depends, _ in rows}
    virtual = {other: name for name, _, provides, _, _ in rows for other in _names(provides) if other not in needs}
    found: dict[str, None] = {}
    frontier = [*wanted, *(name for name, essential, *_ in rows if essential == "yes")]
    assert set(wanted) <= needs.keys(), f"not all installed: {wanted}"
    while frontier:
        name = virtual.get(frontier[-1], frontier[-1])
        frontier.pop()
        if name in needs and name not in found:
            found[name] = None
            frontier += needs[name]
    return [*found]


def _names(relation: str) -> list[str]:
    """Return the names in a relation: `a (>= 1), b:any | c` → a, b, c."""
    return re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]*)", relation)


def _files(packages: list[str]) -> Iterator[str]:
    """Yield every path of the packages once, with links of its directories resolved (such as a merged /bin)."""
    listed = subprocess.run(["dpkg-query", "--listfiles", *packages], capture_output=True, text=True, check=True).stdout
    places: dict[str, str] = {}
    seen = set()
    for line in listed.splitlines():
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
    """Yield the links of the alternatives system to programs among `files`, such as `awk`."""
    for entry in Path("/etc/alternatives").iterdir():
        if os.path.realpath(entry) in files:
            yield str(entry)
            if os.path.islink(link := f"/usr/bin/{entry.name}"):
                yield link
