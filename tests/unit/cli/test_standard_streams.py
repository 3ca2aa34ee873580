"""Commands whose stdout or stderr is closed, full, or of an encoding that lacks characters."""

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from minikube.cli.standard_streams import Output
from tests.untraced import untraced

COMMAND = f"{sys.executable} -m minikube"
FULL = "minikube: stdout: no space left on device\n"


def shell(line: str, directory: Path, **env: str) -> tuple[int, str, str]:
    """Run a line of shell, in which `minikube` is the command; return its exit code, stdout and stderr."""
    line = line.replace("minikube", COMMAND)
    done = subprocess.run(
        ["sh", "-c", line], cwd=directory, env={**untraced(), **env}, capture_output=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


@pytest.mark.parametrize(
    ("line", "code", "stderr"),
    [
        ("minikube version >&-", 0, ""),
        ("minikube version >/dev/full", 1, FULL),
        ("minikube pss 2>&-", 2, ""),
        ("minikube pss 2>/dev/full", 2, ""),
        ("minikube pss >&- 2>&- <&-", 2, ""),
        ("minikube --help | true", 0, ""),
    ],
)
def test_a_stream_that_takes_nothing_is_no_internal_error(line: str, code: int, stderr: str, tmp_path: Path) -> None:
    assert shell(line, tmp_path) == (code, "", stderr)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict"])
def test_what_the_encoding_lacks_is_an_ascii_sign_or_an_escape(encoding: str, tmp_path: Path) -> None:
    code, _, err = shell("minikube validate '€—ü.toml'", tmp_path, PYTHONIOENCODING=encoding, PYTHONUTF8="1")
    assert code == 2
    umlaut = "ü" if encoding == "latin-1" else "\\xfc"
    assert f"\\u20ac-{umlaut}.toml" in err
    assert "internal error" not in err


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "us-ascii:strict"])
def test_a_tree_is_drawn_with_ascii_signs_where_the_encoding_has_no_others(encoding: str, tmp_path: Path) -> None:
    """Nothing is written in another encoding than that of the stream."""
    services = "".join(f'[services.{name}]\ncommand = "run"\n' for name in "abc")
    dependencies = 'depends_on = { a = "started", b = "started" }\n'
    (tmp_path / "supervisor.toml").write_text(services + dependencies)
    code, out, _ = shell("minikube graph", tmp_path, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (code, out) == (0, "c\n+- a (started)\n+- b (started)\n")


@pytest.mark.parametrize("locale", ["C", "xx_YY.nonsense"])
def test_a_locale_that_does_not_exist_or_has_no_encoding_is_no_error(locale: str, tmp_path: Path) -> None:
    env = {"LC_ALL": locale, "PYTHONCOERCECLOCALE": "0"}
    code, _, err = shell("minikube pss", tmp_path, **env)
    assert code == 2
    assert "did you mean ps?" in err


def test_a_service_gets_the_manifests_utf8_in_a_locale_without_it(tmp_path: Path) -> None:
    """And no variable of the command that has executed itself again in UTF-8 mode."""
    (tmp_path / "supervisor.toml").write_text('[services.x]\ncommand = ["x"]\nenv = { V = "ü€" }\n')
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "MORE": "\udcff"}
    shown = "echo → $V $MORE; env | grep -c -e ^PYTHONIO -e ^MINIKUBE_STREAMS"
    code, out, err = shell(f"minikube run x -- sh -c '{shown}'", tmp_path, **env)
    assert out.encode("latin-1") == "→ ü€ \udcff\n0\n".encode("utf-8", "surrogateescape"), err
    code, out, _ = shell("minikube config", tmp_path, **env)
    assert (code, "\\xfc\\u20ac" in out, out.isascii()) == (0, True, True)


def test_json_stays_json_in_any_encoding(tmp_path: Path) -> None:
    (tmp_path / "supervisor.toml").write_text('[services.x]\ncommand = ["echo", "€ü\U0001f600"]\n')
    _, out, _ = shell("minikube config --json", tmp_path, PYTHONIOENCODING="latin-1", PYTHONUTF8="1")
    assert json.loads(out)["services"]["x"]["command"] == ["echo", "€ü\U0001f600"]


def test_output_to_a_non_blocking_pipe_waits_for_its_reader() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    output = io.BufferedWriter(Output(write_end, lambda _: True))

    def write() -> None:
        output.write(b"x" * 300_000)
        output.flush()
        os.close(write_end)

    writer = threading.Thread(target=write)
    writer.start()
    with open(read_end, "rb") as pipe:
        assert len(pipe.read()) == 300_000
    writer.join()


def test_after_the_first_error_output_is_dropped() -> None:
    """Also for the interpreter's last write: an error then is a traceback and exit code 120."""
    with open("/dev/full", "wb", buffering=0) as full:
        output = Output(full.fileno(), lambda _: True)
        with pytest.raises(OSError, match="No space left"):
            output.write(b"first")
        assert output.write(b"second") == 6
        assert output.failure is not None
        assert Output(full.fileno(), lambda _: False).write(b"first") == 5
