"""How commands get their options: as one frozen struct, with values that are parsed."""

from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from minikube.cli.completion import read_tables
from minikube.cli.options import (
    manifest_argument,
    optional,
    parse_address_option,
    parse_time_option,
    pass_options,
    timeout_option,
)
from minikube.errors import UsageError


@dataclass(frozen=True)
class Options:
    manifest: tuple[str, ...]
    timeout: float | None
    since: float | None
    registry: Any


def parse(*words: str, default_timeout: str | None = None) -> Options:
    """Return the struct that a command with these options gets."""

    @click.command()
    @timeout_option(default=default_timeout, help="")
    @click.option("--since", callback=optional(parse_time_option))
    @click.option("--registry", callback=optional(parse_address_option))
    @manifest_argument
    @pass_options(Options)
    def command(options: Options) -> Options:
        return options

    result = command.main([*words], standalone_mode=False)
    assert isinstance(result, Options)
    return result


def test_a_command_gets_one_frozen_struct_of_parsed_values() -> None:
    options = parse("x.toml", "--timeout", "2m", "--since", "2026-11-24T00:00:00Z", "--registry", "localhost:5555")
    assert (options.manifest, options.timeout, options.since) == (("x.toml",), 120.0, 1795478400.0)
    assert (options.registry.host, options.registry.port) == ("localhost", 5555)
    with pytest.raises(FrozenInstanceError):
        options.timeout = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("words", [(), ("--timeout", "", "--since", "", "--registry", "")])
def test_an_option_that_is_missing_or_empty_is_none(words: tuple[str, ...]) -> None:
    assert parse(*words) == Options((), None, None, None)


def test_an_empty_value_for_an_option_with_a_default_is_an_error_that_names_the_option() -> None:
    assert parse(default_timeout="60s").timeout == 60.0
    with pytest.raises(click.BadParameter, match="expected a duration") as error:
        parse("--timeout", "", default_timeout="60s")
    assert error.value.param_hint == "--timeout"


def test_the_manifest_is_an_argument_or_an_option() -> None:
    assert parse("x.toml").manifest == parse("-m", "x.toml").manifest == ("x.toml",)
    assert parse("-m", "x.toml", "--manifest=y.toml").manifest == ("x.toml", "y.toml")
    with pytest.raises(UsageError, match=r"x\.toml: --manifest is given, too"):
        parse("x.toml", "-m", "y.toml")


def test_the_environment_names_manifests_where_no_option_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIKUBE_MANIFEST", "a.toml:b.toml")
    assert parse().manifest == ("a.toml", "b.toml")
    assert parse("-m", "x.toml").manifest == parse("x.toml").manifest == ("x.toml",)


def test_names_of_all_files_are_completed(project: Path) -> None:
    (project / "supervisor.toml").write_text('[services.web]\ncommand = "x"\n')
    (project / "supervisor.override.toml").write_text('[services.mine]\ncommand = "x"\n[services.web]\nport = 1\n')
    assert read_tables(()) == {"services": [{"name": "web"}, {"name": "mine"}]}
    assert read_tables(("supervisor.toml",)) == {"services": [{"name": "web"}]}
