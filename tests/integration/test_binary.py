"""The single binary's head: it unpacks once, only where no other user can write, and leaves nothing half done.

The payload here is a shell script in place of the interpreter. The end-to-end tests build the real one.
"""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

import binary

INTERPRETER = """#!/bin/sh
[ "$2" = -c ] && exit 0
printf '%s\\n' "$0" "$@"
"""
NOBODY = 65534
AS_ROOT = pytest.mark.usefixtures("as_root")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a single binary whose interpreter prints its own path and its arguments."""
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "python3").write_text(INTERPRETER)
    (tree / "bin" / "python3").chmod(0o755)
    return write(tmp_path / "minikube", binary.packed(tree))


def write(path: Path, payload: bytes) -> Path:
    path.write_bytes(binary.head(payload) + payload)
    path.chmod(0o755)
    return path


def run(program: Path, *arguments: str, code: int = 0, **env: Path) -> tuple[str, str]:
    """Run the binary with PATH and `env` only; return its stdout and stderr."""
    environ = {"PATH": os.environ["PATH"], **{name: str(value) for name, value in env.items()}}
    done = subprocess.run([program, *arguments], env=environ, capture_output=True, text=True, timeout=20)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def copies(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_it_unpacks_once_privately_and_passes_arguments_on(program: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    output, errors = run(program, "a b", "$c", HOME=home)
    cache = home / ".cache" / "minikube"
    (copy,) = cache.iterdir()
    assert output.splitlines() == [f"{copy}/bin/python3", "-I", "-m", "minikube", "a b", "$c"]
    assert errors == ""
    assert [path.stat().st_mode & 0o777 for path in (cache, copy, copy / "bin" / "python3")] == [0o700] * 3
    made = copy.stat().st_ino
    assert run(program, "a b", "$c", HOME=home) == (output, "")
    assert copy.stat().st_ino == made


def test_a_binary_with_other_content_has_another_copy(program: Path, tmp_path: Path) -> None:
    run(program, MINIKUBE_CACHE=tmp_path / "cache")
    tree = tmp_path / "tree"
    (tree / "more").touch()
    run(write(tmp_path / "second", binary.packed(tree)), MINIKUBE_CACHE=tmp_path / "cache")
    assert len(copies(tmp_path / "cache")) == 2


def test_the_same_content_makes_the_same_file(program: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    os.utime(tree / "bin" / "python3", (1, 1))
    payload = binary.packed(tree)
    assert program.read_bytes() == binary.head(payload) + payload


def test_many_first_starts_at_the_same_time_make_one_copy(program: Path, tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "MINIKUBE_CACHE": str(tmp_path / "cache")}
    starts = [subprocess.Popen([program, "x"], env=environ, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    outputs = {start.communicate(timeout=20)[0] for start in starts}
    assert [start.returncode for start in starts] == [0] * 8
    assert len(outputs) == 1
    assert len(copies(tmp_path / "cache")) == 1


@pytest.mark.parametrize("cut", [slice(0, -1), slice(0, binary.HEAD_BYTES)])
def test_a_damaged_binary_is_refused_and_leaves_nothing(program: Path, tmp_path: Path, cut: slice) -> None:
    program.write_bytes(program.read_bytes()[cut])
    _, errors = run(program, code=1, MINIKUBE_CACHE=tmp_path / "cache")
    assert errors == f"minikube: {program} is damaged: its content has another checksum - copy or build it again\n"
    assert copies(tmp_path / "cache") == []


def test_a_copy_that_cannot_run_is_reported_and_removed(program: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin" / "python3").write_text("#!/no/such/interpreter\n")
    broken = write(tmp_path / "broken", binary.packed(tree))
    _, errors = run(broken, code=1, MINIKUBE_CACHE=tmp_path / "cache")
    assert "it needs glibc" in errors
    assert errors.count("\n") == 1
    assert copies(tmp_path / "cache") == []


def test_a_system_without_glibc_is_reported_in_one_line(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary, "loader", lambda: "/lib64/no-such-loader.so")
    elsewhere = write(tmp_path / "elsewhere", program.read_bytes()[binary.HEAD_BYTES :])
    _, errors = run(elsewhere, code=1, MINIKUBE_CACHE=tmp_path / "cache")
    assert errors.startswith("minikube: this system has no glibc (/lib64/no-such-loader.so is missing)")
    assert errors.count("\n") == 1
    assert not (tmp_path / "cache").exists()


def test_an_older_glibc_is_reported_in_one_line_before_anything_is_unpacked(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.999"))
    newer = write(tmp_path / "newer", program.read_bytes()[binary.HEAD_BYTES :])
    _, errors = run(newer, code=1, MINIKUBE_CACHE=tmp_path / "cache")
    assert re.fullmatch(r"minikube: this system has glibc 2\.\d+, and this file needs 2\.999 or newer - .*\n", errors)
    assert not (tmp_path / "cache").exists()


@AS_ROOT
def test_a_full_disk_is_reported_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    for number in range(200):
        (tree / "bin" / str(number)).write_bytes(os.urandom(8_192))
    program = write(tmp_path / "large", binary.packed(tree))
    (cache := tmp_path / "cache").mkdir()
    script = 'mount -t tmpfs -o size=256k,mode=0700 none "$1" && "$0"; code=$?; ls -A "$1" | wc -l; exit $code'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, program, cache],
        env={"PATH": os.environ["PATH"], "MINIKUBE_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no mount namespace can be made here")
    assert done.stderr == (
        f"minikube: cannot unpack into {cache} (No space left on device)"
        " - make room there, or set MINIKUBE_CACHE to another directory\n"
    )
    assert (done.returncode, done.stdout.strip()) == (1, "0")


@AS_ROOT
def test_the_home_of_another_user_is_not_used(program: Path, tmp_path: Path) -> None:
    """As under sudo: the owner of the home could change what root executes."""
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    output, _ = run(program, HOME=home, TMPDIR=tmp_path)
    assert output.startswith(f"{tmp_path}/minikube-cache-0/")
    assert list(home.iterdir()) == []
    assert (tmp_path / "minikube-cache-0").stat().st_mode & 0o777 == 0o700
    assert run(program, HOME=home, TMPDIR=tmp_path)[0] == output


@AS_ROOT
def test_a_copy_of_another_user_is_not_run(program: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(program, MINIKUBE_CACHE=cache)
    os.chown(cache, NOBODY, NOBODY)
    _, errors = run(program, code=1, MINIKUBE_CACHE=cache)
    assert errors.startswith(f"minikube: MINIKUBE_CACHE: cannot write to {cache}, or it belongs to another user")


@AS_ROOT
@pytest.mark.parametrize("trap", ["link", "open", "foreign"])
def test_a_directory_prepared_by_another_user_in_tmp_is_refused(program: Path, tmp_path: Path, trap: str) -> None:
    place = tmp_path / f"minikube-cache-{os.geteuid()}"
    if trap == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.mkdir(mode=0o700)
    if trap == "open":
        place.chmod(0o777)
    if trap == "foreign":
        os.chown(place, NOBODY, NOBODY)
    _, errors = run(program, code=1, TMPDIR=tmp_path)
    assert errors.startswith(f"minikube: {place} is not a private directory of this user")
    assert list(place.iterdir()) == []


def test_copies_of_killed_starts_and_of_old_versions_are_removed(program: Path, tmp_path: Path) -> None:
    """Half-unpacked copies are removed after an hour, other versions a month after their last use."""
    cache = tmp_path / "cache"
    now = time.time()
    for name, used, age_s in (
        (".0123.77", False, 7200),
        (".0123.78", False, 60),
        ("old", True, 32 * 86400),
        ("recent", True, 86400),
    ):
        (cache / name).mkdir(parents=True)
        if used:
            (cache / name / ".used").touch()
            os.utime(cache / name / ".used", (now - age_s, now - age_s))
        os.utime(cache / name, (now - age_s, now - age_s))
    run(program, MINIKUBE_CACHE=cache)
    assert copies(cache)[::2] == [".0123.78", "recent"]
    assert len(copies(cache)) == 3
