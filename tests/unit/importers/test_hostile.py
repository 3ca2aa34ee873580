"""Files that are made to take all time or memory, or to end the program: each is imported or refused in one line, at once."""

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minikube.errors import UsageError
from minikube.importers import import_source

MEMORY_BYTES = 512 * 1024 * 1024


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """Raise MemoryError where a test takes much more memory than the process has so far."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as raised:
        import_source(path, None)
    return str(raised.value)


@pytest.mark.parametrize(
    "option", ["command=x %(process_num)5-d", "command=x %(process_num)999999999999d", f"exitcodes={'9' * 5000}"]
)
@pytest.mark.usefixtures("bounded_memory")
def test_numbers_of_supervisord_have_bounded_widths(option: str, tmp_path: Path) -> None:
    (tmp_path / "supervisord.conf").write_text(f"[program:a]\ncommand=x\n{option}\n")
    assert import_source(tmp_path, None).services["a"]["restart"]


def test_a_port_of_thousands_of_digits_is_none(tmp_path: Path) -> None:
    probe = f"{{http_get: {{port: '{'9' * 5000}'}}}}"
    (tmp_path / "process-compose.yaml").write_text(f"processes: {{a: {{command: x, readiness_probe: {probe}}}}}")
    assert "port" not in import_source(tmp_path, None).services["a"]


def test_a_long_chain_of_processes_that_extend_each_other_is_refused(tmp_path: Path) -> None:
    processes = [f"  p{number}: {{command: x, extends: p{number - 1}}}" for number in range(2000, 0, -1)]
    (tmp_path / "process-compose.yaml").write_text("\n".join(["processes:", *processes, "  p0: {command: x}"]))
    assert "processes.p1950 extends p1949, the end of a chain of more than 50 processes" in refused(tmp_path)


def test_files_that_include_each_other_again_and_again_are_read_once(tmp_path: Path) -> None:
    for number in range(40):
        include = f"include: [./c{number + 1}.yaml, c{number + 1}.yaml]\n" if number < 39 else ""
        name = f"c{number}.yaml" if number else "compose.yaml"
        (tmp_path / name).write_text(f"{include}services:\n  s{number}:\n    image: x\n")
    assert len(import_source(tmp_path, None).services) == 40


@pytest.mark.usefixtures("bounded_memory")
def test_files_of_variables_without_an_end_are_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services:\n  a:\n    image: x\n    env_file: /dev/zero\n")
    (tmp_path / ".env").symlink_to("/dev/zero")
    assert import_source(tmp_path, None).services["a"]["env_file"] == "/dev/zero"


@pytest.mark.parametrize("path", ["loop/x.yaml", r"a\0b"])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("compose.yaml", 'services:\n  a:\n    image: x\n    extends: {{service: b, file: "{path}"}}\n'),
        ("process-compose.yaml", 'extends: "{path}"\nprocesses:\n  a: {{command: x}}\n'),
    ],
)
def test_a_file_whose_path_leads_nowhere_is_refused_with_the_line_that_names_it(
    file: str, text: str, path: str, tmp_path: Path
) -> None:
    os.symlink("loop", tmp_path / "loop")
    (tmp_path / file).write_text(text.format(path=path))
    message = refused(tmp_path)
    assert file in message
    assert "\n" not in message


@pytest.mark.parametrize("path", ["loop/x.yaml", r"a\0b"])
def test_an_included_file_whose_path_leads_nowhere_is_left_out(path: str, tmp_path: Path) -> None:
    os.symlink("loop", tmp_path / "loop")
    (tmp_path / "compose.yaml").write_text(f'include: ["{path}"]\nservices:\n  a:\n    image: x\n')
    imported = import_source(tmp_path, None)
    assert [note.kind for note in imported.notes if note.source == "include"] == ["refused"]


LONG = 100_000


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("notes.txt", "\n" * 60 + "# x\n\n" * 60 + "???"),
        ("notes.txt", "\n" * LONG + "???"),
        ("Procfile", f"web: a{' ' * LONG}b"),
        ("Procfile", f"web: {'A=1 ' * LONG}b"),
        ("process-compose.yaml", f"processes: {{a: {{command: '{'{{' * LONG}'}}}}"),
        ("compose.yaml", f"services: {{a: {{image: '{'${A-' * LONG}'}}}}"),
        ("supervisord.conf", f"[program:a]\na{' ' * LONG}b"),
        ("supervisord.conf", "[program:a]\ncommand=x\n" + " y\n" * LONG),
        ("pm2.json", '{"apps": []}' + "/* " * LONG),
    ],
)
def test_long_texts_are_read_at_once(file: str, text: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text)
    began = time.monotonic()
    with contextlib.suppress(UsageError):
        import_source(tmp_path / file, None)
    assert time.monotonic() - began < 20  # minutes or hours, where each place is searched anew from each other one


@pytest.mark.parametrize("text", ["\n" * LONG + "x", "=" * LONG])
def test_long_files_of_variables_are_read_at_once(text: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(text)
    (tmp_path / "Procfile").write_text("web: x\n")
    (tmp_path / "compose.yaml").write_text("services: {a: {image: x, env_file: .env}}\n")
    for file in ("Procfile", "compose.yaml"):
        assert import_source(tmp_path / file, None).services
