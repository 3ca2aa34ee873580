"""Several files that make one manifest: later keys win, tables merge, lists replace, and problems name the file they are in."""

from pathlib import Path
from typing import Any

import pytest

from minikube.errors import ManifestError
from minikube.manifest import BuildSpec, HealthSpec, Manifest, RestartSpec, load_manifest
from minikube.project_dir import ManifestFiles, files_at


def write(directory: Path, *texts: str) -> ManifestFiles:
    """The files of a manifest with these texts: `supervisor.toml`, `b1.toml`, …"""
    paths = [directory / (f"b{index}.toml" if index else "supervisor.toml") for index in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return ManifestFiles(paths[0], tuple(paths[1:]))


def load(directory: Path, *texts: str) -> Manifest:
    return load_manifest(write(directory, *texts), {})


def problems(directory: Path, *texts: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load(directory, *texts)
    return [line.removeprefix(f"{directory}/") for line in str(caught.value).splitlines()]


def service(directory: Path, base: str, over: str) -> Any:
    """The service x of two files with these keys."""
    return load(directory, f"[services.x]\n{base}\n", f"[services.x]\n{over}\n").services["x"]


def test_later_keys_win_tables_merge_and_lists_replace(tmp_path: Path) -> None:
    manifest = load(
        tmp_path,
        """
        [registry]
        listen = "127.0.0.1:1"
        token = "a"
        [services.x]
        command = ["a", "b"]
        tags = ["a", "b"]
        env = { A = "1", B = "1" }
        limits.pids = 1
        [services.y]
        command = "y"
        """,
        """
        [registry]
        token = "b"
        [services.z]
        command = "z"
        [services.x]
        tags = ["c"]
        env.B = "2"
        env.C = "2"
        """,
        'services.x.env.C = "3"\nservices.x.limits = { nofile = 5 }\n',
    )
    x = manifest.services["x"]
    assert list(manifest.services) == ["x", "y", "z"]
    assert (manifest.registry.listen.port, manifest.registry.token) == (1, "b")
    assert (x.command, x.tags, x.env) == (("a", "b"), ("c",), {"A": "1", "B": "2", "C": "3"})
    assert x.limits == {"pids": 1, "nofile": 5}


def test_directory_name_and_relative_paths_are_those_of_the_first_file(tmp_path: Path) -> None:
    other = tmp_path / "dev"
    other.mkdir()
    (tmp_path / ".env").write_text("A=first\n")
    (other / ".env").write_text("A=other\n")
    (tmp_path / "supervisor.toml").write_text('name = "one"\n[services.x]\ncommand = "run"\n')
    (other / "dev.toml").write_text('name = "two"\n[services.x]\ncwd = "src"\nenv.A = "${A}"\nwatch = ["src"]\n')
    manifest = load_manifest(ManifestFiles(tmp_path / "supervisor.toml", (other / "dev.toml",)), {})
    x = manifest.services["x"]
    assert (manifest.name, manifest.directory, manifest.path.name) == ("one", tmp_path, "supervisor.toml")
    assert (x.cwd, x.env["A"]) == (tmp_path / "src", "first")
    assert manifest.warnings == (
        f"{other / 'dev.toml'}:1:8: name: is not used, {tmp_path / 'supervisor.toml'} or its directory gives the project its name",
    )


@pytest.mark.parametrize(
    ("base", "over", "fields"),
    [
        ('command = "a"', 'shell = "b"', {"argv": ("/bin/sh", "-ec", "b"), "command": ()}),
        ('shell = "a"', 'command = "b"', {"shell": "", "command": ("b",)}),
        ('command = "a"\nargs = ["-x"]', 'command = "b"', {"command": ("b",)}),
        ('command = "a"\nargs = ["-x"]', 'command = "b"\nargs = ["-y"]', {"command": ("b", "-y")}),
        ('command = "a"\nargs = ["-x"]', 'args = ["-y"]', {"command": ("a", "-y")}),
        ('command = "a"\nargs = ["-x"]\ncwd = "src"', 'image = "i"', {"image": "i", "command": (), "workdir": ""}),
        (
            'image = "i"\nargs = ["-x"]\nentrypoint = "e"\nvolumes = ["v:/v"]\ncwd = "/srv"\ninit = true',
            'command = "b"',
            {"runtime": "process", "image": "", "command": ("b",), "entrypoint": None, "volumes": (), "init": False},
        ),
        ('build = "."\nruntime = "container"', 'shell = "b"', {"runtime": "process", "build": None}),
        (
            'image = "i:1"\ncommand = ["serve"]\nargs = ["-x"]\nentrypoint = "e"\ncwd = "/srv"',
            'image = "i:2"',
            {"image": "i:2", "command": ("serve", "-x"), "entrypoint": ("e",), "workdir": "/srv"},
        ),
        ('image = "i:1"\nargs = ["-x"]', 'build = "."', {"image": "", "command": ("-x",)}),
        ('build = "."', 'image = "i:2"', {"image": "i:2", "build": None}),
        ('image = "i"\nbuild = "."', 'build.target = "dev"', {"image": "", "runtime": "container"}),
        (
            'image = "i"\ncommand = "a"',
            'command = "b"\nruntime = "container"',
            {"runtime": "container", "image": "i", "command": ("b",)},
        ),
        (
            'image = "i"\ncommand = "a"\nargs = ["-x"]',
            'image = "j"\ncommand = "b"\nruntime = "container"',
            {"image": "j", "command": ("b",)},
        ),
        ('image = "i"\ncommand = "a"', 'image = "j"\ncommand = "b"', {"image": "j", "command": ("b",)}),
        ('image = "i"\ncommand = "a"', 'entrypoint = "e"', {"image": "i", "command": ("a",), "entrypoint": ("e",)}),
    ],
)
def test_a_later_way_to_run_replaces_the_one_before(
    tmp_path: Path, base: str, over: str, fields: dict[str, Any]
) -> None:
    found = service(tmp_path, base, over)
    assert {name: getattr(found, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("base", "over", "field", "meaning"),
    [
        ('health = "/a"', 'health.interval = "1s"', "health", HealthSpec("http", http="/a", interval=1.0)),
        ('health = "tcp"', 'health.interval = "1s"', "health", HealthSpec("tcp", interval=1.0)),
        ('health = { http = "/a", timeout = "1s" }', "health.tcp = true", "health", HealthSpec("tcp", timeout=1.0)),
        (
            'health = { http = "/a", timeout = "1s" }',
            'health = "/b"',
            "health",
            HealthSpec("http", http="/b", timeout=1.0),
        ),
        (
            'health = { tcp = true, timeout = "1s" }',
            'health = "/b"',
            "health",
            HealthSpec("http", http="/b", timeout=1.0),
        ),
        ("restart.limit = 2", 'restart = "never"', "restart", RestartSpec("never", limit=2)),
        ('depends_on = { y = "started", z = "started" }', 'depends_on = ["z"]', "depends_on", {"z": "healthy"}),
        ('restart = "never"', "restart.limit = 2", "restart", RestartSpec("never", limit=2)),
        ('depends_on = ["y"]', 'depends_on = { z = "started" }', "depends_on", {"y": "healthy", "z": "started"}),
        ('depends_on = ["y"]', 'depends_on = ["z"]', "depends_on", {"z": "healthy"}),
        ('depends_on.y = "started"', "depends_on.y.required = false", "optional_dependencies", ("y",)),
        ('stop.command = "a"', 'stop.shell = "b"', "stop", None),
        ('env_file = { path = "a", required = false }', 'env_file = { path = "supervisor.toml" }', "env_file", None),
    ],
)
def test_a_short_form_is_the_table_that_it_is_short_for(
    tmp_path: Path, base: str, over: str, field: str, meaning: Any
) -> None:
    others = '[services.y]\ncommand = "y"\nport = "auto"\n[services.z]\ncommand = "z"\nport = "auto"\n'
    found = load(
        tmp_path,
        f'{others}[services.x]\ncommand = "x"\nport = "auto"\n{base}\n',
        f"[services.x]\n{over}\n",
    ).services["x"]
    if field == "stop":
        assert (found.stop.command, found.stop.shell) == ((), "b")
    elif field == "env_file":
        assert [(file.path.name, file.required) for file in found.env_file] == [("supervisor.toml", True)]
    else:
        assert getattr(found, field) == meaning


def test_a_short_build_is_a_table_with_its_context(tmp_path: Path) -> None:
    assert service(tmp_path, 'build = "."', 'build = { target = "dev" }').build == BuildSpec(tmp_path, target="dev")
    ports = service(tmp_path, 'image = "i"\nports = { web = 80 }', "ports.web.container_port = 8080").ports
    assert (ports["web"].port, ports["web"].container_port) == (80, 8080)


def test_each_problem_names_the_file_that_it_is_in(tmp_path: Path) -> None:
    base = '[services.x]\ncommand = "x"\nport = 80\nhealth = "/"\n[services.y]\ncommand = "y"\nport = 81\n'
    assert problems(tmp_path, base + "prot = 1\n", "[services.x]\nreplicas = -1\n[services.y]\nport = 80\n") == [
        "supervisor.toml:8:1: services.y.prot: unknown key, expected a key of [services.y] (did you mean port?)",
        "b1.toml:2:12: services.x.replicas: expected an integer from 0 to 1000, got -1",
        'b1.toml:4:8: services.y.port: expected a port of its own or "auto", got 80, which services.x.port has',
    ]
    assert problems(tmp_path, "a = \n", "b = \n") == [
        "supervisor.toml:1:5: not TOML: Invalid value",
        "b1.toml:1:5: not TOML: Invalid value",
    ]
    files = write(tmp_path, base, "")
    files.overrides[0].unlink()
    with pytest.raises(ManifestError, match=r"b1\.toml: no such file$"):
        load_manifest(files, {})


def test_an_override_of_a_service_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    assert problems(tmp_path, '[services.web]\ncommand = "x"\n', "[services.wbe]\nreplicas = 2\n") == [
        "b1.toml:1:11: services.wbe: expected command or shell (a process) or image/build (a container), got none of them:"
        " no file before this one has the service wbe (did you mean web?)"
    ]
    (wrong,) = problems(tmp_path, "[services.web]\nreplicas = 2\n", "[services.web]\nreplicas = 3\n")
    assert wrong.startswith("supervisor.toml:1:11: services.web: expected command")
    assert wrong.endswith("none of them")


def test_the_override_file_counts_where_no_file_is_named(tmp_path: Path) -> None:
    path, override = tmp_path / "supervisor.toml", tmp_path / "supervisor.override.toml"
    path.write_text('[services.x]\ncommand = "x"\n')
    override.write_text("services.x.replicas = 3\n")
    assert load_manifest(tmp_path, {}).services["x"].replicas == 3
    assert load_manifest(path, {}).services["x"].replicas == 1
    assert load_manifest(files_at(tmp_path), {}).files == files_at(tmp_path)
    override.unlink()
    assert load_manifest(tmp_path, {}).services["x"].replicas == 1
    override.symlink_to("nowhere")
    with pytest.raises(ManifestError, match=r"supervisor\.override\.toml: no such file"):
        load_manifest(tmp_path, {})
    override.unlink()
    override.mkdir()
    with pytest.raises(ManifestError, match=r"supervisor\.override\.toml: cannot be read \(is a directory\)"):
        load_manifest(tmp_path, {})


@pytest.mark.parametrize(
    ("base", "over", "kind"),
    [
        ('image = "i"', 'command = "x"', "process"),
        ('image = "i"', 'command = "x"\nruntime = "process"', ""),
        ('image = "i"', 'command = "x"\nruntime = "container"', ""),
        ('image = "i"', 'command = "x"\nimage = "j"', ""),
        ('image = "i"', 'args = ["x"]', ""),
        ('command = "i"', 'shell = "x"', ""),
    ],
)
@pytest.mark.parametrize("layer", ["file", "extends", "defaults"])
def test_a_command_that_makes_a_process_of_a_container_is_a_warning_unless_it_says_so(
    tmp_path: Path, base: str, over: str, kind: str, layer: str
) -> None:
    """A user of Compose would expect the CMD of the image to be replaced."""
    if layer == "file":
        texts = [f"[services.x]\n{base}\n", f"[services.x]\n{over}\n"]
    else:
        head = "[defaults]" if layer == "defaults" else "[services.base]"
        extends = 'extends = "base"\n' if layer == "extends" else ""
        texts = [f"{head}\n{base}\n[services.x]\n{over}\n{extends}"]
    manifest = load(tmp_path, *texts)
    found = [warning for warning in manifest.warnings if "makes a process of the container of" in warning]
    assert len(found) == bool(kind)
    if kind:
        assert manifest.services["x"].runtime == kind
        assert f"{tmp_path}/supervisor.toml:2:9" in found[0]
        assert found[0].startswith(
            f"{tmp_path}/{'b1.toml:2:11' if layer == 'file' else 'supervisor.toml:4:11'}: services.x.command"
        )


@pytest.mark.parametrize(
    ("base", "over", "problem"),
    [
        ("health = 5", "health.interval = '1s'", "services.x.health"),
        ("health = { tcp = true }", "health = 5", "services.x.health"),
        ("depends_on = 5", "depends_on.y = 'started'", "services.x.depends_on"),
    ],
)
def test_a_value_of_a_wrong_type_is_a_problem_also_under_or_over_a_table(
    tmp_path: Path, base: str, over: str, problem: str
) -> None:
    files = (f"[services.x]\ncommand = 'x'\nport = 1\n{base}\n", f"[services.x]\n{over}\n")
    assert problem in " ".join(problems(tmp_path, *files))
