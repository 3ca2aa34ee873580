"""A manifest's files: which are found and read, and the errors for files that cannot be."""

import os
import sys
from pathlib import Path

import pytest

from minikube.errors import ManifestError
from minikube.manifest import fill_instance_variables, load_manifest, template_text

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


def test_a_number_of_thousands_of_digits_is_a_mistake_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, f"{SERVICE}replicas = {'9' * 5000}\n")
    assert problem(path) == f"{path}:3:12: not TOML: a number has too many digits"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("cwd", 'command = "run"\ncwd = "loop"'),
        ("build", 'build = "loop"'),
        ("volumes[0]", 'image = "x"\nvolumes = ["./loop:/x"]'),
    ],
)
def test_links_in_a_circle_are_a_problem_of_the_key_that_names_them(key: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    message = problem(write(tmp_path, f"[services.x]\n{text}\n"))
    assert f": services.x.{key}: expected" in message
    assert "whose links lead in a circle" in message


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
        ("name = 'x'\n[services", ":2:10: not TOML: Expected ']'"),
        ("[a]\n[a]\n", ":2:2: not TOML: a is there twice, first in line 1 — remove one of them"),
        ("[services.x]\nport = 1\ntags = []\nport = 2\n", ":4:1: not TOML: port is there twice, first in line 2"),
        ("[a.b]\n[a]\nb = 1\n", ":3:1: not TOML: b is there twice, first in line 1"),
        ("[a]\nx = { y = 1, y = 2 }\n", ":2:14: not TOML: y is there twice, first in line 2"),
        ('["a b".c]\n[d]\n["a b".c]\n', ':3:8: not TOML: "a b".c is there twice, first in line 1'),
        ("a = " + "[" * 5000, ":1:105: not TOML: nested too deeply"),
        ("b = 1\na = " + "[" * 101 + "]" * 101, ":2:105: not TOML: nested too deeply"),
        ("a" + ".a" * 100 + " = 1", ":1:201: not TOML: nested too deeply"),
    ],
)
def test_a_syntax_error_is_reported_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    assert problem(path).startswith(f"{path}{message}")


def test_a_file_that_is_not_utf8_is_an_error_with_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"name = 'a'\n# \xff\n")
    assert problem(path) == f"{path}:2:3: expected UTF-8, got the byte 0xff"


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
    dotenv = write(tmp_path, "A=1\nB='open\n", ".env")
    assert problem(path) == f"{dotenv}:2:3: expected a closing '"
    dotenv.write_bytes("é".encode() + b"\xff")
    assert problem(path) == f"{dotenv}:1:2: expected UTF-8, got the byte 0xff"
    dotenv.unlink()
    dotenv.mkdir()
    assert problem(path) == f"{dotenv}: cannot be read (is a directory)"


def test_the_environment_names_redis_where_the_manifest_does_not(tmp_path: Path) -> None:
    path = write(tmp_path, SERVICE)
    assert load_manifest(path, {"MINIKUBE_REDIS_URL": "redis://h:1"}).redis.url == "redis://h:1"
    with pytest.raises(ManifestError, match=r"redis.url: MINIKUBE_REDIS_URL of the environment: expected redis://"):
        load_manifest(path, {"MINIKUBE_REDIS_URL": "h:1"})
    write(tmp_path, "MINIKUBE_REDIS_URL=redis://dotenv:1\n", ".env")
    assert load_manifest(path, {}).redis.url == "redis://dotenv:1"
    write(tmp_path, SERVICE + '[redis]\nurl = "unix:///r"\nprefix = "p"\n')
    redis = load_manifest(path, {"MINIKUBE_REDIS_URL": "redis://h:1"}).redis
    assert (redis.url, redis.prefix) == ("unix:///r", "p")


def test_the_redis_of_an_application_does_not_choose_the_projects(tmp_path: Path) -> None:
    path = write(tmp_path, SERVICE)
    assert load_manifest(path, {"REDIS_URL": "redis://shell:1"}).redis.url == ""
    write(tmp_path, "REDIS_URL=redis://:p$$1@dotenv:1/3\n", ".env")
    manifest = load_manifest(path, {})
    assert manifest.redis.url == ""
    env = manifest.services["x"].env
    assert {name: template_text(value) for name, value in env.items()} == {"REDIS_URL": "redis://:p$$1@dotenv:1/3"}
    assert load_manifest(path, {"REDIS_URL": "redis://shell:1"}).services["x"].env["REDIS_URL"] == "redis://shell:1"
    write(tmp_path, SERVICE + 'env = { REDIS_URL = "redis://own:1" }\n')
    assert load_manifest(path, {}).services["x"].env == {"REDIS_URL": "redis://own:1"}
    write(tmp_path, SERVICE + 'env_file = "x.env"\n')
    write(tmp_path, "REDIS_URL=redis://file:1\n", "x.env")
    x = load_manifest(path, {}).services["x"]
    assert (x.env, x.file_env) == ({}, {"REDIS_URL": "redis://file:1"})
    write(tmp_path, SERVICE + 'env_file = "x.env"\nenv = { REDIS_URL = "redis://own:1" }\n')
    assert load_manifest(path, {}).services["x"].env == {"REDIS_URL": "redis://own:1"}


