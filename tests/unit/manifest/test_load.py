"""A manifest's files: which are found and read, and the errors for files that cannot be."""

import os
from pathlib import Path

import pytest

from minikube.errors import ManifestError
from minikube.manifest import load_manifest

SERVICE = '[services.x]\ncommand = "run"\n'


def write(directory: Path, text: str, name: str = "supervisor.toml") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def problem(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        load_manifest(path, {})
    return str(caught.value)


def test_a_manifest_is_read_with_absolute_paths(project: Path) -> None:
    write(project, SERVICE)
    manifest = load_manifest(Path("supervisor.toml"), {})
    assert (manifest.path, manifest.directory) == (project / "supervisor.toml", project)
    assert manifest.services["x"].cwd == project


def test_a_directory_means_the_manifest_in_it(tmp_path: Path) -> None:
    write(tmp_path, SERVICE)
    assert load_manifest(tmp_path, {}).path == tmp_path / "supervisor.toml"


def test_the_projects_name_is_its_directorys(tmp_path: Path) -> None:
    for name, label in (("My Shop_2", "my-shop-2"), ("___", "minikube")):
        directory = tmp_path / name
        directory.mkdir()
        assert load_manifest(write(directory, SERVICE), {}).name == label


def test_the_error_for_a_missing_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    assert "no such file — `minikube init` writes a first one" in problem(tmp_path / "x.toml")


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write(tmp_path, SERVICE)
    path.chmod(0)
    ours = os.geteuid()
    if ours == 0:  # root may read everything
        os.seteuid(65534)
    try:
        assert "cannot be read (permission denied)" in problem(path)
    finally:
        os.seteuid(ours)


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    assert "cannot be read (not a directory)" in problem(write(tmp_path, "") / "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = \n", ":1:5: not TOML: Invalid value"),
        ("name = 'x'\n[services", ":2:end: not TOML: Expected ']'"),
        ("[a]\n[a]\n", ":2:3: not TOML: Cannot declare"),
        ("a = " + "[" * 5000, ": not TOML: nested too deeply"),
    ],
)
def test_a_syntax_error_is_reported_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    assert problem(path).startswith(f"{path}{message}")


def test_a_file_that_is_not_utf8_is_an_error_with_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"name = 'a'\n# \xff\n")
    assert problem(path) == f"{path}:2: expected UTF-8, got the byte 0xff"


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    assert problem(write(tmp_path, "#" * (1 << 20) + "\n")).endswith("expected at most 1M, got more")
    write(tmp_path, "#" * (1 << 20) + "\n", ".env")
    assert problem(write(tmp_path, SERVICE)) == f"{tmp_path / '.env'}: expected at most 1M, got more"


def test_dotenv_gives_what_the_environment_does_not(tmp_path: Path) -> None:
    write(tmp_path, "A=file\nB=file\n", ".env")
    path = write(tmp_path, SERVICE + 'env = { A = "${A}", B = "${B}" }\n')
    assert load_manifest(path, {"A": "environment"}).services["x"].env == {"A": "environment", "B": "file"}


def test_a_wrong_dotenv_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, SERVICE)
    dotenv = write(tmp_path, "A=1\n???\n", ".env")
    assert problem(path) == f"{dotenv}: line 2: expected NAME=value"
    dotenv.write_bytes(b"\xff")
    assert problem(path) == f"{dotenv}: expected UTF-8"
    dotenv.unlink()
    dotenv.mkdir()
    assert problem(path) == f"{dotenv}: cannot be read (is a directory)"


def test_the_environment_names_redis_where_the_manifest_does_not(tmp_path: Path) -> None:
    path = write(tmp_path, SERVICE)
    assert load_manifest(path, {"REDIS_URL": "redis://h:1"}).redis.url == "redis://h:1"
    with pytest.raises(ManifestError, match=r"redis.url: REDIS_URL of the environment: expected redis://"):
        load_manifest(path, {"REDIS_URL": "h:1"})
    write(tmp_path, SERVICE + '[redis]\nurl = "unix:///r"\nprefix = "p"\n')
    redis = load_manifest(path, {"REDIS_URL": "redis://h:1"}).redis
    assert (redis.url, redis.prefix) == ("unix:///r", "p")


def test_env_files_are_read_later_ones_win(tmp_path: Path) -> None:
    write(tmp_path, "A=1\nB=1\n", "one.env")
    write(tmp_path, "B=2\n", "two.env")
    path = write(tmp_path, SERVICE + 'env_file = ["one.env", "two.env"]\n')
    x = load_manifest(path, {}).services["x"]
    assert x.file_env == {"A": "1", "B": "2"}
    assert x.env_file == (tmp_path / "one.env", tmp_path / "two.env")
    write(tmp_path, SERVICE + 'env_file = "two.env"\n')
    assert load_manifest(path, {}).services["x"].file_env == {"B": "2"}


def test_env_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path, SERVICE + 'env_file = "x.env"\n')
    env_file = tmp_path / "x.env"
    prefix = f"{path}: services.x.env_file: "
    assert problem(path) == f"{prefix}expected a file that can be read, got {env_file} (no such file or directory)"
    env_file.write_text("?")
    assert problem(path) == f"{prefix}{env_file}: line 1: expected NAME=value"
    env_file.write_bytes(b"\xff")
    assert problem(path) == f"{prefix}{env_file}: expected UTF-8"
    env_file.write_bytes(b"#" * (1 << 20) + b"\n")
    assert problem(path) == f"{prefix}{env_file}: expected at most 1M"
