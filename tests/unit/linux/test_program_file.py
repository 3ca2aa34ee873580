"""Files that the kernel refuses to execute: the message names what is wrong in the file."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from minikube.linux.program_file import explain_refusal


def refusal(path: Path) -> str:
    """Try to execute a file, and return the explanation of the kernel's error."""
    try:
        subprocess.run([path], check=False)
    except OSError as error:
        return explain_refusal(path, error.errno or 0)
    return "it was executed"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#!/bin/sh\r\necho hi\r\n", ["#!/bin/sh\\r", "Windows", "convert"]),
        (b"#!/usr/bin/env -S nope\r", ["/usr/bin/env -S nope\\r", "Windows"]),
        (b"#!/opt/nope/bin/python -u\nprint()", ["#!/opt/nope/bin/python -u", "does not exist"]),
        (b"#! nope", ["#! nope", "does not exist"]),
    ],
)
def test_a_script_without_its_interpreter(content: bytes, words: list[str], tmp_path: Path) -> None:
    """The kernel says `no such file` of a file that is there."""
    script = tmp_path / "start.sh"
    script.write_bytes(content)
    script.chmod(0o755)
    text = explain_refusal(script, 2)
    assert all(word in text for word in words)
    assert text.isprintable()


def test_other_files(tmp_path: Path) -> None:
    program = tmp_path / "x"
    program.write_bytes(b"echo no line\n")
    program.chmod(0o644)
    assert "permission denied — make it executable" in refusal(program)
    program.chmod(0o755)
    assert "neither a program nor a script" in refusal(program)
    assert "it is a directory" in refusal(tmp_path)
    # An ELF file whose loader does not exist: the one of this machine, with another name for it.
    ours = Path("/bin/true").read_bytes()
    program.write_bytes(ours.replace(b"/ld-linux", b"/no-linux"))
    assert "built for another system" in refusal(program)
    assert explain_refusal(program, 5) == os.strerror(5)


def test_a_program_in_a_directory_that_may_not_be_entered(tmp_path: Path, as_nobody: None) -> None:
    assert "its directories readable for the service's user" in explain_refusal(tmp_path / "x", errno.EACCES)