def test_an_instances_redis_chooses_no_other_projects(tmp_path: Path) -> None:
    path = write(tmp_path, SERVICE)
    inside = {"MINIKUBE_REDIS_URL": "redis://h:1", "INSTANCE_ID": "1", "SERVICE_NAME": "y", "MINIKUBE_REGISTRY": "h:2"}
    assert load_manifest(path, inside).redis.url == ""
    write(tmp_path, "MINIKUBE_REDIS_URL=redis://dotenv:1\n", ".env")
    assert load_manifest(path, inside).redis.url == "redis://dotenv:1"


def test_port_and_host_of_dotenv_are_the_applications(tmp_path: Path) -> None:
    """Neither is taken for an instance's port or host, in any string; those of the environment are."""
    write(tmp_path, "PORT=3000\nHOST=0.0.0.0\n", ".env")
    path = write(tmp_path, SERVICE + 'port = "${PORT:-7070}"\nhost = "${HOST:-127.0.0.1}"\nargs = ["${PORT}"]\n')
    x = load_manifest(path, {}).services["x"]
    assert (x.port, x.host, x.command) == (7070, "127.0.0.1", ("run", "${PORT}"))
    assert load_manifest(path, {"PORT": "5"}).services["x"].port == 5
    write(tmp_path, SERVICE + 'tags = ["a${PORT}"]\n')
    (warning,) = load_manifest(path, {}).warnings
    assert "services.x.tags[0]: PORT of .env belongs to the application and is not used here" in warning


def test_port_and_host_of_an_env_file_do_not_replace_an_instances(tmp_path: Path) -> None:
    write(tmp_path, "PORT=3000\nHOST=0.0.0.0\nA=1\n", ".env")
    path = write(tmp_path, SERVICE + 'port = 7070\nenv_file = ".env"\n')
    assert load_manifest(path, {}).services["x"].file_env == {"A": "1"}
    write(tmp_path, SERVICE + 'env_file = ".env"\n')
    assert load_manifest(path, {}).services["x"].file_env == {"PORT": "3000", "HOST": "0.0.0.0", "A": "1"}


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SERVICE.encode() + b'env_file = "x.env"\nargs = ["${A}"]\n')
    for name in (".env", "x.env"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbfA=1\r\n")
    x = load_manifest(path, {}).services["x"]
    assert (x.command, x.file_env) == (("run", "1"), {"A": "1"})
    path.write_bytes(b"\xef\xbb\xbfname = 'a'\n# \xff\n")
    assert problem(path) == f"{path}:2:3: expected UTF-8, got the byte 0xff"


def test_lines_of_shell_in_dotenv_and_env_files_are_warnings_with_file_and_line(tmp_path: Path) -> None:
    dotenv = write(tmp_path, "A=1\nif true; then\n  export B=2\nfi\nHOME_DIR\n", ".env")
    env_file = write(tmp_path, "source secret-place\nC\n", "x.env")
    path = write(tmp_path, SERVICE + 'env_file = "x.env"\nargs = ["${A}${B}${HOME_DIR}"]\n')
    manifest = load_manifest(path, {"HOME_DIR": "/h", "C": "c"})
    x = manifest.services["x"]
    assert (x.command, x.file_env) == (("run", "12/h"), {"C": "c"})
    places = [warning.partition(": ")[0] for warning in manifest.warnings]
    assert places == [f"{dotenv}:2:1", f"{dotenv}:4:1", f"{env_file}:1:1"]
    assert "secret-place" not in "".join(manifest.warnings)


def test_our_interpreter_has_a_name_everywhere_in_a_manifest(tmp_path: Path) -> None:
    path = write(tmp_path, SERVICE + 'args = ["${MINIKUBE_PYTHON}"]\ntags = ["${MINIKUBE_PYTHON}"]\n')
    x = load_manifest(path, {"MINIKUBE_PYTHON": "/other"}).services["x"]
    assert (x.command, x.tags) == (("run", "${MINIKUBE_PYTHON}"), (sys.executable,))


def test_env_files_are_read_later_ones_win(tmp_path: Path) -> None:
    write(tmp_path, "A=1\nB=1\n", "one.env")
    write(tmp_path, "B=2\n", "two.env")
    path = write(tmp_path, SERVICE + 'env_file = ["one.env", "two.env"]\n')
    x = load_manifest(path, {}).services["x"]
    assert x.file_env == {"A": "1", "B": "2"}
    assert [file.path for file in x.env_file] == [tmp_path / "one.env", tmp_path / "two.env"]
    write(tmp_path, SERVICE + 'env_file = "two.env"\n')
    assert load_manifest(path, {}).services["x"].file_env == {"B": "2"}


def test_env_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path, SERVICE + 'env_file = "x.env"\n')
    env_file = tmp_path / "x.env"
    way_out = "create it, or write { path = …, required = false }"
    assert (
        problem(path) == f"{path}:3:12: services.x.env_file: expected a file that can be read, got {env_file}"
        f" (no such file or directory) — {way_out}"
    )
    env_file.write_text("B=1\n  A='")
    assert problem(path) == f"{env_file}:2:5: services.x.env_file: expected a closing '"
    env_file.write_text("A='x\n' y")
    assert problem(path) == f"{env_file}:2:3: services.x.env_file: expected nothing after the closing '"
    env_file.write_bytes(b"\n\xff")
    assert problem(path) == f"{env_file}:2:1: services.x.env_file: expected UTF-8, got the byte 0xff"
    env_file.write_bytes(b"#" * (1 << 20) + b"\n")
    assert problem(path) == f"{env_file}: services.x.env_file: expected at most 1M, got more"


