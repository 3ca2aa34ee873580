"""`[defaults]` and `extends`: keys that hold where a service is silent, and what is wrong with them."""

from pathlib import Path

import pytest

from minikube.errors import ManifestError
from minikube.manifest import HealthSpec, Manifest, load_manifest
from minikube.manifest.layers.inherit import MAX_EXTENDS
from minikube.manifest.load import read_manifest
from minikube.project_dir import ManifestFiles


def load(directory: Path, text: str) -> Manifest:
    path = directory / "supervisor.toml"
    path.write_text(text)
    return load_manifest(path, {})


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load(directory, text)
    return [line.removeprefix(f"{directory}/supervisor.toml:") for line in str(caught.value).splitlines()]


def test_own_keys_win_over_extended_ones_and_these_over_defaults(tmp_path: Path) -> None:
    services = load(
        tmp_path,
        """
        [defaults]
        tags = ["d"]
        env = { A = "d", B = "d", C = "d", D = "d" }
        replicas = 4
        restart.limit = 9
        [services.top]
        command = "top"
        env = { A = "t", B = "t", C = "t" }
        replicas = 3
        [services.middle]
        extends = "top"
        env = { A = "m", B = "m" }
        restart = "never"
        [services.x]
        extends = "middle"
        env.A = "x"
        """,
    ).services
    x = services["x"]
    assert (x.command, x.tags, x.replicas) == (("top",), ("d",), 3)
    assert x.env == {"A": "x", "B": "m", "C": "t", "D": "d"}
    assert (x.restart.policy, x.restart.limit) == ("never", 9)
    assert services["top"].env == {"A": "t", "B": "t", "C": "t", "D": "d"}


def test_all_keys_come_along_with_a_base(tmp_path: Path) -> None:
    x = load(
        tmp_path,
        """
        [services.db]
        command = "db"
        port = "auto"
        [services.base]
        command = "base"
        profiles = ["p"]
        groups = ["g"]
        tags = ["t"]
        depends_on = ["db"]
        [services.x]
        extends = "base"
        args = ["-v"]
        """,
    ).services["x"]
    assert (x.profiles, x.groups, x.tags, x.depends_on) == (("p",), ("g",), ("t",), {"db": "healthy"})
    assert x.command == ("base", "-v")


def test_a_base_that_runs_nothing_is_no_service(tmp_path: Path) -> None:
    text = '[services.base]\nenv.A = "1"\nhealth.interval = "1s"\n[services.x]\nextends = "base"\ncommand = "x"\n'
    path = tmp_path / "supervisor.toml"
    path.write_text(text + 'port = "auto"\nhealth.tcp = true\n')
    manifest, reading = read_manifest(ManifestFiles(path), {})
    assert list(manifest.services) == ["x"]
    assert reading.bases == ("base",)
    assert manifest.services["x"].health == HealthSpec("tcp", interval=1.0)
    (wrong,) = problems(tmp_path, '[services.base]\nenv.A = "1"\n')
    assert wrong.startswith("1:11: services.base: expected command or shell")
    (wrong,) = problems(tmp_path, '[services.base]\n[services.x]\nextends = "base"\n')
    assert wrong.startswith("2:11: services.x: expected command or shell")
    needs = '[services.base]\n[services.x]\nextends = "base"\ncommand = "x"\n[services.y]\ncommand = "y"\ndepends_on = ["base"]\n'
    assert problems(tmp_path, needs) == [
        "7:15: services.y.depends_on.base: expected a service of this manifest, got one that is only extended"
        " — give base a command, or depend on a service that extends it"
    ]


def test_an_extended_service_of_another_file_is_found(tmp_path: Path) -> None:
    path, other = tmp_path / "supervisor.toml", tmp_path / "dev.toml"
    path.write_text('[services.x]\ncommand = "x"\nextends = "base"\n[services.y]\ncommand = "y"\n')
    other.write_text('[services.base]\ntags = ["t"]\n[services.y]\nextends = "x"\n')
    services = load_manifest(ManifestFiles(path, (other,)), {}).services
    assert (services["x"].tags, services["y"].tags, services["y"].command) == (("t",), ("t",), ("y",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[services.x]\nextends = "bse"\n[services.base]\ncommand = "b"\n',
            "2:11: services.x.extends: expected another service",
        ),
        (
            '[services.x]\nextends = "x"\n',
            "2:11: services.x.extends: expected no cycle, got x → x — remove one of them",
        ),
        (
            '[services.x]\nextends = "y"\n[services.y]\nextends = "z"\n[services.z]\nextends = "y"\n',
            "6:11: services.z.extends: expected no cycle, got y → z → y — remove one of them",
        ),
        (
            '[services.x]\nextends = ["y"]\ncommand = "x"\n',
            "2:11: services.x.extends: expected the name of another service, got a list",
        ),
        (
            '[defaults]\ndepends_on = 5\n[services.x]\ncommand = "x"\n',
            "2:14: defaults.depends_on: expected a list of service names, or a table such as",
        ),
        ("[services.x]\nextends = 3\n", "2:11: services.x.extends: expected the name of another service, got 3"),
        ('[defaults]\nextends = "x"\n', "2:1: defaults.extends: unknown key, expected a key of [defaults]"),
        ("defaults = 3\n", "1:12: defaults: expected a table, got 3"),
        (
            "[defaults]\nprot = 3\n",
            "2:1: defaults.prot: unknown key, expected a key of [defaults] (did you mean port?)",
        ),
        ('[defaults.env]\n"A B" = 3\n', '2:1: defaults.env."A B": expected a variable\'s name as the key'),
        (
            '[services.x]\nextends = "base"\n[services.base]\ncommand = ["b", 1]\n[services.y]\nextends = "x"\n',
            "4:17: services.base.command[1]: expected a string, got 1",
        ),
        (
            '[defaults]\nreplicas = -1\n[services.x]\ncommand = "x"\n[services.y]\ncommand = "y"\n',
            "2:12: defaults.replicas: expected an integer from 0 to 1000, got -1",
        ),
        (
            '[services.x]\ncommand = "x"\nextends = "B_"\n[services.B_]\nreplicas = 1\n',
            "4:11: services.B_: expected a DNS label",
        ),
    ],
)
def test_a_mistake_is_told_once_where_it_stands(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, text)
    assert [line for line in found if line.startswith(expected)] == found[:1], found
    assert len(found) == 1, found


