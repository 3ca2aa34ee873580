"""`up`: what it refuses before anything starts, and which words are services."""

from pathlib import Path

import pytest

from minikube.cli.app import run
from minikube.cli.commands import up
from minikube.errors import MinikubeError, UsageError


def test_a_wrong_manifest_is_refused_before_anything_starts(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "supervisor.toml").write_text("[services.x]\nport = 0\n")
    assert run(["up", "-d"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not (project / ".minikube").exists()


@pytest.mark.parametrize("words", [("@backnd",), ("--group", "backnd"), ("--group", "@backnd")])
def test_an_unknown_group_starts_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    (project / "supervisor.toml").write_text('[services.x]\ncommand = "x"\ngroups = ["backend"]\n')
    assert run(["up", "-d", *words]) == 2
    assert capsys.readouterr().err == "minikube: @backnd: no such group (did you mean @backend?)\n"
    assert not (project / ".minikube").exists()


@pytest.mark.parametrize(
    ("words", "manifest", "path", "services"),
    [
        ((), (), "supervisor.toml", ()),
        (("supervisor.toml",), (), "supervisor.toml", ()),
        ((".",), (), "supervisor.toml", ()),
        (("./one", "two"), (), "one/supervisor.toml", ("two",)),
        (("one", "two"), (), "supervisor.toml", ("one", "two")),
        (("other", "one"), (), "other/supervisor.toml", ("one",)),
        (("nope",), (), "supervisor.toml", ("nope",)),
        (("x.toml", "one"), (), "x.toml", ("one",)),
        (("one",), ("x.toml",), "x.toml", ("one",)),
        (("@tag:a.b/c", "one"), (), "supervisor.toml", ("@tag:a.b/c", "one")),
    ],
)
def test_the_first_word_is_a_manifest_when_it_looks_like_one(
    project: Path, words: tuple[str, ...], manifest: tuple[str, ...], path: str, services: tuple[str, ...]
) -> None:
    """`one` is a service and a directory: it is taken as the service."""
    (project / "supervisor.toml").write_text('[services.one]\ncommand = "x"\n[services.two]\ncommand = "x"\n')
    for directory in ("one", "other"):
        (project / directory).mkdir()
    files, names = up.split_words(words, manifest)
    assert (files.first, files.overrides, names) == (Path(path), (), services)
    assert files.finds_override is (path != "x.toml" and words[:1] != ("supervisor.toml",))
    with pytest.raises(UsageError, match="given already"):
        up.split_words(("a.toml",), ("b.toml",))


def test_up_warns_of_files_that_the_containers_to_start_lack(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise MinikubeError("not started in this test")

    monkeypatch.setattr("minikube.cli.commands.up.launch", refuse)
    (project / "supervisor.toml").write_text(
        '[services.a]\nbuild = "web"\n[services.b]\nimage = "b"\nvolumes = ["./x.conf:/x:ro"]\n'
    )
    assert run(["up", "b"]) == 1
    warning, _ = capsys.readouterr().err.splitlines()
    assert warning.startswith("minikube: warning: supervisor.toml:5:12: services.b.volumes[0]: ")
    assert warning.endswith("/x.conf: no such file or directory, and it is mounted read-only")