def test_shared_variables_hold_for_all_services_under_their_own(tmp_path: Path) -> None:
    write(tmp_path, "A=shared-file\nB=shared-file\nPORT=1\n", "shared.env")
    write(tmp_path, "C=own-file\n", "own.env")
    path = write(
        tmp_path,
        """
        env_file = ["shared.env", { path = "missing.env", required = false }]
        [env]
        B = "shared"
        C = "shared"
        D = "${PORT}"
        [services.x]
        command = "x"
        port = "auto"
        env_file = "own.env"
        env = { E = "own" }
        [services.y]
        command = "y"
        env = { D = "own" }
        """,
    )
    services = load_manifest(path, {}).services
    assert services["x"].file_env == {"A": "shared-file", "B": "shared-file", "C": "own-file"}
    assert services["x"].env == {"B": "shared", "D": "${PORT}", "E": "own"}
    assert services["y"].env == {"B": "shared", "C": "shared", "D": "own"}
    assert services["y"].file_env["PORT"] == "1"
    assert [file.required for file in services["x"].env_file] == [True, False, True]


def test_shared_variables_may_name_the_ports_of_services(tmp_path: Path) -> None:
    """A service without such a port gets nothing in its place."""
    path = write(
        tmp_path,
        """
        [env]
        URL = "http://localhost:${PORT_DEBUG:-none}/${REPLICA}"
        [services.x]
        command = "run"
        ports = { debug = "auto" }
        [services.y]
        command = "run"
        """,
    )
    loaded = load_manifest(path, {})
    assert loaded.services["x"].env == {"URL": "http://localhost:${PORT_DEBUG:-none}/${REPLICA}"}
    assert loaded.warnings == ()
    assert fill_instance_variables(loaded.services["y"].env["URL"], {"REPLICA": "1"}) == "http://localhost:none/1"


def test_the_variables_of_named_ports_are_known_at_the_start_only_where_the_service_has_the_port(
    tmp_path: Path,
) -> None:
    text = """
        [services.x]
        command = ["x", "${PORT_A_B}", "${PORT_C:-none}"]
        ports = { a-b = "auto" }
        """
    x = load_manifest(write(tmp_path, text), {"PORT_A_B": "of the shell"}).services["x"]
    assert x.command == ("x", "${PORT_A_B}", "none")


def test_an_optional_dependency_on_a_service_that_is_not_there_is_dropped_with_a_warning(tmp_path: Path) -> None:
    text = """
        [services.x]
        command = "x"
        depends_on = { nope = { required = false }, y = { condition = "started", required = false } }
        [services.y]
        command = "y"
        """
    manifest = load_manifest(write(tmp_path, text), {})
    x = manifest.services["x"]
    assert (x.depends_on, x.optional_dependencies) == ({"y": "started"}, ("y",))
    assert "services.x.depends_on.nope: is no service of this manifest" in manifest.warnings[0]


