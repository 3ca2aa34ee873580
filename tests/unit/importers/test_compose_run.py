"""What Compose runs and passes on, where its rules surprise: operators of a shell, numbers and dates."""

from pathlib import Path

import pytest

from minikube.importers import Imported, import_source


def imported(tmp_path: Path, text: str) -> Imported:
    (tmp_path / "compose.yaml").write_text(f"services:\n  web:\n    image: x\n{text}")
    return import_source(tmp_path, None)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("a && b", "a"),
        ("a | b", "a"),
        ("a>log", "a"),
        ("a 2>&1", "a 2"),
        ("a 'b;c' \"d|e\"", "a 'b;c' \"d|e\""),
        (r"a \; b", r"a \; b"),
        ("a ${X:-b;c} d", "a ${X:-b;c} d"),
        ("a $$b", "a $$b"),
    ],
)
def test_a_command_ends_at_an_operator_of_a_shell_as_in_compose(tmp_path: Path, line: str, command: str) -> None:
    made = imported(tmp_path, f"    command: >-\n      {line}\n")
    assert made.services["web"]["command"] == command
    assert len(made.notes) == (line != command)


@pytest.mark.parametrize(
    "value",
    ["0755", "0x1F", "1.10", "3.0", "1e3", "1_000", "2024-01-02", "+1", ".5", "True", "08", "1000000.5", "0.00001"],
)
def test_a_value_that_compose_passes_on_in_another_form_has_a_note(tmp_path: Path, value: str) -> None:
    made = imported(tmp_path, f"    environment: {{A: {value}, B: '{value}'}}\n")
    assert made.services["web"]["env"] == {"A": value, "B": value}
    assert [note.path for note in made.notes] == [("services", "web", "env", "A")]


@pytest.mark.parametrize(
    "value", ["1", "-1", "1.5", "0", "0.1", "true", "no", "22:22", "1.2.3", "v1.10", "-0", "123456789"]
)
def test_other_values_are_passed_on_as_they_are(tmp_path: Path, value: str) -> None:
    assert imported(tmp_path, f"    environment: {{A: {value}}}\n").notes == ()


def test_the_policy_of_deploy_wins_over_restart_and_is_never_without_either(tmp_path: Path) -> None:
    policy = "    deploy: {restart_policy: {condition: on-failure}}\n"
    assert imported(tmp_path, f"    restart: always\n{policy}").services["web"]["restart"] == "on-failure"
    assert imported(tmp_path, policy).services["web"]["restart"] == "on-failure"
    assert imported(tmp_path, "").services["web"]["restart"] == "never"


@pytest.mark.parametrize(
    ("line", "limits", "notes"),
    [
        ("mem_limit: 512m", {"memory": "512M"}, 0),
        ("mem_limit: 1", None, 1),
        ("mem_limit: 0", None, 0),
        ("cpus: 2", {"cpus": 2}, 0),
        ("cpus: '0.5'", {"cpus": 0.5}, 0),
        ("cpus: 1e400", None, 1),
        ("pids_limit: 100", {"pids": 100}, 0),
        ("pids_limit: -1", None, 0),
        ("pids_limit: some", None, 1),
    ],
)
def test_a_limit_with_which_no_process_starts_is_left_out(
    tmp_path: Path, line: str, limits: dict[str, object] | None, notes: int
) -> None:
    made = imported(tmp_path, f"    {line}\n")
    assert made.services["web"].get("limits") == limits
    assert len(made.notes) == notes


def test_the_first_named_volume_says_how_to_go_on_with_the_data_of_compose(tmp_path: Path) -> None:
    """Compose's volume has the project's name before its own: that of the file, of `.env`, or of the directory."""
    lines = "    volumes: [./x:/x, 'data:/data:ro', more:/more, '/anonymous']\n  other:\n    image: x\n    volumes: [data:/d]\n"
    whole = f"{lines}volumes: {{data: , more: }}\n"
    for text, env, old in (
        (whole, "", "myshop_data"),
        (f"{whole}name: s-hop\n", "", "s-hop_data"),
        (f"{whole}name: x\n", "COMPOSE_PROJECT_NAME=y\n", "y_data"),
        (f"{whole}name: '${{X}}'\n", "", "myshop_data"),
    ):
        directory = tmp_path / "_My Shop"
        directory.mkdir(exist_ok=True)
        (directory / ".env").write_text(env)
        noted = [note for note in imported(directory, text).notes if "volumes" in note.source]
        assert [(note.path, note.text) for note in noted] == [
            (
                ("services", "web", "volumes", 1),
                f"a named volume is a new one here, without the data of {old}"
                f' — engine_args = ["--volume={old}:/data:ro"] in place of this line goes on with it',
            )
        ]


@pytest.mark.parametrize(
    "lines", ["volumes: [./data:/data]", "volumes: ['/data']", "volumes: [theirs:/data]", "tmpfs: /x"]
)
def test_mounts_that_go_on_with_their_data_have_no_note_on_it(tmp_path: Path, lines: str) -> None:
    made = imported(tmp_path, f"    {lines}\nvolumes:\n  theirs: {{external: true}}\n")
    assert not any("without the data" in note.text for note in made.notes)


@pytest.mark.parametrize(
    ("ports", "made"),
    [
        ("'3000:3000'", {"port": 3000}),
        ("'8080:80'", {"port": 8080, "container_port": 80}),
        ("'80'", {"port": "auto", "container_port": 80}),
        ("'${P}:${P}'", {"port": "${P}", "container_port": "${P}"}),
        ("'1:1', '2:2'", {"port": 1, "ports": {"tcp-2": 2}}),
        ("'1:1', '53:53/udp'", {"port": 1, "ports": {"udp-53": {"port": 53, "protocol": "udp"}}}),
        ("'1:1', '3:2'", {"port": 1, "ports": {"tcp-2": {"port": 3, "container_port": 2}}}),
    ],
)
def test_a_port_that_is_the_same_in_the_container_stands_once(
    tmp_path: Path, ports: str, made: dict[str, object]
) -> None:
    service = imported(tmp_path, f"    ports: [{ports}]\n").services["web"]
    assert {key: service[key] for key in ("port", "container_port", "ports") if key in service} == made