def test_a_chain_has_a_bound_in_whatever_order_it_is_written(tmp_path: Path) -> None:
    def chain(length: int, order: int) -> str:
        links = [f'[services.s{index}]\nextends = "s{index + 1}"\n' for index in range(length)]
        return "".join([*links, f'[services.s{length}]\ncommand = "x"\n'][::order])

    for order in (1, -1):
        assert load(tmp_path, chain(MAX_EXTENDS, order)).services["s0"].command == ("x",)
        (wrong,) = problems(tmp_path, chain(MAX_EXTENDS + 1, order))
        assert f"services.s0.extends: expected a chain of at most {MAX_EXTENDS} services" in wrong


def test_defaults_leave_out_what_has_no_meaning_for_a_service(tmp_path: Path) -> None:
    services = load(
        tmp_path,
        """
        [defaults]
        depends_on = ["db"]
        cwd = "src"
        network = "host"
        init = true
        env_file = { path = "none", required = false }
        [defaults.health]
        interval = "1s"
        [services.db]
        image = "db"
        port = "auto"
        health = "tcp"
        [services.x]
        command = "x"
        [services.c]
        image = "c"
        cwd = "/srv"
        """,
    ).services
    db, x, c = services["db"], services["x"], services["c"]
    assert (db.depends_on, x.depends_on) == ({}, {"db": "healthy"})
    table = '[defaults]\ndepends_on = { db = "started" }\n[services.db]\ncommand = "db"\n[services.x]\ncommand = "x"\n'
    again = load(tmp_path, table).services
    assert (again["db"].depends_on, again["x"].depends_on) == ({}, {"db": "started"})
    assert (db.health and db.health.interval, x.health) == (1.0, None)
    assert (db.network, db.init, x.init) == ("host", True, False)
    assert (x.cwd, db.workdir, c.workdir) == (tmp_path / "src", "", "/srv")


def test_variables_of_defaults_are_those_of_each_service(tmp_path: Path) -> None:
    """`[defaults]` itself has no ports, and no instance: nothing is said about variables that services have."""
    text = '[defaults]\nargs = ["${PORT_WEB}", "${PORT}"]\n[services.x]\ncommand = "x"\nports.web = "auto"\n'
    manifest = load(tmp_path, text)
    assert (manifest.services["x"].command, manifest.warnings) == (("x", "${PORT_WEB}", "${PORT}"), ())
    (warning,) = load(tmp_path, text.replace("ports.web", "ports.http")).warnings
    assert warning.startswith(f"{tmp_path}/supervisor.toml:2:9: defaults.args[0]: PORT_WEB is not set")


def test_a_check_of_defaults_without_a_port_is_one_problem_where_it_stands(tmp_path: Path) -> None:
    two = '[services.a]\ncommand = "x"\n[services.b]\ncommand = "x"\n[services.c]\ncommand = "x"\nport = 80\n'
    (wrong,) = problems(tmp_path, '[defaults]\nhealth = "/"\n' + two)
    expected = 'expected services.a.port and services.b.port to be set (or "auto") for a check by http'
    assert wrong.endswith(f"2:10: defaults.health: {expected}")
    (wrong,) = problems(tmp_path, '[defaults]\nhealth = { tcp = true, interval = "1s" }\n' + two)
    assert "2:10: defaults.health: expected services.a.port and services.b.port" in wrong
    own = '[services.a]\ncommand = "x"\nhealth = "/"\n[services.b]\ncommand = "x"\nhealth = "tcp"\n'
    first, second = problems(tmp_path, own)
    assert "3:10: services.a.health: expected services.a.port to be set" in first
    assert "6:10: services.b.health: expected services.b.port to be set" in second


def test_extends_in_defaults_is_named_as_a_key_of_a_service(tmp_path: Path) -> None:
    (wrong,) = problems(tmp_path, '[defaults]\nextends = "a"\n[services.a]\ncommand = "x"\n')
    assert (
        "2:1: defaults.extends: unknown key, expected a key of [defaults] (did you mean extends of a service?)" in wrong
    )