def places(directory: Path, text: bytes) -> list[str]:
    """The place and the key of each problem in a manifest."""
    path = directory / "supervisor.toml"
    path.write_bytes(text)
    return [
        line.removeprefix(f"{path}:").split(": ")[0] + " " + line.split(": ")[1] for line in problem(path).splitlines()
    ]


MISTAKES = """\
name = "A B"\t# a = 1
[services.x]
command = \"\"\"
a \\
  'b\"\"\"
\treplicas\t=\t-1
"ü" . a = 1
health = { http = "/ x", intervall = "5s" }
env_file = [ "none",
  { pth = "x" } ]
ports."A b".port = 0
depends_on = [ "y",
  "nope" ]
[services."a.b"]
command = "x"
prot = 1
[services.y]
port = 80
command = "y"
depends_on.x = "started"
[services.z]
command = "z"
[services.z.ports]
web = { port = 80 }
[[other]]
[[other]]
"""


@pytest.mark.parametrize("form", ["as it is", "CRLF", "byte order mark"])
def test_each_problem_has_its_exact_place_in_every_way_of_writing(tmp_path: Path, form: str) -> None:
    """Columns count characters from 1, a tab as one: of the value, or of the key where the key is wrong."""
    text = MISTAKES.replace("\n", "\r\n") if form == "CRLF" else MISTAKES
    assert places(tmp_path, text.encode("utf-8-sig" if form == "byte order mark" else "utf-8")) == [
        "1:8 name",
        "3:11 services.x.command",
        "6:13 services.x.replicas",
        '7:1 services.x."ü"',
        "8:19 services.x.health.http",
        "8:26 services.x.health.intervall",
        "10:3 services.x.env_file[1].path",
        "10:5 services.x.env_file[1].pth",
        '11:7 services.x.ports."A b"',
        '11:20 services.x.ports."A b".port',
        "12:16 services.x.depends_on",
        "13:3 services.x.depends_on.nope",
        '14:11 services."a.b"',
        '16:1 services."a.b".prot',
        "24:7 services.z.ports.web",
        "25:3 other",
    ]


def test_rules_between_keys_have_the_place_of_the_key_that_is_named(tmp_path: Path) -> None:
    text = """\
[services.x]
command = "x"
depends_on = [ "y",
  "nope" ]
[services.y]
command = "y"
depends_on.x = "started"
port = 80
[services.z]
command = "z"
port = 80
health = { interval = "1s" }
"""
    assert places(tmp_path, text.encode()) == [
        "3:16 services.x.depends_on",
        "4:3 services.x.depends_on.nope",
        "11:8 services.z.port",
        "12:10 services.z.health",
    ]


def test_variables_that_are_always_the_projects_are_not_taken_and_a_port_that_is_told_twice_is_a_warning(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path,
        """
        [env]
        MINIKUBE_REGISTRY = "other:1"
        [services.x]
        command = "x"
        port = 7000
        env = { PORT = "4000", MINIKUBE_REDIS_URL = "redis://h:1", A = "1" }
        [services.y]
        command = "y"
        port = 7001
        env = { PORT = "${PORT}" }
        [services.z]
        command = "z"
        env = { PORT = "4001" }
        """,
    )
    manifest = load_manifest(path, {})
    assert manifest.services["x"].env == {"PORT": "4000", "A": "1"}
    assert [warning.split(":")[3].strip() for warning in map(str, manifest.warnings)] == [
        "env.MINIKUBE_REGISTRY",
        "services.x.env.MINIKUBE_REDIS_URL",
        "services.x.env.PORT",
    ]


def test_an_env_file_that_is_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    text = problem(write(tmp_path, SERVICE + 'env_file = { path = "dir", required = false }\n'))
    assert f"expected a file that can be read, got {tmp_path / 'dir'} (is a directory)" in text


def test_the_first_of_several_doubled_keys_is_named_and_lines_that_are_not_toml_are(tmp_path: Path) -> None:
    path = write(tmp_path, "a = 1\na = 2\na = 3\n")
    assert problem(path) == f"{path}:2:1: not TOML: a is there twice, first in line 1 — remove one of them"
    assert problem(write(tmp_path, "a = 1\nb c\n")).startswith(f"{path}:2:3: not TOML: ")
    # Only what stands before the mistake of another kind is looked at.
    assert problem(write(tmp_path, "a = 1\na = 2\nb c\n")) == (
        f"{path}:2:1: not TOML: a is there twice, first in line 1 — remove one of them"
    )
