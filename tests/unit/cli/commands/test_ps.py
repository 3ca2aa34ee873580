"""The arguments of `ps`: what is the manifest, and what are names."""

from pathlib import Path

import pytest

from minikube.cli.commands.ps import split_words
from minikube.errors import UsageError


@pytest.mark.parametrize(
    ("words", "manifest", "names"),
    [
        ((), (), ()),
        (("web",), (), ("web",)),
        (("web", "api"), (), ("web", "api")),
        (("@tag:v1.2/x",), (), ("@tag:v1.2/x",)),
        (("shop",), ("shop",), ()),
        (("./web",), ("./web",), ()),
        (("dev.toml", "web"), ("dev.toml",), ("web",)),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_path_or_a_project_is_the_manifest_and_the_directory_of_a_services_sources_is_none(
    words: tuple[str, ...], manifest: tuple[str, ...], names: tuple[str, ...]
) -> None:
    for directory in ("web", "shop"):
        Path(directory).mkdir()
    for file in ("shop/supervisor.toml", "dev.toml"):
        Path(file).touch()
    assert split_words(words, ()) == (manifest, names)


@pytest.mark.usefixtures("project")
def test_a_path_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^x\.toml: no such file"):
        split_words(("x.toml",), ())
